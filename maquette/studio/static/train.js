// Train: a recipe, data and a budget become a job; its loss and its samples are shown while it learns.

import { artefactPath, ask, byId, byMedium, chip, chosenSet, duration, el, eventLine, fault, fillSets, follow, getJob, guarded, jobPath, jobRow, medium, option, OVER, percent, readSettings, send, show, sure, t, wish } from "./common.js";
import { Curves } from "./chart.js";
import { suffix } from "./zip.js";

const LINES = 300;
let recipes = null, watched = null;

// -- a new run --------------------------------------------------------------------------------------------------------

async function prepare() {
  const [listed, models] = await Promise.all([ask("/v1/recipes"), ask("/v1/models")]);
  recipes = listed.data;
  await fillSets(byId("set"), listed);
  for (const [kind, some] of byMedium(recipes)) {
    byId("recipe").append(el("optgroup", { label: medium(kind) }, ...some.map(({ id }) => option(id, id.split("/").pop()))));
  }
  if (models.data.length) {
    byId("recipe").append(el("optgroup", { label: t("go_on_from") }, ...models.data.map(({ id }) => option(`from:${id}`, id))));
  }
  if (recipes.some(({ id }) => id === "image/dcgan")) byId("recipe").value = "image/dcgan";
  about();
}

function about() {
  const recipe = recipes.find(({ id }) => id === byId("recipe").value);
  byId("about").textContent = recipe?.about ?? "";
}
byId("recipe").addEventListener("change", about);

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(start)();
});

async function start() {
  const suffixed = byId("suffix").value.trim(), chosen = byId("recipe").value;
  const body = {
    kind: "train",
    model: chosen.replace(/^from:/, ""),
    ...chosenSet(byId("set").value),
    budget: `${byId("amount").value}${byId("unit").value}`,
    seed: Number(byId("seed").value || 0),
    ...(suffixed ? { suffix: suffixed } : {}),
  };
  const overrides = readSettings(byId("settings").value);
  if (Object.keys(overrides).length) body.overrides = overrides;
  const job = await ask("/v1/jobs", { method: "POST", json: body });
  history.replaceState(null, "", `/studio/train?job=${encodeURIComponent(job.id)}`);
  watch(job);
  byId("run").scrollIntoView({ block: "start" });
  await list();
}

// -- a run as it goes -------------------------------------------------------------------------------------------------

function watch(job) {
  watched?.stop();
  const run = { id: job.id, curves: new Curves(), sheets: new Map(), pinned: false, drawn: false, stop: () => {} };
  watched = run;
  show(byId("run"), true);
  byId("run-log").replaceChildren();
  byId("chart").replaceChildren(el("p", { class: "hint" }, t("no_curve")));
  byId("sheet").replaceChildren(el("p", { class: "hint" }, t("no_samples")));
  byId("sheet-step").textContent = "";
  show(byId("sheet-at"), false);
  told(job);
  run.stop = follow(job.id, (event) => heard(run, event), () => guarded(refresh)());
}

async function refresh() {
  if (!watched) return;
  const id = watched.id, job = await getJob(id);
  if (watched.id === id) told(job);
  if (OVER.has(job.status)) await list();
}

function told(job) {
  byId("run-title").textContent = t("run_of", { name: job.model ?? job.asked.model ?? "" });
  chip(byId("run-state"), job);
  byId("run-bar").value = job.progress;
  const left = job.status === "running" && job.progress > 0.02 && job.latest.seconds ? (job.latest.seconds * (1 - job.progress)) / job.progress : 0;
  byId("run-share").textContent = `${percent(job.progress)}${left ? ` · ${t("time_left", { time: duration(left) })}` : ""}`;
  byId("run-why").textContent = job.error ? job.error.message : "";
  show(byId("run-why"), job.error);
  show(byId("run-pause"), ["queued", "running"].includes(job.status) && !job.wish);
  show(byId("run-resume"), job.status === "paused");
  show(byId("run-stop"), !OVER.has(job.status));
  show(byId("run-make"), job.model);
  show(byId("run-bundle"), job.status === "succeeded");
  byId("run-make").href = `/studio/make?model=${encodeURIComponent(job.model ?? "")}`;
  byId("run-bundle").href = artefactPath(job.id, "bundle.zip");
}

