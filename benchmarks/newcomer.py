"""A newcomer's way: a new environment, README.md and 300 pictures; at the end there are a model, samples and a report.

    python benchmarks/newcomer.py                   # as README says, ten minutes of training
    python benchmarks/newcomer.py --budget 90s      # shorter
    python benchmarks/newcomer.py --table           # and write what it took into the guide

The commands are those of README.md for installing and for one's own pictures. Nothing but Python is needed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, by a Python that has nothing installed

from benchmarks.harness import put_between  # noqa: E402

MOST = 5
"""Commands that a newcomer should need."""
PICTURES = """
from itertools import islice
from pathlib import Path
from PIL import Image
from maquette.data import embedded
from maquette.media import image

rows = embedded.find("sprites", image.Config(size=48, channels=3).build()).read().rows
for number, row in enumerate(islice(rows, 300)):
    folder = Path("photos", row.label.split()[0])
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(row.load()).save(folder / f"{number:03}.png")
"""


def commands(readme: str) -> list[str]:
    """What README.md has a newcomer type: the line that installs, and the first block on pictures."""
    install = re.search(r"`(pip install -c constraints\.txt -e \.)`", readme)
    block = re.search(r"## Your own pictures\n.*?```sh\n(.*?)```", readme, re.DOTALL)
    if install is None or block is None:
        raise SystemExit("README.md no longer says how to install, or what to do with pictures")
    return [install[1], *block[1].strip().splitlines()]


PAGES = {
    "start.md": (
        "command | took",
        "Fréchet distance {fid}, real against real {floor}; precision {precision}, recall {recall}.",
    ),
    "start.zh.md": ("命令 | 用时", "Fréchet 距离 {fid}，真实对真实 {floor}；精确率 {precision}，召回率 {recall}。"),
}
"""What says it in each language: a table's head, and what the report found."""


def found(report: Path) -> dict[str, str]:
    """The figures of a report that are told."""
    scores = {one["name"]: one for one in json.loads(report.read_text(encoding="utf-8"))["scores"]}
    figures = {"fid": scores["fid"]["value"], "floor": scores["fid"]["floor"]}
    figures |= {name: scores[name]["value"] for name in ("precision", "recall")}
    return {name: f"{value:.3g}" for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", help="instead of README's")
    parser.add_argument("--table", action="store_true", help="write the outcome into docs/guide/start*.md")
    asked = parser.parse_args()
    typed = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(typed) <= MOST, f"README.md wants {len(typed)} commands"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
        environment = os.environ | {"PATH": f"{place / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        environment.pop("PYTHONPATH", None)
        lines = []
        for number, command in enumerate(typed):
            if asked.budget:
                command = re.sub(r"--budget \S+", f"--budget {asked.budget}", command)
            print(f"$ {command}", flush=True)
            begun = time.monotonic()
            where = ROOT if number == 0 else place
            subprocess.run(["bash", "-c", command], cwd=where, env=environment, check=True)
            lines.append(f"| {number + 1} | `{command}` | {time.monotonic() - begun:.0f} s |")
            if number == 0:  # the newcomer's own, which only need something that can draw
                subprocess.run(["python", "-c", PICTURES], cwd=place, env=environment, check=True)
        figures = found(place / "runs" / "photos" / "report.json")
    for page, (head, sentence) in PAGES.items():
        table = "\n".join([f"| | {head} |", "|---|---|---|", *lines, "", sentence.format(**figures)])
        print(table)
        if asked.table:
            put_between(ROOT / "docs" / "guide" / page, "newcomer", table)


if __name__ == "__main__":
    main()
