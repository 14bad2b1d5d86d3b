// Data: what was dropped becomes one upload, a job looks it over, and its findings are shown.

import { artefactPath, ask, byId, chosenSet, el, fault, follow, getJob, guarded, headers, moment, percent, refusal, say, send, show, size, sure, t } from "./common.js";
import { fits, look, most, pack, preview, suffix, usable } from "./zip.js";

const TABLES = new Set(["jsonl", "csv", "txt", "md"]);
const NAMES = 4;
let held = null; // {entries, blob, name, suffix}

// -- choosing ---------------------------------------------------------------------------------------------------------

const drop = byId("drop");
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", guarded(async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const items = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (items.length === 1 && items[0].isFile) return chooseFile(await fileOf(items[0]));
  const entries = [];
  for (const item of items) await gather(item, "", entries);
  await chooseFolder(entries, items.length === 1 ? items[0].name : "data");
}));
byId("folder").addEventListener("change", guarded(async (event) => {
  const files = [...event.target.files];
  if (!files.length) return;
  const entries = files.map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  await chooseFolder(entries, entries[0].path.split("/")[0]);
}));
byId("file").addEventListener("change", guarded((event) => event.target.files[0] && chooseFile(event.target.files[0])));
byId("over").addEventListener("click", () => begin(null));

const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

async function gather(entry, above, found) {
  const path = above ? `${above}/${entry.name}` : entry.name;
  if (entry.isFile) {
    found.push({ path, file: await fileOf(entry) });
    return;
  }
  const reader = entry.createReader();
  for (;;) { // it gives a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) await gather(one, path, found);
  }
}

async function chooseFile(file) {
  const end = suffix(file.name);
  if (end !== "zip" && !TABLES.has(end)) return chooseFolder([{ path: file.name, file }], "data");
  const entries = end === "zip" ? await look(file) : [{ path: file.name, open: async () => file }];
  if (!entries.length) throw new Error(t("nothing_usable"));
  await begin({ blob: file, entries, name: file.name.slice(0, -end.length - 1), suffix: end, bytes: file.size, left: 0 });
}

async function chooseFolder(all, name) {
  const entries = all.filter(({ path }) => usable(path)).sort((a, b) => (a.path < b.path ? -1 : 1));
  if (!entries.length) throw new Error(t("nothing_usable"));
  if (!fits(entries)) throw new Error(t("too_large", { size: size(most) }));
  const bytes = entries.reduce((sum, { file }) => sum + file.size, 0);
  for (const entry of entries) entry.open = async () => entry.file;
  await begin({ blob: null, entries, name, suffix: "zip", bytes, left: all.length - entries.length });
}

async function begin(next) {
  held = next;
  show(drop, !held);
  show(byId("chosen"), held);
  show(byId("moving"), false);
  for (const button of byId("chosen").querySelectorAll("button")) button.disabled = false;
  if (!held) {
    byId("folder").value = byId("file").value = "";
    show(byId("preview"), false);
    return;
  }
  const folders = new Set(held.entries.map(({ path }) => path.split("/").slice(0, -1).join("/")));
  const told = { count: held.entries.length, labels: folders.size, size: size(held.bytes) };
  const left = held.left ? ` · ${t("left_out", { count: held.left })}` : "";
  byId("summary").textContent = t(folders.size > 1 ? "chosen_labels" : "chosen", told) + left;
  byId("name").value = held.name;
  byId("name").focus();
  await preview(byId("preview"), held.entries);
}

// -- sending ----------------------------------------------------------------------------------------------------------

byId("chosen").addEventListener("submit", (event) => {
  event.preventDefault();
  const buttons = byId("chosen").querySelectorAll("button");
  guarded(async () => {
    for (const button of buttons) button.disabled = true;
    try {
      const file = await upload(byId("name").value.trim() || "data");
      await begin(null);
      await list();
      await check(file);
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  })();
});

function moved(share, text) {
  show(byId("moving"), true);
  byId("moved").value = share;
  byId("moving-text").textContent = text;
}

async function upload(name) {
  const count = held.entries.length;
  const told = (done) => { if (done % 50 === 0 || done === count) moved(done / count, t("packing", { done, count })); };
  const blob = held.blob ?? await pack(held.entries, told);
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", blob, `${name}.${held.suffix}`);
  return new Promise((resolve, reject) => { // fetch does not tell how much has gone
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    for (const [key, value] of Object.entries(headers())) request.setRequestHeader(key, value);
    request.upload.onprogress = ({ loaded, total }) => moved(loaded / total, t("uploading", { percent: percent(loaded / total) }));
    request.onerror = () => reject(new Error(t("unreachable")));
    request.onload = async () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(await refusal(request.status, request.responseText));
    };
    request.send(form);
  });
}

