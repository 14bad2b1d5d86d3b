"""Reading what a run writes while it writes it: new lines of its metrics, new sheets, how far it has come."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST = 4 << 20
"""Bytes that are taken of a file at once."""
STEP = "step-"
_STARVED = re.compile(
    "MemoryError|can't allocate memory|cannot allocate memory|unable to allocate|bad_alloc|out of memory"
    "|failed to map segment|cannot create thread|can't start new thread|thread creation failed",
    re.IGNORECASE,
)


class Tail:
    """New whole lines of a log of JSON; one that was rewritten (by a resumed run) is read from its beginning again."""

    def __init__(self, path: Path):
        self.path = path
        self._file, self._at = (0, 0), 0

    def read(self) -> list[dict[str, Any]]:
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return []
        try:
            info = os.fstat(handle)
            if (info.st_dev, info.st_ino) != self._file or info.st_size < self._at:
                self._file, self._at = (info.st_dev, info.st_ino), 0
            data = os.pread(handle, MOST, self._at)
        finally:
            os.close(handle)
        whole, newline, _ = data.rpartition(b"\n")
        self._at += len(whole) + len(newline)
        found = []
        for line in whole.split(b"\n") if newline else ():
            try:
                tree = json.loads(line)
            except ValueError:
                continue
            if isinstance(tree, dict):
                found.append(tree)
        return found


@dataclass
class Course:
    """How far a job has come, by the files of its runs.

    Args:
        runs: the folders of the runs it will make; of a comparison several.
        seen: the last step that was told of, by run; told steps are not told again.
        made: of a job that draws samples, the log of them, and how many there will be.
    """

    runs: Mapping[str, Path]
    seen: dict[str, int]
    reached: float = 0.0
    made: tuple[Path, int] | None = None

    def __post_init__(self) -> None:
        self._tails = {name: Tail(path / "metrics.jsonl") for name, path in self.runs.items()}
        self._shares = dict.fromkeys(self.runs, 0.0)
        self._sheets: dict[str, set[str]] = {name: set() for name in self.runs}
        self._drawn, self._count = Tail(self.made[0]) if self.made else None, 0
        self.latest: dict[str, Any] = {}

    def look(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What is new, as events: at most one line of training a run, every validation, every sheet."""
        told: list[tuple[str, str, dict[str, Any]]] = []
        for name, tail in self._tails.items():
            last = None
            seen = self.seen.get(name, -1)
            for line in tail.read():
                step = line.get("step")
                if not isinstance(step, int):
                    continue
                if "validation" in line:
                    if step > seen:
                        told.append(_told(name, line, "validation", line["validation"]))
                elif step > self.seen.get(name, -1):
                    last, self.seen[name] = line, step
                    self._shares[name] = float(line.get("progress", 0.0))
            if last is not None:
                told.append(_told(name, last, "training", _numbers(last)))
                self.latest = {"step": last["step"], **_numbers(last)}
            told += self._new_sheets(name)
        if self.made and self._drawn and (new := len(self._drawn.read())):
            self._count += new
            self.latest = {"made": self._count, "of": self.made[1]}
            self.reached = max(self.reached, min(1.0, self._count / self.made[1]))
            told.append(("metrics", f"{self._count} of {self.made[1]} made", dict(self.latest)))
        if self._shares:
            self.reached = max(self.reached, sum(self._shares.values()) / len(self._shares))
        return told

    def _new_sheets(self, name: str) -> list[tuple[str, str, dict[str, Any]]]:
        folder = self.runs[name] / "samples"
        known = self._sheets[name]
        try:
            there = {e for e in os.listdir(folder) if e.startswith(STEP) and not e.endswith(".tmp")}
        except OSError:
            return []
        new = sorted(there - known)
        known |= there
        return [
            ("sample", f"Samples {sheet}", {"run": name, "artefact": f"{name}-{sheet}" if name else sheet})
            for sheet in new
        ]


def _told(run: str, line: Mapping[str, Any], part: str, values: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    losses = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if "loss" in name and value is not None)
    data = {"step": line["step"], "part": part, **values} | ({"run": run} if run else {})
    return "metrics", f"Step {line['step']}" + (f": {losses}" if losses else ""), data


def _numbers(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "step" and isinstance(value, int | float)}


def starved(log: Path) -> bool:
    """Whether the end of a log tells of memory that was not given: by Python, numpy, torch, C++, LLVM or the system."""
    return _STARVED.search(_end(log, 4096)) is not None


def failure(log: Path) -> tuple[str, str]:
    """(code, sentence) of the last mistake that a log tells of; ("", "") when there is none."""
    _, mark, rest = _end(log, 65536).rpartition("error[MQ-")
    if not mark:
        return "", ""
    code, _, sentence = rest.partition("]: ")
    return f"MQ-{code}", sentence.partition("\n")[0].strip()


def _end(log: Path, most: int) -> str:
    """The last bytes of a log."""
    try:
        handle = os.open(log, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return os.pread(handle, most, max(0, os.fstat(handle).st_size - most)).decode(errors="replace")
    finally:
        os.close(handle)
