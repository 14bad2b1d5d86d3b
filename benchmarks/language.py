"""A small language model to equal loss: nanoGPT's CPU setting, its own program, against a recipe here.

    python -m benchmarks.language            nanoGPT's 2,000 steps, then ours; about 5 minutes on an idle machine
    python -m benchmarks.language --ours     ours alone, held against what nanoGPT reached last
    python -m benchmarks.language --table    write the table of docs/speed.md from what was measured last

Both learn tinyshakespeare by the character with 4 layers, 4 heads, 128 wide, 64 characters of context. nanoGPT (a
checkout in MAQUETTE_PEERS) runs its `train.py` unchanged with the settings that its README gives for a CPU. Its time is
the sum of its iterations, evaluation left out; ours is the wall time of the whole loop, with validation, samples and a
checkpoint at its end, and beside it that of the whole command from process start. Losses are nats per character of the
validation split: nanoGPT's own estimate over 200 batches, ours over every window.
"""

import argparse
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, ROOT, WORK, machine, put_between, read_json, write_json
from benchmarks.peers import checkout, test_data

FILE = RESULTS / "language.json"
SETTING = [
    "--device=cpu",
    "--compile=False",
    "--eval_iters=200",
    "--eval_interval=2000",
    "--log_interval=1",
    "--block_size=64",
]
SETTING += ["--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", "--max_iters=2000", "--lr_decay_iters=2000"]
SETTING += ["--dropout=0.0", "--dtype=float32"]
BUDGET = "195steps"


def nanogpt() -> dict[str, Any]:
    """Its own preparation of the data, then its own training."""
    folder = checkout("nanoGPT/train.py").parent
    text = "".join((test_data("tinyshakespeare") / f"{part}.txt").read_text() for part in ("train", "validation"))
    place = folder / "data" / "shakespeare_char"
    (place / "input.txt").write_text(text)
    subprocess.run([sys.executable, "prepare.py"], cwd=place, check=True, stdout=subprocess.DEVNULL)
    out = WORK / "nanogpt"
    argv = [sys.executable, "train.py", "config/train_shakespeare_char.py", *SETTING, f"--out_dir={out}"]
    began = time.monotonic()
    said = subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True).stdout
    seconds = time.monotonic() - began
    steps = [float(ms) / 1000 for ms in re.findall(r"^iter [1-9]\d*: loss \S+ time (\S+)ms", said, re.MULTILINE)]
    loss = float(re.findall(r"^step 2000: .*val loss (\S+)", said, re.MULTILINE)[-1])
    usual = sorted(steps)[len(steps) // 2]
    # the first iteration after an evaluation holds that evaluation's time
    loop = sum(min(step, 3 * usual) for step in steps)
    return {"loss": loss, "loop": loop, "process": seconds, "steps": 2000, "ms": 1000 * usual, "tokens_per_step": 768}


def ours(budget: str) -> dict[str, Any]:
    """The recipe with nanoGPT's sizes, as a user would run it."""
    out = WORK / "language"
    subprocess.run(["rm", "-rf", str(out)], check=True)
    sizes = ["medium.length=64", "model.net={kind: transformer, width: 128, depth: 4, heads: 4, norm: layer}"]
    argv = [sys.executable, "-m", "maquette", "train", "gpt-char", "--data", str(test_data("tinyshakespeare"))]
    once = [f"train.{look}_every=1" for look in ("validate", "sample", "checkpoint")]  # it looks at the end alone
    argv += ["--budget", budget, "--out", str(out), "--quiet", *sizes, *once]
    env = os.environ | {"PYTHONPATH": str(ROOT), "MAQUETTE_CACHE": str(WORK / "cache")}
    began = time.monotonic()
    subprocess.run(argv, check=True, env=env, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    from maquette.train.run import Run

    run = Run.open(out)
    lines = run.metrics()
    steps, loop = max(line["step"] for line in lines), max(line.get("seconds", 0.0) for line in lines)
    tokens = run.recipe.train.batch * 64
    result = {"loss": whole_loss(out), "loop": loop, "process": seconds, "steps": steps, "tokens_per_step": tokens}
    return result | {"ms": 1000 * loop / steps}


def whole_loss(run: Path) -> float:
    """Nats per character over every window of the validation split."""
    import torch

    from maquette.core.seeds import Seeds
    from maquette.core.types import Batch, Given
    from maquette.data.source import Data, open_data
    from maquette.pipeline import load

    pipeline = load(run, "cpu")
    items = open_data(Data(source=str(test_data("tinyshakespeare"))), pipeline.medium).test.items
    nats = characters = 0.0
    with torch.inference_mode():
        for start in range(0, len(items), 100):
            x = pipeline.medium.to_tensor(items[start : start + 100])
            nats += float(pipeline.model.nll(Batch(x, Given(), Seeds.for_batch(0, 0, len(x)))).sum())  # type: ignore[operator]
            characters += float(pipeline.medium.units(x).sum())  # the text is ASCII: a byte is a character
    return nats / characters


def table(tree: dict[str, Any]) -> str:
    lines = [
        "| | steps | ms a step | tokens/s | seconds in the loop | from process start | loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("nanoGPT", "maquette"):
        r = tree[name]
        pace = r["tokens_per_step"] / r["ms"] * 1000
        seconds = f"{r['loop']:.1f} | {r['process']:.1f}"
        lines.append(f"| {name} | {r['steps']:,} | {r['ms']:.1f} | {pace:,.0f} | {seconds} | {r['loss']:.3f} |")
    a, b = tree["nanoGPT"], tree["maquette"]
    lines += ["", f"Loop {a['loop'] / b['loop']:.1f} x, from process start {a['process'] / b['process']:.1f} x."]
    m = tree["machine"]
    lines.append(f"{m['processor']}, {m['cores']} cores, torch {m['torch']}, load {m['load']:.1f}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", action="store_true", help="keep what nanoGPT reached last")
    parser.add_argument("--budget", default=BUDGET, help="of ours")
    parser.add_argument("--table", action="store_true", help="only write docs/speed.md from the results")
    asked = parser.parse_args()
    if asked.table:
        put_between(ROOT / "docs" / "speed.md", "language", table(read_json(FILE)))
        return
    tree = read_json(FILE) if asked.ours else {"nanoGPT": nanogpt()}
    tree |= {"maquette": ours(asked.budget), "machine": machine()}
    assert math.isfinite(tree["maquette"]["loss"])
    write_json(FILE, tree)
    print(table(tree))


if __name__ == "__main__":
    main()
