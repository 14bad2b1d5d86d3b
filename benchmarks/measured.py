"""The measured tables as one small file that comes with Maquette: what `maquette advise` ranks by.

    python -m benchmarks.measured         write maquette/verbs/measured.json from benchmarks/results and docs/quality.md

To be run when a result has come or changed; a test holds the file against the results. Of each recipe the score is
kept that its table shows first, with its interval, those of simpler ways, and what it cost. Figures are in one table
when they were taken alike: the same data, as many examples, equal time, like stamps.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import films, pictures, sounds, tasks
from benchmarks.contest import Contest
from benchmarks.harness import RESULTS, ROOT, read_json
from maquette.evaluate.report import KINDS
from maquette.verbs import advise
from maquette.verbs.recipes import Listed

EXAMPLES = {
    "banking77": 10_003,
    "dialogue_sgd": 5_072,
    "emoji_noto": 2_997,
    "emoji_twemoji": 2_949,
    "faces_64": 786,
    "faq_chatterbot": 2_622,
    "fashion_mnist": 60_000,
    "fsdd": 600,
    "jsb_chorales": 229,
    "movie_sentences_en": 9_596,
    "moving-digits": 2_876,
    "pydoc": 79,
    "reviews_zh": 7_969,
    "scitldr": 1_992,
    "seasons": 12,
    "tang_poems": 4_500,
    "tatoeba_en_zh": 19_334,
    "tinyshakespeare": 15,
    "tones": 4_008,
}
"""Files, rows, or pieces of long files of each set that were learnt from; a test counts them."""
OURS = {"gan": "dcgan", "vae": "vae-mlp", "diffusion": "diffusion", "pixelcnn": "pixelcnn"}
"""The contestants of quality.json that are recipes."""
TEXT = {"GPT": "gpt-char", "LSTM": "lstm-char", "masked diffusion": "mdlm-char"}
SIMPLER = ("5-gram", "bigram")
"""The columns of the table of text in docs/quality.md."""

Found = tuple[dict[str, Any], dict[str, Any]]
"""What tells a table from others, and one entry of it."""


def gathered() -> dict[str, Any]:
    """What measured.json holds, from the results as they are."""
    known = {recipe.name.rpartition("/")[2]: recipe for recipe in advise.advised()}
    found = [*contests(), *quality(), *texts(), *language(), *answers()]
    grouped: dict[str, dict[str, Any]] = {}
    for about, entry in found:
        if entry["recipe"] in known:
            told = about | asked_by(known[entry["recipe"]])
            grouped.setdefault(json.dumps(told, sort_keys=True), told | {"entries": []})["entries"].append(entry)
    for table in grouped.values():
        table.pop("stamp", None)
        if table["floor"] is None:
            del table["floor"]
    return {"written by": "python -m benchmarks.measured", "tables": list(grouped.values())}


def asked_by(recipe: Listed) -> dict[str, str]:
    return {"medium": recipe.name.partition("/")[0], "given": advise.given_to(recipe)}


def about(page: str, data: str, minutes: float, cores: int, score: str, **more: Any) -> dict[str, Any]:
    """What tells a table from others."""
    kind, examples = KINDS[score], more.pop("examples", 0) or EXAMPLES[data]
    told = {"page": page, "data": data, "examples": examples, "minutes": minutes, "cores": cores}
    return told | {"score": kind.title, "unit": kind.unit, "better": kind.better, "floor": None} | more


def contests() -> Iterator[Found]:
    """pictures.json, sounds.json and films.json, as far as they are there."""
    for contest in (pictures.CONTEST, sounds.CONTEST, films.CONTEST):
        for name, facts in read_json(contest.file).items():
            yield from of_contest(contest, name, facts)


def of_contest(contest: Contest, name: str, facts: Mapping[str, Any]) -> Iterator[Found]:
    """The contestant's own way of drawing, by the first score of its row that it has."""
    report = facts["reports"][name]
    scores = {score["name"]: score for score in report["scores"]}
    first = next((scores[wanted] for wanted in contest.rows[facts["row"]] if wanted in scores), None)
    if first is None:
        return
    stamp = {key: value for key, value in first["stamp"].items() if key not in ("seed", "software")}
    told = about(
        f"{contest.name}.md", facts["data"], facts["minutes"], facts["machine"]["cores"], first["name"],
        examples=facts["few"], floor=first["floor"], stamp=stamp,
    )  # fmt: skip
    cost = {
        "steps": report["cost"]["train_steps"],
        "items": rounded(facts["images"]),
        "sample": rounded(1 / report["cost"]["samples_per_second"]),
    }
    yield told, entry(facts["recipe"], first, facts["overrides"]) | cost


