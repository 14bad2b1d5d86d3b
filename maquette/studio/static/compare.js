// Compare: several recipes to be trained, or models as they are, as one job, and its report in a frame that runs nothing.

import { artefactPath, ask, byId, byMedium, chosenSet, el, fillSets, guarded, jobRow, medium, often, option, readSettings, show, t, wish, OVER } from "./common.js";

let offered = { recipes: new Map(), models: new Map() };

const what = () => byId("what").value;
const ticked = () => [...document.querySelectorAll("[name='one']:checked")].map(({ value }) => value);

function choose() {
  const kinds = offered[what()], held = byId("medium").value;
  byId("medium").replaceChildren(...[...kinds.keys()].map((name) => option(name, medium(name))));
  if (kinds.has(held)) byId("medium").value = held;
  else if (kinds.has("image")) byId("medium").value = "image";
  for (const field of document.querySelectorAll(".training")) show(field, what() === "recipes");
  byId("choose").textContent = what() === "recipes" ? t("choose_recipes") : t("choose_models");
  tick();
}

function tick() {
  byId("ones").replaceChildren(...(offered[what()].get(byId("medium").value) ?? []).map(({ id, about }) =>
    el("label", { class: "check", title: about ?? "" }, el("input", { type: "checkbox", name: "one", value: id }), what() === "recipes" ? id.split("/").pop() : id)));
}
byId("what").addEventListener("change", choose);
byId("medium").addEventListener("change", tick);

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(start)();
});

async function start() {
  const ones = ticked();
  if (ones.length < 2) throw new Error(t("choose_two"));
  const overrides = readSettings(byId("settings").value);
  const training = {
    budget: `${byId("amount").value}${byId("unit").value}`, seeds: byId("seeds").value.split(",").map(Number),
    ...(Object.keys(overrides).length ? { overrides } : {}),
  };
  await ask("/v1/jobs", {
    method: "POST",
    json: { kind: "compare", [what()]: ones, ...chosenSet(byId("set").value), n: Number(byId("n").value), ...(what() === "recipes" ? training : {}) },
  });
  await list();
  byId("list").scrollIntoView({ block: "nearest" });
}

async function list() {
  const jobs = (await ask("/v1/jobs?limit=100")).data.filter(({ kind }) => kind === "compare");
  show(byId("none"), !jobs.length);
  byId("jobs").replaceChildren(...jobs.map((job) => jobRow(job,
    job.status === "succeeded" ? el("button", { type: "button", onclick: () => open(job.id) }, t("open_report")) : null,
    OVER.has(job.status) ? null : el("button", { type: "button", class: "danger", onclick: guarded(async () => { await wish(job.id, "cancel"); await list(); }) }, t("cancel")),
    el("a", { class: "button", href: `/studio/jobs?job=${encodeURIComponent(job.id)}` }, t("log")))));
  return jobs;
}

function open(id) {
  show(byId("shown"), true);
  byId("all").href = artefactPath(id, "results.zip");
  byId("report").src = `/studio/report/${encodeURIComponent(id)}`;
  history.replaceState(null, "", `/studio/compare?job=${encodeURIComponent(id)}`);
  byId("shown").scrollIntoView({ block: "start" });
}

guarded(async () => {
  const [listed, models] = await Promise.all([ask("/v1/recipes"), ask("/v1/models")]);
  const drawing = models.data.filter(({ can }) => can.includes("draws"));
  offered = { recipes: byMedium(listed.data), models: Map.groupBy(drawing, (model) => model.medium) };
  choose();
  await fillSets(byId("set"), listed);
  const jobs = await list(), wanted = new URLSearchParams(location.search).get("job");
  if (jobs.some(({ id, status }) => id === wanted && status === "succeeded")) open(wanted);
  often(list, 3);
})();
