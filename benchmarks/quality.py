"""Quality at equal wall time on Fashion-MNIST: `make bench-quality`; see README.md beside this file.

    python -m benchmarks.quality                    10 minutes each, one after the other, all cores
    python -m benchmarks.quality --cores 1          side by side, one core and one thread each
    python -m benchmarks.quality --only gan "gan: pytorch/examples" --minutes 2
    python -m benchmarks.quality --table            write the table of docs/quality.md from what was measured last

Each contestant is a process of its own. What it made is stored as soon as it ends, so a stopped run goes on where it
was; `--again` measures anew. All pictures are judged by one extractor, which is trained on the real training split and
named by its hash.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, ROOT, WORK, child, machine, put_between, read_json, side_by_side, write_json

FILE = RESULTS / "quality.json"
HERE = WORK / "quality"
NAMES = [
    "gan", "gan: pytorch/examples", "vae", "vae: pythae", "diffusion", "diffusion: diffusers", "pixelcnn",
]  # fmt: skip


def folder_of(name: str) -> Path:
    return HERE / name.replace(": ", "-").replace("/", "-")


def work(name: str, seconds: float, n: int) -> None:
    """The child's part: one contestant, its items and facts stored in its folder."""
    from benchmarks.contestants import CONTESTANTS

    folder = folder_of(name)
    items, facts = CONTESTANTS[name](seconds, n, folder / "run")
    np.save(folder / "items.npy", items)
    write_json(folder / "facts.json", facts | {"seconds": seconds, "made": n, "machine": machine()})


def run_all(asked: argparse.Namespace) -> None:
    """Train whoever has not been, storing each as it ends."""

    def start(name: str, cores: list[int]) -> tuple[subprocess.Popen, Path]:
        folder = folder_of(name)
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        folder.mkdir(parents=True)
        words = ["--child", name, "--minutes", str(asked.minutes), "--samples", str(asked.samples)]
        return child("benchmarks.quality", words, cores, folder / "log.txt"), folder / "log.txt"

    waiting = [name for name in asked.only or NAMES if asked.again or not done(name, asked)]
    side_by_side(waiting, asked.cores, start)


def done(name: str, asked: argparse.Namespace) -> bool:
    facts = read_json(folder_of(name) / "facts.json")
    return facts.get("seconds") == asked.minutes * 60 and facts.get("made") == asked.samples


def judge(asked: argparse.Namespace) -> dict[str, Any]:
    """The scores of all who were trained as asked, against one reference; the real-against-real floor beside them."""
    import torch

    from benchmarks.peers import test_data
    from maquette.data.source import Data, open_data
    from maquette.evaluate.reference import prepare
    from maquette.media.image import Config as Image

    os.environ["MAQUETTE_CACHE"] = str(WORK / "cache")
    medium, device = Image(size=28, channels=1).build(), torch.device("cpu")
    dataset = open_data(Data(source=str(test_data("fashion_mnist"))), medium)
    reference = prepare(dataset, medium, device, asked.samples, extractor="domain", say=print)
    results: dict[str, Any] = {}
    for name in NAMES:
        if not done(name, asked):
            continue
        facts = read_json(folder_of(name) / "facts.json")
        items = np.load(folder_of(name) / "items.npy")
        seen = reference.extractor.see(items, medium, device)
        scores = reference.score(items, seen, np.full(len(items), -1))
        results[name] = facts | {key: estimate.value for key, estimate in scores.items()}
        (folder_of(name) / "sheet.png").write_bytes(medium.sheet(items[:64]))
    stamp = reference.stamp(asked.samples, 0).to_tree() | {"accuracy of the extractor": reference.extractor.note}
    return {"results": results, "floors": reference.floors, "stamp": stamp}


def table(tree: dict[str, Any]) -> str:
    from benchmarks.contestants import CLAIMS

    columns = ["fid", "kid", "precision", "recall", "coverage", "negative_elbo", "bits_per_dimension"]
    lines = ["| contestant | minutes | steps | parameters | samples/s | " + " | ".join(columns) + " |"]
    lines.append("|" + "---|" * (5 + len(columns)))
    for name, facts in tree["results"].items():
        shown = [f"{facts[c]:.4g}" if c in facts else "" for c in columns]
        start = f"| {name} | {facts['seconds'] / 60:g} | {facts['steps']:,} | {facts['parameters']:,} "
        lines.append(start + f"| {facts['samples_per_second']:.3g} | " + " | ".join(shown) + " |")
    floors = [f"{tree['floors'][c]:.4g}" if c in tree["floors"] else "" for c in columns]
    lines += ["| real against real | | | | | " + " | ".join(floors) + " |", ""]
    for ours, peer, figure, goal in CLAIMS:
        if {ours, peer} <= tree["results"].keys():
            share = tree["results"][ours][figure] / tree["results"][peer][figure]
            lines.append(f"- {ours} : {peer}, {figure}: {share:.3f} (goal: at most {goal})")
    stamp, on = (
        tree["stamp"],
        {json.dumps(facts["machine"] | {"load": 0, "when": ""}) for facts in tree["results"].values()},
    )
    about = [f"{m['processor']}, {m['cores']} cores a contestant, torch {m['torch']}" for m in map(json.loads, on)]
    lines += [
        "",
        f"Extractor {stamp['extractor']} `{stamp['weights'][:16]}`, {stamp['made']} made against {stamp['real']}",
    ]
    lines[-1] += f" real pictures of the {stamp['split']} split."
    lines += ["", f"{'; '.join(sorted(about))}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of training for each contestant")
    parser.add_argument("--samples", type=int, default=2000, help="drawn from each and compared")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--cores", type=int, default=0, help="of each contestant, as many side by side as fit")
    parser.add_argument("--judge", action="store_true", help="only score what was made before")
    parser.add_argument("--again", action="store_true", help="train anew whoever was trained before")
    parser.add_argument("--table", action="store_true", help="only write docs/quality.md from the results")
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return work(asked.child, asked.minutes * 60, asked.samples)
    if not asked.table:
        if not asked.judge:
            run_all(asked)
        tree = judge(asked)
        write_json(FILE, tree)
        print(table(tree))
    else:
        put_between(ROOT / "docs" / "quality.md", "table", table(json.loads(FILE.read_text())))
    return None


if __name__ == "__main__":
    main()
