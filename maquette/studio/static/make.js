// Make: each medium by its path of the API; results stay on the page with what they were made from.

import { artefactPath, ask, byId, duration, el, events, fault, follow, guarded, maybe, medium, option, say, send, show, t } from "./common.js";
import { findMark, withMark } from "./mark.js";

const FIELDS = {
  image: ["prompt", "label", "n", "guidance", "temperature"],
  audio: ["prompt", "label", "n", "guidance", "temperature"],
  music: ["prompt", "label", "n", "guidance", "temperature", "top_p"],
  video: ["prompt", "label", "n", "guidance", "temperature"],
  text: ["prompt", "label", "n", "temperature", "top_p", "max_tokens"],
};
const OTHER = ["label", "n", "guidance", "temperature"];
const SEEDS = 2 ** 31;
const BLOBS = new WeakMap(); // the file of each tile
let models = [], chosen = null, going = null;

// -- what is asked ----------------------------------------------------------------------------------------------------

function choose() {
  chosen = models.find(({ id }) => id === byId("model").value);
  const can = new Set(chosen.can), fields = new Set(FIELDS[chosen.medium] ?? OTHER);
  if (!chosen.classes.length) fields.delete("label");
  if (chosen.medium !== "text" && !chosen.takes.includes("words")) fields.delete("prompt");
  if (chosen.medium === "image" && chosen.takes.includes("picture")) fields.add("image");
  if (!chosen.classes.length && !chosen.takes.includes("words")) fields.delete("guidance");
  if (can.has("denoises")) fields.add("steps").add("solver");
  if (can.has("asks")) fields.delete("label");
  if (fields.has("prompt")) fields.add("keep_prompt");
  for (const node of document.querySelectorAll("[data-for]")) show(node, fields.has(node.dataset.for));
  byId("label").replaceChildren(option("", t("label_any")), option("each", t("label_each")), ...chosen.classes.map((name) => option(name)));
  byId("about").textContent = [medium(chosen.medium), chosen.kind].join(" · ") + (chosen.medium in FIELDS ? "" : ` · ${t("only_job")}`);
}
byId("model").addEventListener("change", choose);

/** The fields that are seen and filled, as the API reads them. */
function asked() {
  const body = { model: chosen.id };
  for (const node of document.querySelectorAll("[data-for]")) {
    const input = byId(node.dataset.for);
    if (node.hidden || input.value === "" || input.type === "file" || (input.type === "checkbox" && !input.checked)) continue;
    body[input.id] = input.type === "number" ? Number(input.value) : input.type === "checkbox" || input.value;
  }
  body.seed = byId("seed").value === "" ? Math.floor(Math.random() * SEEDS) : Number(byId("seed").value);
  return body;
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  make(asked());
});
byId("halt").addEventListener("click", () => going?.abort());

async function make(body, each) {
  if (going) return;
  going = new AbortController();
  fault("");
  say(t("making"));
  byId("go").disabled = true;
  show(byId("halt"), true);
  const began = performance.now(), before = byId("gallery").childElementCount;
  try {
    await (MAKERS[chosen.medium] ?? byJob)(body, each ?? inOrder(), going.signal);
    say(t("made", { count: byId("gallery").childElementCount - before, time: duration((performance.now() - began) / 1000) }));
  } catch (error) {
    say(error.name === "AbortError" ? t("stopped") : "");
    fault(error);
    for (const tile of document.querySelectorAll(".tile.coming")) tile.remove();
  } finally {
    going = null;
    byId("go").disabled = false;
    show(byId("halt"), false);
    show(byId("empty"), !byId("gallery").childElementCount);
  }
}

/** Puts the results of one request at the top, in their order. */
function inOrder() {
  let last = null;
  return (tile) => {
    if (last) last.after(tile);
    else byId("gallery").prepend(tile);
    last = tile;
  };
}

// -- how each medium is made ------------------------------------------------------------------------------------------

const MAKERS = { image: pictures, audio: sounds, music: sounds, video: films, text: texts };

function filled(fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  return form;
}

const post = (path, json, signal) => send(path, { method: "POST", json, signal });

