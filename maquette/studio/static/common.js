// What all pages share: words, the API, elements that hold text and never markup, jobs as they go on.

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const WORDS = JSON.parse(meta("words"));
const CSRF = meta("csrf");

export const language = document.documentElement.lang;
export const OVER = new Set(["succeeded", "failed", "cancelled"]);
export const byId = (id) => document.getElementById(id);

/** A word of the table, with its values put in. */
export const t = (name, values = {}) => WORDS[name].replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
/** A word that there may not be, else what it was asked by. */
export const maybe = (name, otherwise) => WORDS[name] ?? otherwise;

/** An element. Children are nodes or texts; whatever a person wrote becomes a text node. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const show = (node, visible) => { node.hidden = !visible; };

// -- numbers and times ------------------------------------------------------------------------------------------------

export const number = (value, digits = 4) =>
  new Intl.NumberFormat(language, { maximumSignificantDigits: digits }).format(value);
export const percent = (share) => new Intl.NumberFormat(language, { style: "percent" }).format(share);
export const moment = (seconds) =>
  new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" }).format(seconds * 1000);
export const clock = (seconds) => new Intl.DateTimeFormat(language, { timeStyle: "medium", hourCycle: "h23" }).format(seconds * 1000);

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, bytes > 0 ? Math.floor(Math.log10(bytes) / 3) : 0);
  return `${number(bytes / 1000 ** power, 3)} ${units[power]}`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : seconds < 10 ? `${number(seconds, 2)} s` : `${s} s`;
}

// -- what is said -----------------------------------------------------------------------------------------------------

export function say(text) {
  byId("say").textContent = text;
  show(byId("say"), Boolean(text));
}

export function fault(error) {
  if (error?.name === "AbortError") return;
  const text = error instanceof Error ? error.message : String(error ?? "");
  byId("fault").textContent = text;
  show(byId("fault"), Boolean(text));
  if (text) byId("fault").scrollIntoView({ block: "nearest" });
}

/** `work` as a handler: what goes wrong is shown, and what was wrong before is taken away. */
export const guarded = (work) => async (event) => {
  fault("");
  try {
    await work(event);
  } catch (error) {
    fault(error);
  }
};

// -- the API ----------------------------------------------------------------------------------------------------------

/** A mistake that the API has told of. */
export class Mistake extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
  }
}

export const headers = () => ({ "Accept-Language": language, ...(CSRF ? { "X-CSRF-Token": CSRF } : {}) });

export async function refusal(status, text) {
  if (status === 401) location.assign("/studio/sign-in");
  let error = { message: t("unreachable") };
  try {
    error = JSON.parse(text).error;
  } catch { /* it was no answer of ours */ }
  if (status === 403 && error.code === "insufficient_scope") error.message = t("needs_scope");
  if (error.code === "unknown_url") error.message = t("no_jobs_here");
  return new Mistake(status, error);
}

/** The answer of the API to a request; a Mistake when it is one. */
export async function send(path, { method = "GET", json, form, signal, accept } = {}) {
  const more = json === undefined ? {} : { "Content-Type": "application/json" };
  const body = json === undefined ? form : JSON.stringify(json);
  let answer;
  try {
    answer = await fetch(path, { method, body, signal, headers: { ...headers(), ...more, ...(accept ? { Accept: accept } : {}) } });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(t("unreachable"));
  }
  if (!answer.ok) throw await refusal(answer.status, await answer.text());
  return answer;
}

export const ask = async (path, options) => (await send(path, options)).json();

