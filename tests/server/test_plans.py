"""From a spec to a command: what a request says is a value and nothing else. And what is read of a run that goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from maquette.cli.parser import parse
from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server import plans
from maquette.server.artefacts import artefact, artefacts, log
from maquette.server.states import Job
from maquette.server.tailing import Course, Tail, failure

PLACES = plans.Places("datasets/ab/zip", "models/x", lambda name: Path("models") / name, "cpu")
NASTY = ["--out=/tmp/x", "-n", "=", "; rm -rf /", "$(id)", "a\nb", "../../x", "hf:x/y", "é中"]


@pytest.mark.parametrize("text", NASTY)
def test_words_of_a_request_are_values(text: str) -> None:
    spec = {"model": "m", "n": 3, "seed": 1, "prompt": text, "label": text, "temperature": 0.5, "top_k": 4}
    asked = parse(plans.words("sample", spec, PLACES))
    assert (asked.verb, asked.out, asked.n, asked.device) == ("sample", "models/x", "3", "cpu")
    assert asked.prompt == text and asked.label == text and getattr(asked, "RUN|BUNDLE") == "models/m"


def test_the_command_of_each_kind() -> None:
    spec = {"word": "image/dcgan", "stem": "dcgan", "seed": 3, "budget": "5steps", "from": "old", "codec": "codes",
            "overrides": {"model.latent": 4, "train.best": True, "model.net.stages": [1, 2.5], "medium.kind": "image"},
            }  # fmt: skip
    asked = parse(plans.words("train", spec, PLACES))
    assert (asked.verb, asked.RECIPE, asked.data, asked.out) == ("train", "image/dcgan", "datasets/ab/zip", "models/x")
    assert (asked.seed, asked.budget, getattr(asked, "from")) == ("3", "5steps", "models/old")
    assert asked.overrides == [
        "model.latent=4", "train.best=true", "model.net.stages=[1, 2.5]", "medium.kind=image", "codec='models/codes'",
    ]  # fmt: skip
    compared = {"words": ["image/dcgan", "recipes/tiny.yaml"], "seeds": [0, 1], "n": 9, "budget": "1s", "overrides": {}}
    asked = parse(plans.words("compare", compared, PLACES))
    words = getattr(asked, "RECIPE|RUN")
    assert (words, asked.seeds, asked.n) == (["image/dcgan", "recipes/tiny.yaml"], "0,1", "9")
    asked = parse(plans.words("compare", {"models": ["a", "b"], "n": 9}, PLACES))
    words = getattr(asked, "RECIPE|RUN")
    assert (words, asked.data, asked.n, asked.budget) == (["models/a", "models/b"], "datasets/ab/zip", "9", None)
    asked = parse(plans.words("evaluate", {"model": "m", "judge": "j", "solver": "heun", "steps": 4}, PLACES))
    assert (asked.RUN, asked.judge, asked.solver, asked.steps) == ("models/m", "models/j", "heun", "4")
    asked = parse(plans.words("check", {"word": "image/dcgan"}, PLACES))
    assert (asked.check, asked.FOLDER, asked.recipe) == ("check", "datasets/ab/zip", "image/dcgan")


def test_names_of_models_are_names() -> None:
    assert plans.stem("image/dcgan", "My Cats! ../..") == "dcgan-my-cats"
    assert plans.stem("///", None) == "model" and len(plans.stem("a" * 99, "b" * 99)) <= 40
    assert plans.run_name("job-0123456789abcdef", {"stem": "x"}) == "x-89abcdef"


def test_a_recipe_is_found_by_its_name_and_by_no_path(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.yaml").write_text("# About.\ndata: {}\n")
    (tmp_path / "recipes" / ".hidden.yaml").write_text("")
    assert plans.find_recipe("tiny", tmp_path).word == "recipes/tiny.yaml"
    assert plans.find_recipe("dcgan", tmp_path) == plans.find_recipe("image/dcgan", tmp_path)
    for name in ("recipes/tiny.yaml", "../recipes/tiny", "image/../image/dcgan", "", ".hidden", "/etc/passwd"):
        with pytest.raises(MaquetteError, match="MQ-2006"):
            plans.find_recipe(name, tmp_path)


def test_lines_are_read_once_and_a_rewritten_log_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    files.append_line(path, {"step": 1})
    files.append_line(path, {"step": 2})
    assert [line["step"] for line in tail.read()] == [1, 2] and tail.read() == []
    with open(path, "a") as file:
        file.write('{"step": 3')
    assert tail.read() == []
    with open(path, "a") as file:
        file.write("}\nno JSON\n[1]\n")
    assert tail.read() == [{"step": 3}]
    files.write_file(path, b'{"step": 1}\n')
    files.append_line(path, {"step": 9})
    assert [line["step"] for line in tail.read()] == [1, 9]


def test_no_step_is_told_twice_after_a_resume(tmp_path: Path) -> None:
    def course(seen: dict[str, int]) -> Course:
        return Course({"": tmp_path}, seen)

    for step in (10, 20):
        files.append_line(tmp_path / "metrics.jsonl", {"step": step, "progress": step / 40, "model.loss": 1.0})
    files.append_line(tmp_path / "metrics.jsonl", {"step": 20, "validation": {"model.loss": 2.0}})
    first = course({})
    told = first.look()
    assert [(data["step"], data["part"]) for _, _, data in told] == [(20, "validation"), (20, "training")]
    assert (first.reached, first.seen) == (0.5, {"": 20})
    lines = [{"step": s, "progress": s / 40, "model.loss": 1.0} for s in (10, 20, 30)]  # as a resumed run leaves them
    files.write_file(tmp_path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    again = course(dict(first.seen))
    assert [data["step"] for _, _, data in again.look()] == [30] and again.reached == 0.75
    files.write_file(tmp_path / "samples" / "step-00000030.png", b"x")
    assert [(kind, data["artefact"]) for kind, _, data in again.look()] == [("sample", "step-00000030.png")]
    assert again.look() == []


def test_samples_are_counted_as_they_come(tmp_path: Path) -> None:
    course = Course({}, {}, made=(tmp_path / "made.jsonl", 4))
    assert course.look() == []
    for count in (1, 2):
        files.append_line(tmp_path / "made.jsonl", {"file": "x"})
        assert course.look() == [("metrics", f"{count} of 4 made", {"made": count, "of": 4})]
    assert course.reached == 0.5 and course.look() == []


def test_the_last_mistake_of_a_log_is_found(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    assert failure(path) == ("", "")
    path.write_text("step 1\nerror[MQ-2001]: first\nerror[MQ-5001]: could not write: full\n  --> x\n  do: y\n")
    assert failure(path) == ("MQ-5001", "could not write: full")


def test_what_a_job_has_made_is_a_table(tmp_path: Path) -> None:
    made: dict[str, Any] = {"number": 1, "id": "job-0123456789abcdef", "tenant": "", "spec": {}, "created": 0.0}
    job = Job(kind="compare", state="succeeded", result={"folder": "x"}, **made)
    folder = tmp_path / "jobs" / job.id / "results"
    files.write_file(folder / "dcgan-0" / "samples" / "step-00000001.png", b"x")
    for name in (
        "report.html",
        "report.json",
        "pictures/a.png",
        "dcgan-0/recipe.json",
        "dcgan-0/checkpoints/x",
        ".lock",
    ):
        files.write_file(folder / name, b"x")
    (folder / "link.png").symlink_to("/etc/passwd")
    found = artefacts(tmp_path, job)
    assert set(found) == {"report.html", "report.json", "a.png", "results.zip", "dcgan-0-step-00000001.png"}
    for id in ("dcgan-0", "../report.json", "recipe.json", "link.png"):
        with pytest.raises(MaquetteError, match="MQ-2180"):
            artefact(tmp_path, job, id)
    assert artefacts(tmp_path, Job(kind="sample", **made)) == {}
    assert log(tmp_path, job, 0) == ("", 0)
