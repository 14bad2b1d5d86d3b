// Jobs: all of them, and one with what happened, what it said and what it made.

import { artefactPath, ask, byId, chip, el, eventLine, fault, follow, getJob, guarded, jobName, jobPath, jobRow, maybe, moment, often, OVER, percent, show, size, sure, t, wish } from "./common.js";

const LINES = 300;
const SAID = { dataset: "data", file: "data", overrides: "settings", n: "how_many" };
let one = null, last = null, all = [];

async function list(more = false) {
  const after = more && last ? `&after=${encodeURIComponent(last)}` : "";
  const page = await ask(`/v1/jobs?limit=20${after}`);
  all = more ? [...all, ...page.data] : [...page.data, ...all.slice(20)];
  last = all.at(-1)?.id;
  show(byId("none"), !all.length);
  if (more || all.length <= 20) show(byId("older"), page.has_more);
  const focused = document.activeElement?.dataset?.job;
  byId("jobs").replaceChildren(...all.map((job) => jobRow(job, el("a", { class: "button", href: `/studio/jobs?job=${encodeURIComponent(job.id)}`, "data-job": job.id }, t("open")))));
  if (focused) byId("jobs").querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
}
byId("older").addEventListener("click", guarded(() => list(true)));

function told(job) {
  const before = one?.status;
  one = job;
  byId("one-title").textContent = jobName(job);
  chip(byId("one-state"), job);
  byId("one-bar").value = job.progress;
  byId("one-share").textContent = percent(job.progress);
  byId("one-why").textContent = job.error ? job.error.message : "";
  show(byId("one-why"), job.error);
  const facts = [[t("job"), job.id], [t("begun"), moment(job.created_at)], ...Object.entries(job.asked).filter(([, value]) => JSON.stringify(value) !== "{}").map(([name, value]) => [maybe(SAID[name] ?? name, name), typeof value === "object" ? JSON.stringify(value) : String(value)])];
  byId("one-facts").replaceChildren(...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  if (before === job.status && before !== undefined) return;
  const act = (name, what, style) => el("button", { type: "button", class: style, onclick: guarded(async () => {
    if (what === "cancel" && !sure(t("cancel_sure"))) return;
    told(await wish(job.id, what));
  }) }, t(name));
  byId("one-actions").replaceChildren(...[
    job.kind === "train" ? el("a", { class: "button", href: `/studio/train?job=${encodeURIComponent(job.id)}` }, t("train")) : null,
    job.kind === "compare" && job.status === "succeeded" ? el("a", { class: "button main", href: `/studio/compare?job=${encodeURIComponent(job.id)}` }, t("open_report")) : null,
    ["queued", "running"].includes(job.status) ? act("pause", "pause") : null,
    job.status === "paused" ? act("resume", "resume") : null,
    OVER.has(job.status) ? null : act("cancel", "cancel", "danger"),
  ].filter(Boolean));
}

async function files() {
  const { data } = await ask(jobPath(one.id, "/artefacts"));
  show(byId("no-files"), !data.length);
  show(byId("one-files"), data.length);
  byId("one-files").replaceChildren(...data.slice(0, 100).map(({ id, bytes }) => el("li", {},
    el("div", { class: "what" }, id, bytes === null ? "" : el("span", { class: "hint" }, ` ${size(bytes)}`)),
    el("div", { class: "actions small-buttons" }, el("a", { class: "button", href: artefactPath(one.id, id), download: id }, t("download"))))));
}

let said = 0;
async function log() {
  if (!byId("one-said").open) return;
  const more = await ask(jobPath(one.id, `/logs?after=${said}`));
  said = more.next;
  byId("one-log").append(more.text);
}
byId("one-said").addEventListener("toggle", guarded(log));

let waiting = 0;
async function refresh() {
  waiting = 0;
  told(await getJob(one.id));
  await log();
  if (OVER.has(one.status)) await Promise.all([files(), list()]);
}

async function open(id) {
  told(await getJob(id));
  show(byId("one"), true);
  await files();
  follow(id, (event) => {
    byId("one-events").append(eventLine(event));
    while (byId("one-events").childElementCount > LINES) byId("one-events").firstElementChild.remove();
    byId("one-events").scrollTop = byId("one-events").scrollHeight;
    waiting ||= setTimeout(() => refresh().catch(fault), 1000);
  }, () => refresh().catch(fault));
}

guarded(async () => {
  const wanted = new URLSearchParams(location.search).get("job");
  if (wanted) await open(wanted);
  await list();
  often(() => list(), 4);
})();
