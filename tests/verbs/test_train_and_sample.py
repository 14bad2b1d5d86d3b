"""train, resume and sample through the command line and through Python: what they make, what they refuse."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maquette
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.media.marks import read_mark
from maquette.train.run import Run
from maquette.verbs.sample import sample
from maquette.verbs.train import free_folder, resume, train
from tests.data.making import write


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_train_through_the_command_prints_the_run(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["train", str(recipe), "--out", str(out), "--budget", "3steps", "--seed", "5", "--quiet", "train.batch=8"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{out}\n"
    read = Run.open(out).recipe
    assert (read.train.budget, read.train.seed, read.train.batch) == ("3steps", 5, 8)
    assert main(words) == 5  # there is a run here already
    assert "MQ-5010" in capsys.readouterr().err


def test_resume_with_a_larger_budget(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    resume(tmp_path / "run", budget="45steps", quiet=True)
    assert Run.open(tmp_path / "run").metrics()[-1]["step"] == 45


def test_runs_are_numbered_when_no_folder_is_named(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "tiny-2"):
        assert train(str(recipe), budget="2steps", quiet=True).path == Path("runs") / name
    assert free_folder(tmp_path, "runs") == tmp_path / "runs-2"


def test_the_package_and_the_verb_share_a_name(recipe: Path, tmp_path: Path) -> None:
    run = maquette.train(str(recipe), budget="2steps", out=tmp_path / "run", quiet=True)
    assert isinstance(run, Run) and maquette.train.recipe.Recipe is not None  # type: ignore[attr-defined]


def test_a_run_of_before_there_was_a_choice_keeps_its_split(recipe: Path, tmp_path: Path) -> None:
    """Then what was held out was chosen by what the medium had made of a file; such a run goes on to the same bits."""
    data = write(tmp_path / "data", *(f"{'ab'[n % 2]}/{n}.png" for n in range(60)))
    words = [f"data.source={data}", "train.batch=8", "data.split=item"]
    whole, old = (
        train(str(recipe), budget="4steps", out=tmp_path / name, overrides=words, quiet=True) for name in "ab"
    )
    tree = json.loads((old.path / "recipe.json").read_text())
    del tree["recipe"]["data"]["split"], tree["facts"]["identity"]["data.split"]
    (old.path / "recipe.json").write_text(json.dumps(tree))
    for run in (whole, old):
        resume(run.path, budget="8steps", quiet=True)
    weights = "checkpoints/step-00000008/model.safetensors"
    assert (whole.path / weights).read_bytes() == (old.path / weights).read_bytes()
    assert Run.open(old.path).recipe.data.split == "item"
    new = train(str(recipe), budget="2steps", out=tmp_path / "new", overrides=words[:2], quiet=True)
    assert new.recipe.data.split == "content"
    assert new.facts["card"]["fingerprint"] != old.facts["card"]["fingerprint"], "else nothing is shown here"


# -- sample -----------------------------------------------------------------------------------------------------------


def test_samples_are_files_with_marks(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    assert main(["sample", str(run.path), "-n", "3", "--seed", "7", "--label", "4", "--out", str(out)]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert paths == [out / f"{seed:06d}.png" for seed in (7, 8, 9)]
    digest = maquette.load(run.path).digest
    for seed, path in zip((7, 8, 9), paths, strict=True):
        mark = read_mark(path.read_bytes())
        assert mark is not None and mark["Label"] == "1" and mark["ProduceID"] == f"{digest[:16]}-{seed}"
    lines = [json.loads(line) for line in (out / "made.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [path.name for path in paths]


def test_the_same_request_gives_the_same_bytes_and_python_the_same_items(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["sample", str(run.path), "-n", "2", "--out", str(tmp_path / name)]) == 0
    for name in ("000000.png", "000001.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    items = maquette.sample(run.path, n=2).items
    assert np.array_equal(pixels(tmp_path / "a" / "000001.png"), items[1, :, :, 0])


def test_a_grid_is_one_marked_sheet(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = tmp_path / "sheet.png"
    assert main(["sample", str(run.path), "-n", "20", "--label", "each", "--grid", str(grid)]) == 0
    assert capsys.readouterr().out == f"{grid}\n"
    assert read_mark(grid.read_bytes()) is not None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made.jsonl", "sheet.png"]
    with Image.open(grid) as sheet:
        width, height = sheet.size
    assert width > 4 * height  # ten columns, one a class, and two rows


def test_interpolation_names_its_steps(run: Run, tmp_path: Path) -> None:
    made = sample(run.path, out=tmp_path, n=2, seed=3, between=2, label="1")
    assert [path.stem for path in made.paths] == ["000003-000", "000003-001", "000004-000"]


def test_a_visible_note_changes_the_picture(run: Run, tmp_path: Path) -> None:
    plain, noted = (sample(run.path, out=tmp_path / text, n=1, visible=text).paths[0] for text in ("", "AI"))
    assert (pixels(plain) != pixels(noted)).any()


def test_the_filter_hook_keeps_everything_in(run: Run, tmp_path: Path) -> None:
    with pytest.raises(MaquetteError, match="MQ-8002"):
        sample(run.path, out=tmp_path / "made", n=3, allow=lambda item: False)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-n", "0"], "MQ-2002"),
        (["-n", "-3"], "MQ-2002"),
        (["-n", "1000000000"], "MQ-2002"),
        (["-n", "many"], "MQ-2002"),
        (["-n", "2.5"], "MQ-2002"),
        (["--seed", "-1"], "MQ-2002"),
        (["--guidance", "nan"], "MQ-2002"),
        (["--guidance", "1e9"], "MQ-2002"),
        (["--temperature", "0"], "MQ-2002"),
        (["--steps", "many"], "MQ-2002"),
        (["--solver", "heun"], "MQ-2104"),
        (["--label", "seven"], "MQ-2101"),
        (["--label", "1,2,x"], "MQ-2101"),
        (["--image", "none.png"], "MQ-3001"),
        (["--factor", "2"], "MQ-2105"),
        (["--blur", "2"], "MQ-2105"),
        (["--colour"], "MQ-2105"),
        (["--strength", "0.5"], "MQ-2105"),
        (["--strength", "0"], "MQ-2002"),
        (["--guidance-interval", "0.1,2"], "MQ-2105"),
        (["--guidance", "2", "--guidance-interval", "0.1"], "MQ-2002"),
        (["--guidance", "2", "--guidance-interval", "0.1,2"], "MQ-2104"),
        (["--grid", "sheet.jpg"], "MQ-2002"),
        (["--device", "abacus"], "MQ-2009"),
        (["--image", "none.png", "--mask", "none.png"], "MQ-3001"),
    ],
)
def test_what_cannot_be_asked_writes_nothing(
    words: list[str], code: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code = main(["sample", str(run.path), "--out", str(tmp_path / "made"), *words])
    said = capsys.readouterr()
    assert exit_code == int(code[3]) and code in said.err
    assert said.out == "" and len(said.err.splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_is_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = "model.safetensors"
    spoil = {
        "cut": lambda b: (b / weights).write_bytes((b / weights).read_bytes()[:-9]),
        "changed": lambda b: (b / weights).write_bytes(re.sub(b"F32", b"F64", (b / weights).read_bytes(), count=1)),
        "without manifest": lambda b: (b / "MANIFEST.json").unlink(),
        "other config": lambda b: (b / "config.json").write_text("{}"),
    }
    for name, harm in spoil.items():
        shutil.copytree(run.bundle, tmp_path / name)
        harm(tmp_path / name)
        assert main(["sample", str(tmp_path / name), "--out", str(tmp_path / "made")]) in (5, 7, 8)
        assert "error[MQ-" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_env_prints_versions_and_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MAQUETTE_LANG", "en")
    assert main(["env"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert {"maquette", "python", "torch", "device", "MAQUETTE_LANG"} <= lines.keys()
    assert "GFLOP/s" in lines["matmul"]


def test_the_real_command_stops_at_a_signal_and_goes_on(recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maquette"]
    words = ["train", str(recipe), "--out", "run", "--budget", "1h", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(Path(maquette.__file__).parents[1])}
    with subprocess.Popen(
        [*command, *words], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, b"") and b"Traceback" not in err
    reached = Run.open(tmp_path / "run").metrics()[-1]["step"]
    assert main(["resume", str(tmp_path / "run"), "--budget", f"{reached + 5}steps", "--quiet"]) == 0
    assert Run.open(tmp_path / "run").metrics()[-1]["step"] == reached + 5