async function pictures(body, each, signal) {
  const partial = chosen.can.some((what) => what === "denoises" || what === "streams") ? { partial_images: 3 } : {};
  const [image] = byId("image").closest("[data-for]").hidden ? [] : byId("image").files, json = { ...body, stream: true, ...partial };
  const answer = image
    ? await send("/v1/images/edits", { method: "POST", form: filled({ ...json, image }), signal })
    : await post("/v1/images/generations", { prompt: "", ...json }, signal);
  const tiles = new Map();
  const tileOf = (index) => {
    if (!tiles.has(index)) {
      tiles.set(index, el("figure", { class: "tile coming" }, el("img", { alt: "" })));
      each(tiles.get(index));
    }
    return tiles.get(index);
  };
  for await (const event of events(answer)) {
    const tile = tileOf(event.index ?? 0), blob = new Blob([Uint8Array.from(atob(event.b64_json), (c) => c.charCodeAt(0))], { type: "image/png" });
    const image = tile.querySelector("img");
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(blob);
    if (event.type.endsWith("partial_image")) continue;
    finish(tile, { ...body, seed: event.seed }, blob, "png");
    image.alt = `${chosen.id}, ${t("seed_is", { seed: event.seed })}`;
    tile.classList.toggle("fine", Number.parseInt(event.size, 10) >= 128);
  }
}

async function sounds(body, each, signal) {
  const { n = 1, prompt = "", seed, ...more } = body;
  for (let i = 0; i < n; i++) {
    const answer = await post("/v1/audio/speech", { input: prompt, seed: seed + i, ...more }, signal);
    const blob = await answer.blob(), url = URL.createObjectURL(blob);
    const wave = blob.type.startsWith("audio/wav");
    const tile = el("figure", { class: "tile words" }, wave ? el("audio", { src: url, controls: true, "aria-label": chosen.id }) : null);
    finish(tile, { ...body, n: 1, seed: seed + i }, blob, wave ? "wav" : "mid");
    each(tile);
  }
}

async function films(body, each, signal) {
  const { n = 1, prompt = "", seed, ...more } = body;
  for (let i = 0; i < n; i++) {
    let film = await (await post("/v1/videos", { prompt, seed: seed + i, ...more }, signal)).json();
    const path = `/v1/videos/${encodeURIComponent(film.id)}`;
    while (!["completed", "failed"].includes(film.status)) {
      await new Promise((resolve) => setTimeout(resolve, 700));
      film = await ask(path, { signal });
    }
    if (film.error) throw new Error(film.error.message);
    const blob = await (await send(`${path}/content`, { signal })).blob();
    const tile = el("figure", { class: "tile" }, el("video", { src: URL.createObjectURL(blob), controls: true, loop: true, muted: true, "aria-label": chosen.id }));
    finish(tile, { ...body, n: 1, seed: seed + i }, blob, "mp4");
    each(tile);
  }
}

async function texts(body, each, signal) {
  const { prompt = "", ...more } = body, chat = chosen.can.includes("asks"), said = new Map(), marks = new Map();
  const json = chat ? { ...more, messages: [{ role: "user", content: prompt }], stream: true } : { ...more, prompt, stream: true };
  const answer = await post(chat ? "/v1/chat/completions" : "/v1/completions", json, signal);
  for await (const event of events(answer)) {
    for (const choice of event.choices) {
      if (!said.has(choice.index)) {
        said.set(choice.index, el("figure", { class: "tile words coming" }, el("div", { class: "text" })));
        each(said.get(choice.index));
      }
      said.get(choice.index).firstElementChild.append(choice.text ?? choice.delta?.content ?? "");
      if (choice.aigc) marks.set(choice.index, choice);
    }
  }
  for (const [index, tile] of said) {
    const file = withMark(tile.textContent, marks.get(index) ?? { aigc: {} });
    finish(tile, { ...body, n: 1, seed: body.seed + index }, new Blob([file], { type: "text/plain" }), "md");
  }
}

/** What has no path of its own is sampled by a job. */
async function byJob(body, each, signal) {
  const job = await ask("/v1/jobs", { method: "POST", json: { kind: "sample", ...body }, signal });
  await new Promise((resolve) => follow(job.id, () => {}, resolve));
  const { data } = await ask(`/v1/jobs/${encodeURIComponent(job.id)}/artefacts`, { signal });
  for (const { id } of data.filter(({ id }) => !id.endsWith(".zip") && !id.endsWith(".jsonl"))) {
    const src = artefactPath(job.id, id), shown = /\.(png|svg)$/.test(id) ? el("img", { src, alt: id }) : null;
    each(el("figure", { class: "tile" }, shown, el("figcaption", {}, id, el("span", { class: "actions small-buttons" }, el("a", { class: "button", href: src, download: id }, t("download"))))));
  }
}