function heard(run, event) {
  if (watched !== run) return;
  const { data } = event;
  if (event.type === "metrics") {
    const part = data.part === "validation" ? "validation" : "training";
    for (const [name, value] of Object.entries(data)) {
      if (name.includes("loss") && typeof value === "number") run.curves.put(name, part, data.step, value);
    }
    plot(run);
  } else if (event.type === "sample") {
    const step = Number(/\d+/.exec(data.artefact)?.[0] ?? 0);
    run.sheets.set(step, [...(run.sheets.get(step) ?? []).filter((id) => id !== data.artefact), data.artefact]);
    sheets(run);
  }
  if (event.type === "state" || event.type === "metrics") later();
  byId("run-log").append(eventLine(event));
  while (byId("run-log").childElementCount > LINES) byId("run-log").firstElementChild.remove();
}

let waiting = 0;
/** Asks how the job stands, at most once a second. */
function later() {
  waiting ||= setTimeout(() => { waiting = 0; refresh().catch(fault); }, 1000);
}

function plot(run) {
  if (run.drawn) return;
  run.drawn = true;
  requestAnimationFrame(() => { run.drawn = false; run.curves.show(byId("chart"), byId("log-scale").checked); });
}
byId("log-scale").addEventListener("change", () => watched && plot(watched));

function sheets(run) {
  const steps = [...run.sheets.keys()].sort((a, b) => a - b), slider = byId("sheet-at");
  slider.max = steps.length - 1;
  if (!run.pinned) slider.value = steps.length - 1;
  show(slider, steps.length > 1);
  sheet(run, steps[Number(slider.value)]);
}
byId("sheet-at").addEventListener("input", () => {
  const slider = byId("sheet-at");
  watched.pinned = slider.value !== slider.max;
  sheets(watched);
});

async function sheet(run, step) {
  const ids = run.sheets.get(step);
  byId("sheet-step").textContent = t("at_step", { step });
  byId("sheet-at").setAttribute("aria-valuetext", t("at_step", { step }));
  const key = ids.join(" ");
  if (run.shown === key) return;
  run.shown = key;
  const nodes = await Promise.all(ids.map((id) => artefact(run.id, id, step)));
  if (run.shown === key && watched === run) byId("sheet").replaceChildren(...nodes);
}

async function artefact(job, id, step) {
  const src = artefactPath(job, id), alt = `${t("samples")}, ${t("at_step", { step })}`;
  switch (suffix(id)) {
    case "png": case "jpg": case "svg": {
      const image = el("img", { src, alt });
      await image.decode().catch(() => {}); // so that nothing flickers
      return image;
    }
    case "wav": return el("audio", { src, controls: true, "aria-label": alt });
    case "mp4": case "webm": return el("video", { src, controls: true, loop: true, muted: true, "aria-label": alt });
    case "txt": case "md": return el("pre", { tabindex: 0 }, (await (await send(src)).text()).slice(0, 20000));
    default: return el("a", { href: src, download: id }, id);
  }
}

const wished = (what) => guarded(async () => {
  if (what === "cancel" && !sure(t("stop_sure"))) return;
  told(await wish(watched.id, what));
});
byId("run-pause").addEventListener("click", wished("pause"));
byId("run-resume").addEventListener("click", wished("resume"));
byId("run-stop").addEventListener("click", wished("cancel"));

// -- runs before ------------------------------------------------------------------------------------------------------

async function list() {
  const { data } = await ask("/v1/jobs?limit=100");
  const runs = data.filter((job) => job.kind === "train").slice(0, 10);
  show(byId("none"), !runs.length);
  byId("runs").replaceChildren(...runs.map((job) => jobRow(job,
    el("a", { class: "button", href: `/studio/train?job=${encodeURIComponent(job.id)}` }, t("open")))));
  return runs;
}

guarded(async () => {
  const wanted = new URLSearchParams(location.search).get("job");
  const [runs] = await Promise.all([list(), prepare()]);
  const job = wanted ? await ask(jobPath(wanted)) : runs.find(({ status }) => status === "running");
  if (job) watch(job);
})();
