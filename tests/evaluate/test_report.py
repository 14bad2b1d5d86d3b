"""A report survives being written, and what is not the report that was written is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from maquette.core.errors import MaquetteError
from maquette.evaluate.report import KINDS, Cost, Report, Score, Shot, Stamp, illustrated
from maquette.evaluate.scores.intervals import Estimate

STAMP = Stamp(
    extractor="domain",
    weights="ab" * 32,
    resize="none",
    data="cd" * 32,
    split="test",
    real=1000,
    made=1000,
    seed=0,
    software={"torch": "2.13.0"},
)
COST = Cost(parameters=1000, samples_per_second=50.0, sampling_seconds=20.0, peak_bytes=10**9, device="cpu")


def report(name: str = "first", seed: int = 0, stamp: Stamp = STAMP, cost: Cost = COST, **values: float) -> Report:
    """A report with these scores, each with an interval of +-1 % and a floor of 1."""
    scores = [
        Score.of(key, Estimate(v, v * 0.99, v * 1.01, "m"), replace(stamp, seed=seed), 1.0) for key, v in values.items()
    ]
    return Report(
        name=name, model_kind="any", model="ef" * 32, seed=seed, licence="MIT", cost=cost, scores=tuple(scores)
    )


PNG = b"\x89PNG\r\n\x1a\nrest"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    illustrated(report(fid=3.0, recall=0.5), [("samples", "Samples", "Some.", PNG)]).write(tmp_path)
    return tmp_path


def test_is_read_as_it_was_written(written: Path) -> None:
    again = Report.read(written)
    assert again == illustrated(report(fid=3.0, recall=0.5), [("samples", "Samples", "Some.", PNG)])
    assert again.images == {"samples": PNG}
    score = again.score("fid")
    assert score is not None and score.stamp == STAMP and again.score("kid") is None
    assert (score.title, score.better, score.floor) == (KINDS["fid"].title, "lower", 1.0)


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """A report with a picture that can be played, and one that stands still."""
    shots = [Shot("samples", "Samples", "Some.", PNG, (".wav", b"RIFF sound")), Shot("classes", "Classes", "", PNG)]
    illustrated(report(fid=3.0), shots).write(tmp_path)
    return tmp_path


def test_clips_are_written_beside_their_pictures_and_read_back(played: Path) -> None:
    assert sorted(path.name for path in (played / "pictures").iterdir()) == [
        "classes.png",
        "samples.png",
        "samples.wav",
    ]
    again = Report.read(played)
    assert again.clips == {"samples": b"RIFF sound"} and again.images == {"samples": PNG, "classes": PNG}
    assert [picture.clip is not None for picture in again.pictures] == [True, False]
    assert again.write(played) and Report.read(played) == again


def test_reports_without_clips_are_read_as_they_were_before_there_were_any(written: Path) -> None:
    def forget(tree) -> None:
        for picture in tree["pictures"]:
            del picture["clip"]

    spoil(written, forget)
    assert Report.read(written).clips == {}


def test_a_clip_that_is_another_or_no_clip_is_refused(played: Path) -> None:
    (played / "pictures/samples.wav").write_bytes(b"RIFF other")
    with pytest.raises(MaquetteError, match="samples.wav is not the one"):
        Report.read(played)
    for suffix in (".html", "/../../x", ""):
        spoil(played, lambda tree, suffix=suffix: tree["pictures"][0]["clip"].update(suffix=suffix))
        with pytest.raises(MaquetteError, match="MQ-8001"):
            Report.read(played)


def spoil(folder: Path, change) -> None:
    tree = json.loads((folder / "report.json").read_text())
    change(tree)
    (folder / "report.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda tree: tree.update(grade="A"), "MQ-2001"),
        (lambda tree: tree.update(format=99), "MQ-2002"),
        (lambda tree: tree["scores"][0].update(value=float("nan")), "MQ-2005"),
        (lambda tree: tree["scores"][0].update(better="bigger"), "MQ-2002"),
        (lambda tree: tree["scores"][0].pop("stamp"), "MQ-2004"),
        (lambda tree: tree["pictures"][0].update(name="../../etc/passwd"), "MQ-8001"),
        (lambda tree: tree["pictures"][0].update(sha256="0" * 64), "MQ-5003"),
    ],
)
def test_another_report_is_refused(written: Path, change, code: str) -> None:
    spoil(written, change)
    with pytest.raises(MaquetteError) as refused:
        Report.read(written)
    assert refused.value.code == code


def test_a_changed_or_missing_picture_is_found(written: Path) -> None:
    path = written / "pictures" / "samples.png"
    path.write_bytes(PNG + b"!")
    with pytest.raises(MaquetteError) as refused:
        Report.read(written)
    assert refused.value.code == "MQ-5003"
    path.unlink()
    with pytest.raises(MaquetteError):
        Report.read(written)


def test_stamps_are_alike_whatever_the_seed() -> None:
    assert STAMP.unlike(replace(STAMP, seed=7)) == []
    assert STAMP.unlike(replace(STAMP, made=5, weights="", seed=7)) == ["weights", "made"]
