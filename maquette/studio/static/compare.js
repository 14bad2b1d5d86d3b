// Compare: several recipes as one job, and its report in a frame that runs nothing.

import { artefactPath, ask, byId, byMedium, chosenSet, el, fillSets, guarded, jobRow, medium, often, option, readSettings, show, t, wish, OVER } from "./common.js";

let kinds = new Map();

function choose() {
  byId("recipes").replaceChildren(...(kinds.get(byId("medium").value) ?? []).map(({ id, about }) =>
    el("label", { class: "check", title: about }, el("input", { type: "checkbox", name: "recipe", value: id }), id.split("/").pop())));
}
byId("medium").addEventListener("change", choose);

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(start)();
});

async function start() {
  const recipes = [...document.querySelectorAll("[name='recipe']:checked")].map(({ value }) => value);
  if (recipes.length < 2) throw new Error(t("choose_two"));
  const overrides = readSettings(byId("settings").value);
  await ask("/v1/jobs", {
    method: "POST",
    json: {
      kind: "compare", recipes, ...chosenSet(byId("set").value), budget: `${byId("amount").value}${byId("unit").value}`,
      seeds: byId("seeds").value.split(",").map(Number), n: Number(byId("n").value),
      ...(Object.keys(overrides).length ? { overrides } : {}),
    },
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
  const listed = await ask("/v1/recipes");
  kinds = byMedium(listed.data);
  byId("medium").append(...[...kinds.keys()].map((name) => option(name, medium(name))));
  if (kinds.has("image")) byId("medium").value = "image";
  choose();
  await fillSets(byId("set"), listed);
  const jobs = await list(), wanted = new URLSearchParams(location.search).get("job");
  if (jobs.some(({ id, status }) => id === wanted && status === "succeeded")) open(wanted);
  often(list, 3);
})();
