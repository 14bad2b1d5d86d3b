// The marks of a generated file, JSON in the metadata of every medium: the record of GB 45438-2025, and what else the
// item was asked with.

const FRONT = /^---\nAIGC: (\{[^{}\n]*\})\n(?:Maquette: (\{[^{}\n]*\})\n)?---\n/;
const RECORDS = [/"AIGC":\s*(\{[^{}]*\})/, /"Maquette":\s*(\{[^{}]*\})/];

/** {digest, seed, generator, producer, asked} of the file, or null when it carries no mark of ours. */
export function findMark(data) {
  const text = new TextDecoder("latin1").decode(data);
  const found = FRONT.exec(text)?.slice(1) ?? RECORDS.map((pattern) => pattern.exec(text)?.[1]);
  let record, asked;
  try {
    [record, asked] = found.map((json) => JSON.parse(json ?? "{}"));
  } catch {
    return null;
  }
  const id = /^([0-9a-f]{16})-(\d{1,19})$/.exec(record.ProduceID ?? "");
  if (!id) return null;
  return { digest: id[1], seed: Number(id[2]), generator: String(record.ReservedCode1 ?? ""), producer: String(record.ContentProducer ?? ""), asked };
}

/** A text as a file that carries the records `aigc` and, where there is one, `maquette`, as `maquette sample` writes it. */
export function withMark(text, { aigc, maquette }) {
  return `---\nAIGC: ${ascii(aigc)}\n${maquette ? `Maquette: ${ascii(maquette)}\n` : ""}---\n\n${text}`;
}

/** An object as JSON of ASCII letters without a brace inside, so that it can be found in any file. */
function ascii(record) {
  const plain = (value) => (Array.isArray(value) ? `[${value.map(plain).join(", ")}]` : JSON.stringify(value));
  const inside = Object.entries(record).map(([name, value]) => `${plain(name)}: ${plain(value)}`).join(", ");
  return `{${inside.replace(/[{}]|[^\x00-\x7f]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`)}}`;
}