def quality() -> Iterator[Found]:
    """quality.json: recipes beside peers, which are left out."""
    tree = read_json(RESULTS / "quality.json")
    for name, facts in tree.get("results", {}).items():
        if name in OURS:
            minutes, cores = facts["seconds"] / 60, facts["machine"]["cores"]
            told = about("quality.md", "fashion_mnist", minutes, cores, "fid", floor=tree["floors"]["fid"])
            cost = {"steps": facts["steps"], "sample": rounded(1 / facts["samples_per_second"])}
            yield told, {"recipe": OURS[name], "value": rounded(facts["fid"])} | cost


def texts() -> Iterator[Found]:
    """The table of docs/quality.md under "Text": bits per byte, whose reports are in no file of results."""
    part = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8").partition("\n## Text\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")]
    columns = rows[0][1:]
    for cells in rows[2 : rows.index(next((row for row in rows if not row[0]), rows[-1]))]:
        data = re.findall(r"`(\w+)`", cells[0])[0]
        said = {name: cell for name, cell in zip(columns, cells[1:], strict=True) if cell}
        simpler = {way: [float(said[way]), None, None] for way in SIMPLER}
        for column, recipe in TEXT.items():
            if column in said:
                value, _, error = said[column].removeprefix("at most ").partition(" ± ")
                found = {"recipe": recipe, "value": float(value)}
                if error:
                    found |= {"low": rounded(float(value) - float(error)), "high": rounded(float(value) + float(error))}
                if "at most" in said[column]:
                    found["bound"] = True
                yield (
                    about("quality.md", data, 10.0, 1, "likelihood", unit="bits per byte"),
                    found | {"simpler": simpler},
                )


def language() -> Iterator[Found]:
    """language.json: a small model of text against nanoGPT, whose loss is the simpler way here."""
    tree = read_json(RESULTS / "language.json")
    if tree:
        ours = tree["maquette"]
        told = about("speed.md", "tinyshakespeare", round(ours["loop"] / 60, 4), tree["machine"]["cores"], "likelihood")
        told |= {"score": "loss", "unit": "nats per character"}
        peer = {f"nanoGPT in {tree['nanoGPT']['loop']:.0f} s": [rounded(tree["nanoGPT"]["loss"]), None, None]}
        yield told, {"recipe": "gpt-char", "value": rounded(ours["loss"]), "steps": ours["steps"], "simpler": peer}


def answers() -> Iterator[Found]:
    """tasks.json."""
    for facts in read_json(tasks.FILE).values():
        first = next(facts["scores"][name] for name in tasks.SCORES if name in facts["scores"])
        told = about("quality.md", facts["data"], facts["minutes"], facts["machine"]["cores"], first["name"])
        yield told, entry(facts["recipe"], first, facts["overrides"]) | {"steps": facts["steps"]}


def entry(recipe: str, score: Mapping[str, Any], overrides: list[str]) -> dict[str, Any]:
    """What is kept of a score."""
    simpler = {way: [rounded(one[key]) for key in ("value", "low", "high")] for way, one in score["baselines"].items()}
    kept = {"recipe": recipe} | {key: rounded(score[key]) for key in ("value", "low", "high")}
    own = [word for word in overrides if word.startswith(("model.", "train."))]
    more = {"overrides": own, "simpler": simpler, "bound": score["bound"]}
    return kept | {key: value for key, value in more.items() if value}


def rounded(value: float | None) -> float | None:
    """Four digits: what is read of it, and no more."""
    return None if value is None else float(f"{value:.4g}")


def written(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    Path(advise.MEASURED).write_text(written(gathered()), encoding="utf-8")
    print(advise.MEASURED)


if __name__ == "__main__":
    main()