// -- the doctor -------------------------------------------------------------------------------------------------------

async function check(file) {
  const job = await ask("/v1/jobs", { method: "POST", json: { kind: "check", ...chosenSet(file.id) } });
  show(byId("doctor"), true);
  const node = byId("findings");
  node.replaceChildren(el("p", {}, `${file.filename}: ${t("checking")}`), el("progress", { "aria-label": t("checking") }));
  node.scrollIntoView({ block: "nearest" });
  follow(job.id, () => {}, guarded(async () => {
    const done = await getJob(job.id);
    if (done.status !== "succeeded") {
      node.replaceChildren(el("p", { class: "verdict bad" }, done.error?.message ?? t(`s_${done.status}`)));
      return;
    }
    const text = await (await send(artefactPath(job.id, "findings.txt"))).text();
    node.replaceChildren(finding(file, done.good, text));
  }));
}

/** The page that the doctor wrote: lines, and below some of them names, which are set in. */
function finding(file, good, text) {
  const list = el("ul");
  // an upload holds no .json (they are left out when it is unpacked): the one that is passed over lists its files
  for (const line of text.split("\n").filter((one) => one.trim() && one !== "passed over: 1 .json").map((one) => one.replace(/^\S*datasets\/\S+?: /, ""))) {
    if (!/^\s/.test(line) || !list.lastElementChild) list.append(el("li", {}, line));
    else {
      const above = list.lastElementChild;
      if (!above.querySelector("ul")) above.append(el("ul"));
      above.querySelector("ul").append(el("li", {}, line.trim()));
    }
  }
  for (const names of list.querySelectorAll("ul")) {
    const rest = [...names.children].slice(NAMES);
    if (rest.length > 1) names.append(el("li", {}, el("details", {}, el("summary", {}, t("all_of_them", { count: names.childElementCount })), el("ul", {}, ...rest))));
  }
  return el("div", { class: "finding" },
    el("p", { class: `verdict${good ? "" : " bad"}` }, `${good ? "✓" : "!"} ${file.filename}: ${t(good ? "all_well" : "to_mend")}`), list,
    good ? null : el("p", { class: "hint" }, t("findings_hint")),
    el("div", { class: "actions" }, el("a", { class: "button main", href: `/studio/train?file=${encodeURIComponent(file.id)}` }, t("train_with"))));
}

// -- what is there ----------------------------------------------------------------------------------------------------

async function list() {
  const { data } = await ask("/v1/files?limit=100");
  show(byId("none"), !data.length);
  byId("files").replaceChildren(...data.map(row));
}

const row = (file) => el("li", {},
  el("div", { class: "what" }, el("strong", {}, file.filename), el("p", { class: "hint" }, `${size(file.bytes)} · ${moment(file.created_at)}`)),
  el("div", { class: "actions small-buttons" },
    el("a", { class: "button", href: `/studio/train?file=${encodeURIComponent(file.id)}` }, t("train_with")),
    el("button", { type: "button", onclick: guarded(() => see(file)) }, t("preview")),
    el("button", { type: "button", onclick: guarded(() => check(file)) }, t("check")),
    el("a", { class: "button", href: `/v1/files/${encodeURIComponent(file.id)}/content`, download: file.filename }, t("download")),
    el("button", { type: "button", class: "danger", onclick: guarded(() => remove(file)) }, t("delete"))));

async function see(file) {
  const blob = await (await send(`/v1/files/${encodeURIComponent(file.id)}/content`)).blob();
  const entries = suffix(file.filename) === "zip" ? await look(blob) : [{ path: file.filename, open: async () => blob }];
  if (!await preview(byId("shown"), entries)) say(t("no_preview"));
  byId("shown").scrollIntoView({ block: "nearest" });
}

async function remove(file) {
  if (!sure(t("delete_sure", { name: file.filename }))) return;
  await ask(`/v1/files/${encodeURIComponent(file.id)}`, { method: "DELETE" });
  show(byId("shown"), false);
  await list();
  say(t("deleted", { name: file.filename }));
}

list().catch(fault);
