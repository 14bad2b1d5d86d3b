// The mark of a generated file: the record of GB 45438-2025, which stands as JSON in the metadata of every medium.

const RECORD = /\{\s*"AIGC":\s*(\{[^{}]*\})\s*\}|AIGC: (\{[^{}\n]*\})/;

/** {digest, seed, generator, producer} of the file, or null when it carries no mark of ours. */
export function findMark(data) {
  const match = RECORD.exec(new TextDecoder("latin1").decode(data));
  if (!match) return null;
  let record;
  try {
    record = JSON.parse(match[1] ?? match[2]);
  } catch {
    return null;
  }
  const id = /^([0-9a-f]{16})-(\d{1,19})$/.exec(record.ProduceID ?? "");
  if (!id) return null;
  return { digest: id[1], seed: Number(id[2]), generator: String(record.ReservedCode1 ?? ""), producer: String(record.ContentProducer ?? "") };
}

/** A text as a file that carries `record`, as `maquette sample` writes it. */
export function withMark(text, record) {
  const fields = Object.entries(record).map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`);
  return `---\nAIGC: {${fields.join(", ")}}\n---\n\n${text}`;
}