/** The foot of a tile: what it was made from, and what can be done with it. */
function finish(tile, body, blob, ending) {
  const facts = [t("seed_is", { seed: body.seed }), ...["label", "guidance", "steps", "temperature"].filter((name) => name in body).map((name) => `${t(name)} ${body[name]}`)];
  tile.classList.remove("coming");
  BLOBS.set(tile, blob);
  tile.append(el("figcaption", {},
    el("span", {}, facts.join(" · ")), body.prompt ? el("span", {}, `“${body.prompt}”`) : null,
    el("span", { class: "actions small-buttons" },
      el("a", { class: "button", href: URL.createObjectURL(blob), download: `${body.model}-${body.seed}.${ending}` }, t("download")),
      el("button", { type: "button", "aria-label": `${t("again")}, ${t("seed_is", { seed: body.seed })}`, onclick: () => repeat(body) }, t("again")))));
}

function repeat(body) {
  fill(body);
  byId("seed").value = body.seed;
  byId("n").value = 1;
  byId("seed").focus();
}

/** The values of the form's fields; those that are not named stay as they are. */
function fill(values) {
  for (const node of document.querySelectorAll("[data-for]")) {
    const input = byId(node.dataset.for), value = values[input.id];
    if (value === undefined) continue;
    if (input.type === "checkbox") input.checked = value;
    else input.value = value;
  }
}

// -- from a mark ------------------------------------------------------------------------------------------------------

byId("marked").addEventListener("change", guarded(async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  event.target.value = "";
  const data = new Uint8Array(await file.arrayBuffer()), mark = findMark(data);
  if (!mark) {
    byId("told").replaceChildren(el("p", { class: "hint bad" }, `${file.name}: ${t("no_mark")}`));
    return;
  }
  const model = models.find(({ digest }) => digest.startsWith(mark.digest)), result = el("div");
  const { without = [], keep_prompt, ...asked } = mark.asked;
  const facts = [[t("mark_model"), model?.id ?? t("mark_unknown", { digest: mark.digest })], [t("seed"), String(mark.seed)], [t("mark_by"), [mark.generator, mark.producer].filter(Boolean).join(", ")],
    ...Object.entries(asked).map(([name, value]) => [maybe(name, name), String(value)]), ...(without.length ? [[t("mark_without"), without.map((name) => maybe(name, name)).join(", ")]] : [])];
  byId("told").replaceChildren(
    el("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    model ? el("div", { class: "actions" }, el("button", { type: "button", class: "main", onclick: guarded(() => reproduce(model, mark, data, result)) }, t("make_again"))) : el("span"), result);
}));

async function reproduce(model, { seed, asked: { without = [], ...settings } }, data, result) {
  if (byId("model").value !== model.id) {
    byId("model").value = model.id;
    choose();
  }
  for (const node of document.querySelectorAll("[data-for]")) {
    const input = byId(node.dataset.for);
    if (input.type === "checkbox") input.checked = false;
    else if (input.type !== "file" && !without.includes(input.id)) input.value = "";
  }
  fill(settings);
  byId("seed").value = seed;
  byId("n").value = 1;
  const made = [];
  result.replaceChildren();
  await make({ ...asked(), ...settings }, (tile) => { made.push(tile); byId("gallery").prepend(tile); });
  if (!BLOBS.has(made[0])) return;
  const again = new Uint8Array(await BLOBS.get(made[0]).arrayBuffer());
  const same = again.length === data.length && again.every((byte, i) => byte === data[i]);
  result.replaceChildren(el("p", { class: same ? "note" : "note bad" }, t(same ? "same_bytes" : without.length ? "other_bytes_without" : "other_bytes", { without: without.map((name) => maybe(name, name)).join(", ") })));
}

// -- the beginning ----------------------------------------------------------------------------------------------------

guarded(async () => {
  models = (await ask("/v1/models")).data.filter(({ can }) => can.includes("draws") || can.includes("talks")).reverse();
  show(byId("none"), !models.length);
  show(byId("form"), models.length);
  if (!models.length) return;
  byId("model").append(...models.map(({ id }) => option(id)));
  const wanted = new URLSearchParams(location.search).get("model");
  if (models.some(({ id }) => id === wanted)) byId("model").value = wanted;
  choose();
})();
