// Curves as SVG: a line for each series, axes with round numbers, a legend, and a sentence for those who do not see it.

import { el, number, t } from "./common.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [560, 330, 62, 14, 10, 30];
const POINTS = 500;

const draw = (tag, attributes, text) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
};

/** Series by name and part: {name, part, points: [[step, value]]}. */
export class Curves {
  constructor() { this.series = new Map(); }

  put(name, part, step, value) {
    if (!Number.isFinite(value)) return;
    const key = `${part} ${name}`;
    if (!this.series.has(key)) this.series.set(key, { name, part, points: [] });
    const { points } = this.series.get(key);
    while (points.length && points.at(-1)[0] >= step) points.pop(); // a run that went on from a checkpoint
    points.push([step, value]);
    if (points.length > 2 * POINTS) this.series.get(key).points = points.filter((_, i) => i % 2 === 1);
  }

  show(node, logarithmic) {
    const all = [...this.series.values()].filter(({ points }) => points.length);
    const names = [...new Set(all.map(({ name }) => name))].slice(0, 4);
    const shown = all.filter(({ name }) => names.includes(name));
    if (!shown.length) return;
    const values = shown.flatMap(({ points }) => points.map(([, y]) => y));
    const useLog = logarithmic && values.some((y) => y > 0);
    const f = useLog ? (y) => Math.log10(Math.max(y, smallest(values))) : (y) => y;
    const x = scale(shown.flatMap(({ points }) => points.map(([step]) => step)), LEFT, WIDTH - RIGHT, false);
    const y = scale(values.map(f), HEIGHT - BOTTOM, TOP, true);
    const svg = draw("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    svg.append(draw("title", {}, shown.map((one) => curveText(one)).join("; ")));
    for (const tick of ticks(y.low, y.high, 5)) {
      svg.append(draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y.at(tick), y2: y.at(tick) }));
      svg.append(draw("text", { x: LEFT - 8, y: y.at(tick) + 4, "text-anchor": "end" }, number(useLog ? 10 ** tick : tick, 3)));
    }
    for (const tick of ticks(x.low, x.high, 5).filter(Number.isInteger)) {
      svg.append(draw("text", { x: x.at(tick), y: HEIGHT - 8, "text-anchor": "middle" }, number(tick, 6)));
    }
    const legend = el("ul", { class: "legend" });
    for (const one of shown) {
      const look = `c${names.indexOf(one.name)}${one.part === "validation" ? " dashed" : ""}`;
      const line = one.points.map(([step, value]) => `${x.at(step).toFixed(1)},${y.at(f(value)).toFixed(1)}`);
      if (line.length === 1) svg.append(draw("circle", { class: `curve ${look}`, cx: line[0].split(",")[0], cy: line[0].split(",")[1], r: 2 }));
      svg.append(draw("polyline", { class: `curve ${look}`, points: line.join(" ") }));
      const key = draw("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
      key.append(draw("line", { class: `key ${look}`, x1: 0, x2: 26, y1: 4, y2: 4 }));
      legend.append(el("li", {}, key, `${one.name}, ${t(one.part)}: ${number(one.points.at(-1)[1])}`));
    }
    node.replaceChildren(svg, legend);
  }
}

const curveText = ({ name, part, points }) =>
  t("curve_of", { name: `${name}, ${t(part)}`, value: number(points.at(-1)[1]), step: number(points.at(-1)[0], 9) });

const smallest = (values) => values.reduce((least, y) => (y > 0 && y < least ? y : least), Infinity);

function scale(values, from, to, padded) {
  let low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const room = high > low ? (padded ? 0.06 * (high - low) : 0) : Math.abs(high) * 0.1 || 1;
  [low, high] = [low - room, high + room];
  return { low, high, at: (value) => from + ((value - low) / (high - low)) * (to - from) };
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((times) => times * power >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}
