// ZIP files: made of what was dropped, as it is; and looked into, for a preview.

import { el } from "./common.js";

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});
const MOST = 0xffff_0000;
const PICTURES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", webp: "image/webp", gif: "image/gif", bmp: "image/bmp" };
const SOUNDS = { wav: "audio/wav", flac: "audio/flac", ogg: "audio/ogg", mp3: "audio/mpeg", m4a: "audio/mp4" };
const FILMS = { mp4: "video/mp4", webm: "video/webm" };
const TEXTS = new Set(["txt", "md", "csv", "jsonl", "py"]);
const OTHERS = new Set(["tif", "tiff", "oga", "opus", "aac", "m4v", "mov", "mkv", "avi", "mid", "midi"]);

export const suffix = (name) => name.slice(name.lastIndexOf(".") + 1).toLowerCase();
export const usable = (path) => {
  const hidden = path.split("/").some((part) => part.startsWith(".") || part === "__MACOSX");
  const end = suffix(path);
  return !hidden && (end in PICTURES || end in SOUNDS || end in FILMS || TEXTS.has(end) || OTHERS.has(end));
};

async function crc(blob) {
  let sum = 0xffffffff;
  const reader = blob.stream().getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return (sum ^ 0xffffffff) >>> 0;
    for (const byte of value) sum = TABLE[(sum ^ byte) & 255] ^ (sum >>> 8);
  }
}

const packed = (...fields) => {
  const bytes = new Uint8Array(fields.reduce((sum, [width]) => sum + width, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  return bytes;
};

/** A ZIP of `entries` ({path, file}); `told` hears of each file that is done. */
export async function pack(entries, told) {
  const parts = [], directory = [];
  let at = 0, listed = 0;
  for (const [i, { path, file }] of entries.entries()) {
    const name = new TextEncoder().encode(path.normalize("NFC"));
    // version, UTF-8 names, stored as they are, 1 January 1980
    const about = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 0x21], [4, await crc(file)], [4, file.size], [4, file.size], [2, name.length], [2, 0]];
    parts.push(packed([4, 0x04034b50], ...about), name, file);
    directory.push(packed([4, 0x02014b50], [2, 20], ...about, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]), name);
    at += 30 + name.length + file.size;
    listed += 46 + name.length;
    told(i + 1);
  }
  const end = packed([4, 0x06054b50], [2, 0], [2, 0], [2, entries.length], [2, entries.length], [4, listed], [4, at], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Whether so much fits into a ZIP of this simple kind. */
export const fits = (entries) => entries.length < 0xffff && entries.reduce((sum, { file }) => sum + file.size + 400, 0) < MOST;
export const most = MOST;

/** The files in a ZIP as {path, open}, where `open` gives their bytes as a Blob. */
export async function look(zip) {
  const tail = new DataView(await zip.slice(Math.max(0, zip.size - 65557)).arrayBuffer());
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== 0x06054b50) at--;
  if (at < 0) return [];
  const [length, start] = [tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  const list = new DataView(await zip.slice(start, start + length).arrayBuffer());
  const found = [];
  for (let i = 0; i + 46 <= list.byteLength && list.getUint32(i, true) === 0x02014b50;) {
    const [method, size, named] = [list.getUint16(i + 10, true), list.getUint32(i + 20, true), list.getUint16(i + 28, true)];
    const offset = list.getUint32(i + 42, true);
    const path = new TextDecoder().decode(new Uint8Array(list.buffer, i + 46, Math.min(named, list.byteLength - i - 46)));
    found.push({ path, open: () => member(zip, offset, size, method) });
    i += 46 + named + list.getUint16(i + 30, true) + list.getUint16(i + 32, true);
  }
  return found.filter(({ path }) => usable(path));
}

async function member(zip, offset, size, method) {
  const head = new DataView(await zip.slice(offset, offset + 30).arrayBuffer());
  const from = offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const bytes = zip.slice(from, from + size);
  if (method === 0) return bytes;
  return new Response(bytes.stream().pipeThrough(new DecompressionStream("deflate-raw"))).blob();
}

/** A figure of a file, or null when there is nothing to show. Names and texts stay texts. */
export async function tile(path, open) {
  const end = suffix(path), caption = el("figcaption", { title: path }, path.split("/").slice(-2).join("/"));
  const kind = PICTURES[end] ?? SOUNDS[end] ?? FILMS[end];
  if (!kind && !TEXTS.has(end)) return null;
  const blob = await open();
  if (!kind) {
    const text = (await blob.slice(0, 2000).text()).slice(0, 600);
    return el("figure", { class: "tile words" }, el("div", { class: "text" }, text), caption);
  }
  const url = URL.createObjectURL(new Blob([blob], { type: kind }));
  const tag = end in PICTURES ? el("img", { src: url, alt: path, loading: "lazy" }) : el(end in SOUNDS ? "audio" : "video", { src: url, controls: true, "aria-label": path });
  return el("figure", { class: end in PICTURES ? "tile" : "tile words" }, tag, caption);
}

/** Shows the first of some files in `node`, spread over all of them; how many were shown. */
export async function preview(node, entries, count = 24) {
  for (const old of node.querySelectorAll("[src^='blob:']")) URL.revokeObjectURL(old.src);
  node.replaceChildren();
  const step = Math.max(1, entries.length / count);
  let shown = 0;
  for (let i = 0; Math.floor(i) < entries.length && shown < count; i += step) {
    const { path, open } = entries[Math.floor(i)];
    const figure = await tile(path, open).catch(() => null);
    if (figure) { node.append(figure); shown++; }
  }
  node.hidden = shown === 0;
  return shown;
}
