"""What only models that remove noise are asked, as commands: to draw anew, to be guided at some levels, the flow."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import maquette
from maquette.cli.main import main
from maquette.evaluate import domain
from maquette.evaluate.report import Report
from maquette.solvers.tasks import blur

TINY = ["medium.size=8", "model.net.patch=2", "model.net.width=16", "model.net.depth=1", "model.net.heads=2"]


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("denoiser") / "run"
    settings = [*TINY, "data.conditional=true", "train.batch=8", "train.samples=4"]
    return maquette.train("dit", data="digits", budget="2steps", out=out, overrides=settings, quiet=True).path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.mark.parametrize(("way", "spread"), [(["--strength", "0.1"], 0.0), (["--blur", "1.5"], 1.5)])
def test_a_picture_is_begun_from(way: list[str], spread: float, denoiser: Path, picture: Path, tmp_path: Path) -> None:
    """What is drawn is near to it, under the blur where there is one: what that took away this model has not learnt."""
    words = ["sample", str(denoiser), "-n", "2", "--image", str(picture), *way, "--out", str(tmp_path / "made")]
    assert main(words) == 0
    known = np.asarray(Image.open(picture)).astype(float)
    for seed in range(2):
        made = np.asarray(Image.open(tmp_path / "made" / f"{seed:06d}.png")).astype(float)
        assert made.shape == known.shape
        seen = blur(torch.from_numpy(made)[None, None], spread)[0, 0].numpy()
        assert np.corrcoef(seen.ravel(), known.ravel())[0, 1] > 0.8


def test_guidance_is_confined_to_levels(denoiser: Path, tmp_path: Path) -> None:
    words = ["sample", str(denoiser), "-n", "1", "--label", "3", "--guidance", "4", "--guidance-interval", "0.2,5"]
    assert main([*words, "--out", str(tmp_path / "made")]) == 0
    assert (tmp_path / "made" / "000000.png").exists()


def test_a_report_with_the_flow(denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "PASSES", 640)
    assert main(["evaluate", str(denoiser), "-n", "60", "--exact", "--out", str(tmp_path)]) == 0
    report = Report.read(tmp_path)
    flow, most = report.score("flow_likelihood"), report.score("likelihood")
    assert flow is not None and most is not None and flow.bound and flow.unit == most.unit
    assert np.isfinite(flow.value) and "--exact" in (tmp_path / "report.html").read_text()


def test_a_report_of_another_way_of_drawing(denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "PASSES", 640)
    words = ["evaluate", str(denoiser), "-n", "60", "--steps", "3", "--solver", "euler", "--guidance", "2", "--quiet"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    (note,) = [note for note in Report.read(tmp_path).notes if note.startswith("Drawn with")]
    assert "guidance 2" in note and "steps 3" in note and "solver euler" in note
    assert "--guidance 2 --steps 3 --solver euler" in (tmp_path / "report.html").read_text()


def test_a_way_that_cannot_be_is_refused(denoiser: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for asked, said in (
        (["--steps", "-1"], "steps"),
        (["--solver", "magic"], "magic"),
        (["--guidance", "-1"], "guidance"),
    ):
        assert main(["evaluate", str(denoiser), "-n", "60", *asked]) == 2
        assert said in capsys.readouterr().err
