// Models: what each one is, how good it was found to be, and its bundle to take away.

import { ask, byId, el, guarded, maybe, medium, moment, number, say, show, size, sure, t } from "./common.js";

const PLAIN = new Set(["string", "number", "boolean"]);

function card(model, scored) {
  const path = `/v1/models/${encodeURIComponent(model.id)}`, told = el("div"), titleId = `model-${model.id}`;
  const chips = [medium(model.medium), model.kind, ...(model.classes.length ? [t("classes_count", { count: model.classes.length })] : []), ...model.can.filter((name) => name !== "draws" && name !== "exports").map((name) => maybe(`can_${name}`, name)), ...(model.own && model.shared ? [t("shared")] : [])];
  const details = el("details", {}, el("summary", {}, t("card")), told);
  details.addEventListener("toggle", guarded(async () => {
    if (details.open && !told.childElementCount) told.append(...facts((await ask(`${path}/card`)), scored));
  }));
  return el("article", { class: "card stack", "aria-labelledby": titleId },
    el("div", { class: "heading" }, el("h2", { id: titleId }, model.id)),
    el("ul", { class: "chips" }, ...chips.map((text) => el("li", { class: "chip" }, text))),
    el("p", { class: "hint" }, `${moment(model.created)} · ${t("weights")} ${model.digest.slice(0, 12)}`),
    details,
    el("div", { class: "actions small-buttons" },
      el("a", { class: "button main", href: `/studio/make?model=${encodeURIComponent(model.id)}` }, t("make")),
      el("a", { class: "button", href: `${path}/bundle`, download: `${model.id}.zip` }, t("bundle")),
      model.can.includes("exports") ? el("button", { type: "button", title: t("export_about"), onclick: guarded(() => begin("export", model)) }, t("export")) : "",
      el("button", { type: "button", onclick: guarded(() => begin("evaluate", model)) }, t("score")),
      ...(model.own ? [
        el("button", { type: "button", onclick: guarded(() => change(model, { method: "POST", json: { shared: !model.shared } })) }, model.shared ? t("unshare") : t("share")),
        el("button", { type: "button", class: "danger", onclick: guarded(() => sure(t("delete_sure", { name: model.id })) && change(model, { method: "DELETE" })) }, t("delete")),
      ] : [])));
}

function facts(told, scored) {
  const rows = Object.entries(told.card).filter(([, value]) => PLAIN.has(typeof value) && value !== "");
  const scores = scored.get(told.model) ?? told.scores;
  return [
    el("dl", { class: "facts" }, el("dt", {}, t("size")), el("dd", {}, size(told.bytes)),
      ...rows.flatMap(([name, value]) => [el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, typeof value === "number" ? number(value, 6) : String(value))])),
    el("h3", {}, t("scores")),
    scores.length ? el("table", {}, el("tbody", {}, ...scores.map(({ title, value, low, high }) =>
      el("tr", {}, el("th", { scope: "row" }, title), el("td", {}, number(value), low === null || low === undefined ? "" : ` (${number(low, 3)}–${number(high, 3)})`))))) : el("p", { class: "hint" }, t("no_scores")),
  ];
}

/** Asks something of a model of one's own, and shows all of them anew. */
async function change(model, what) {
  await ask(`/v1/models/${encodeURIComponent(model.id)}`, what);
  await list();
}

/** Scoring, or the files of another library: a job, whose page has what it makes. */
async function begin(kind, model) {
  const job = await ask("/v1/jobs", { method: "POST", json: { kind, model: model.id } });
  say(t(`begun_${kind}`));
  byId("say").append(" ", el("a", { href: `/studio/jobs?job=${encodeURIComponent(job.id)}` }, t("open")));
}

/** The newest scores that jobs have found, by model. */
async function found() {
  const scores = new Map();
  let jobs = [];
  try {
    jobs = (await ask("/v1/jobs?limit=100")).data;
  } catch { /* a key that may not train sees what lies with the models */ }
  for (const job of jobs.filter(({ kind, status }) => kind === "evaluate" && status === "succeeded")) {
    if (scores.has(job.asked.model)) continue;
    const report = await ask(`/v1/jobs/${encodeURIComponent(job.id)}/artefacts/report.json`).catch(() => null);
    if (report?.scores) scores.set(job.asked.model, report.scores.map((one) => ({ ...one, title: one.title ?? one.name })));
  }
  return scores;
}

async function list() {
  const [{ data }, scored] = await Promise.all([ask("/v1/models"), found()]);
  show(byId("none"), !data.length);
  byId("models").replaceChildren(...data.reverse().map((model) => card(model, scored)));
}

guarded(list)();
