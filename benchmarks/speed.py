"""Speed rows: each of ours against its peers, interleaved. `make bench`; see README.md beside this file.

python -m benchmarks.speed                       all rows, 5 rounds of 20 seconds a contestant
python -m benchmarks.speed dcgan vae --seconds 5 some rows, shorter
python -m benchmarks.speed --table               write the table of docs/speed.md from what was measured last
"""

import argparse
import importlib
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, ROOT, interleave, machine, put_between, read_json, write_json

FILE = RESULTS / "speed.json"
ROWS = sorted(p.stem for p in (Path(__file__).parent / "rows").glob("*.py"))


def measure(row: str, rounds: int, seconds: float) -> dict[str, Any]:
    """One row's tree: its contestants' rates and the ratio of each pair."""
    module = importlib.import_module(f"benchmarks.rows.{row}")
    measured = {m.name: m for m in interleave(row, list(module.CONTESTANTS), rounds, seconds)}
    tree: dict[str, Any] = {"title": module.TITLE, "unit": module.UNIT, "machine": machine(), "pairs": []}
    for ours, peer, goal in module.PAIRS:
        a, b = measured[ours], measured[peer]
        ratios = None if a.failed or b.failed else [a.rate / b.rate, a.cpu_rate / b.cpu_rate]
        tree["pairs"].append({"ours": ours, "peer": peer, "goal": goal, "wall_and_cpu_ratio": ratios})
    return tree | {"contestants": {name: m.to_tree() for name, m in measured.items()}}


def show(tree: dict[str, Any]) -> None:
    print(f"\n{tree['title']}  (load {tree['machine']['load']:.1f})")
    for name, result in tree["contestants"].items():
        if "failed" in result:
            print(f"  {name:32} not measured: {result['failed']}")
            continue
        note = f"  {result['disturbed_rounds']} rounds disturbed" if result["disturbed_rounds"] else ""
        print(f"  {name:32} {result['rate']:>12,.2f} {tree['unit']}/s{note}")
    for pair in tree["pairs"]:
        if pair["wall_and_cpu_ratio"]:
            wall, cpu = pair["wall_and_cpu_ratio"]
            print(f"  {pair['ours']} : {pair['peer']} = {wall:.2f} (processor time {cpu:.2f}; goal {pair['goal']})")


def table(results: dict[str, Any]) -> str:
    head = ["workload", "contestant", "per second", "against", "ratio (wall)", "ratio (processor time)", "goal"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for tree in results.values():
        for name, result in tree["contestants"].items():
            rate = "not measured" if "failed" in result else f"{result['rate']:,.2f} {tree['unit']}"
            pairs = [pair for pair in tree["pairs"] if pair["ours"] == name] or [{}]
            for pair in pairs:
                ratios = [f"{ratio:.2f}" for ratio in pair.get("wall_and_cpu_ratio") or ()] or ["", ""]
                cells = [tree["title"], name, rate, pair.get("peer", ""), *ratios, str(pair.get("goal", ""))]
                lines.append("| " + " | ".join(cells) + " |")
    about = (tree["machine"] for tree in results.values())
    when = {f"{m['processor']}, {m['cores']} cores, torch {m['torch']}, {m['when'].split()[0]}" for m in about}
    return "\n".join([*lines, "", *(f"Measured on {w}." for w in sorted(when))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, default=20, help="of each turn")
    parser.add_argument("--table", action="store_true", help="only write docs/speed.md from the results")
    asked = parser.parse_args()
    if unknown := set(asked.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if not asked.table:
        for row in asked.rows or ROWS:
            tree = measure(row, asked.rounds, asked.seconds)
            show(tree)
            write_json(FILE, read_json(FILE) | {row: tree})
    else:
        put_between(ROOT / "docs" / "speed.md", "table", table(read_json(FILE)))


if __name__ == "__main__":
    main()