/** The data of a stream of server-sent events, as it comes. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
        if (data.length === 0) continue;
        if (data.join("\n") === "[DONE]") return;
        const tree = JSON.parse(data.join("\n"));
        if (tree.error) throw new Mistake(answer.status, tree.error);
        yield tree;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// -- jobs -------------------------------------------------------------------------------------------------------------

export const jobPath = (id, rest = "") => `/v1/jobs/${encodeURIComponent(id)}${rest}`;
export const artefactPath = (job, id) => jobPath(job, `/artefacts/${encodeURIComponent(id)}`);
export const getJob = (id) => ask(jobPath(id));
export const wish = (id, what) => ask(jobPath(id, `/${what}`), { method: "POST" });

/** Tells `each` of every event of a job, from its first on, until it is over; gives a function that ends it. */
export function follow(id, each, over) {
  let last = 0, source = null, timer = 0, ended = false, broken = false;
  const stop = () => { ended = true; clearTimeout(timer); source?.close(); };
  const open = () => {
    source = new EventSource(jobPath(id, `/events?stream=true&after=${last}`));
    source.onopen = () => { if (broken) say(""); broken = false; };
    source.onmessage = (message) => {
      if (message.data === "[DONE]") { stop(); over?.(); return; }
      const event = JSON.parse(message.data);
      if (event.error || event.number <= last) return;
      last = event.number;
      each(event);
    };
    source.onerror = () => {
      source.close();
      if (ended) return;
      broken = true;
      say(t("lost_stream"));
      timer = setTimeout(() => getJob(id).then(open, (error) => (error instanceof Mistake ? fault(error) : open())), 1500);
    };
  };
  addEventListener("pagehide", stop, { once: true });
  open();
  return stop;
}

export function chip(node, job) {
  node.className = `chip ${job.status}`;
  node.textContent = t(`s_${job.status}`);
  return node;
}

export const jobName = (job) => {
  const about = (job.asked.recipes ?? job.asked.models)?.join(", ") ?? job.asked.model ?? job.asked.recipe ?? job.asked.dataset ?? "";
  return `${maybe(`kind_${job.kind}`, job.kind)}${about ? ` · ${about}` : ""}`;
};

export const eventLine = (event) =>
  el("li", { class: event.level }, el("time", { datetime: new Date(event.created_at * 1000).toISOString() }, clock(event.created_at)), el("span", {}, event.message));

/** A row of a list of jobs. */
export function jobRow(job, ...actions) {
  const bar = job.status === "running" ? el("progress", { max: 1, value: job.progress, "aria-label": t("progress") }) : null;
  return el("li", {},
    el("div", { class: "what" }, el("strong", {}, jobName(job)), " ", chip(el("span"), job),
      el("p", { class: "hint" }, moment(job.created_at), job.error ? ` · ${job.error.message}` : ""), bar),
    el("div", { class: "actions small-buttons" }, ...actions));
}

// -- parts of forms ---------------------------------------------------------------------------------------------------

export const option = (value, text = value) => el("option", { value }, text);

/** The choice of data: uploads, and the sets that come with Maquette. */
export async function fillSets(select, recipes, own = true) {
  const files = await ask("/v1/files?limit=100");
  if (own) select.append(option("", t("own_set")));
  if (files.data.length) select.append(el("optgroup", { label: t("uploads") }, ...files.data.map((file) => option(file.id, file.filename))));
  select.append(el("optgroup", { label: t("embedded") }, ...recipes.datasets.map((name) => option(name))));
  const wanted = new URLSearchParams(location.search).get("file");
  if (wanted && files.data.some((file) => file.id === wanted)) select.value = wanted;
}

export const chosenSet = (value) => (value.startsWith("file-") ? { file: value } : value ? { dataset: value } : {});
export const medium = (name) => maybe(`m_${name}`, name);

/** Recipes by the first part of their names, which is what they make. */
export function byMedium(recipes) {
  const found = new Map();
  for (const recipe of recipes) {
    const name = recipe.id.split("/")[0];
    found.set(name, [...(found.get(name) ?? []), recipe]);
  }
  return found;
}

/** `name=value` lines as an object: numbers, truths and words. */
export function readSettings(text) {
  const found = {};
  text.split("\n").forEach((line, i) => {
    if (!line.trim()) return;
    const match = /^\s*([\w.]+)\s*=\s*(.+?)\s*$/.exec(line);
    if (!match) throw new Error(t("settings_bad", { line: i + 1 }));
    const [, name, value] = match;
    found[name] = /^(true|false)$/.test(value) ? value === "true" : value !== "" && !Number.isNaN(Number(value)) ? Number(value) : value;
  });
  return found;
}

/** Asks a person; a dialogue of the browser's own, which every keyboard and reader knows. */
export const sure = (text) => window.confirm(text);

/** Again and again while the page is seen. */
export function often(work, seconds) {
  const turn = async () => {
    if (!document.hidden) await work().catch(fault);
    setTimeout(turn, seconds * 1000);
  };
  setTimeout(turn, seconds * 1000);
}
