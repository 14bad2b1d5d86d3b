"""A model that starts from pictures, all the way: trained, resumed, asked, scored, compared."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.data import cells
from maquette.data.dataset import TEST, TRAIN
from maquette.evaluate import domain
from maquette.evaluate.report import Report
from maquette.train.run import Run
from maquette.verbs.evaluate import evaluate
from maquette.verbs.train import resume, train

RECIPE = """\
# Digits enlarged twice.
# Seconds on 2 cores.
data:
  source: digits
  conditional: true
  given: {kind: shrink, factor: 2}
medium: {kind: image, size: 8}
model:
  kind: gan
  generator: {kind: mlp, width: 32, depth: 2}
  critic: {kind: convnet, norm: group, width: 8}
  latent: 4
  patches: 4
  l1: 100
train: {budget: 30steps, batch: 32, samples: 5, sample_every: 1, validate_every: 1, checkpoint_every: 0.5, device: cpu}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "enlarge.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(str(recipe), out=tmp_path_factory.mktemp("runs") / "enlarge", quiet=True)


def test_a_run_keeps_what_was_given(run: Run) -> None:
    config = json.loads((run.bundle / "config.json").read_text())
    assert config["along"]["craft"] == {"kind": "shrink", "factor": 2}
    with Image.open(max(run.samples.glob("step-*.png"))) as sheet:
        assert sheet.width > sheet.height, "given, made and real stand side by side, three rows in a line"
    losses = [line["generator.l1"] for line in run.metrics() if "generator.l1" in line]
    assert losses and all(np.isfinite(losses))


def test_it_is_resumed_and_asked(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    longer = resume(run.path, budget="34steps", quiet=True)
    assert longer.metrics()[-1]["step"] == 34
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    words = ["sample", str(run.path), "--image", str(tmp_path / "small.png"), "--label", "3", "--device", "cpu"]
    assert main([*words, "-n", "2", "--out", str(tmp_path / "large")]) == 0
    made = [np.asarray(Image.open(path)) for path in map(Path, capsys.readouterr().out.split())]
    assert [item.shape for item in made] == [(8, 8)] * 2 and (made[0] != made[1]).any()


def test_it_is_scored_beside_simpler_ways(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "PASSES", 512)
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path / "cache"))
    shown = evaluate(run.path, n=60, out=tmp_path / "report", quiet=True, device="cpu")
    (report,) = shown.reports
    psnr = report.score("answer_psnr")
    assert psnr is not None and set(psnr.baselines) == {"nearest", "bicubic"}
    assert "PSNR" in shown.table and "bicubic" in shown.table
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Answer PSNR" in page and "双三次插值" in page
    assert (tmp_path / "report" / "pictures" / "answers.png").exists()
    assert not (tmp_path / "report" / "pictures" / "saliency.png").exists(), "its critic sees the given picture too"


def test_recipes_that_are_given_different_pictures_are_not_compared(recipe: Path, tmp_path: Path) -> None:
    other = tmp_path / "more.yaml"
    other.write_text(RECIPE.replace("kind: shrink, factor: 2", "kind: noise"))
    from maquette.verbs.compare import compare

    with pytest.raises(MaquetteError, match=r"data\.given"):
        compare([str(recipe), str(other)], out=tmp_path / "comparison", quiet=True)


def test_what_a_model_cannot_be_given_is_told_before_training(recipe: Path, tmp_path: Path) -> None:
    for words, code in (
        (["model=vae"], "MQ-2136"),
        (["data.given=null"], "MQ-2009"),  # the distance has nothing to belong to
        (["data.given=grey"], "MQ-2009"),
        (["data.other=digits"], "MQ-2139"),
    ):
        with pytest.raises(MaquetteError) as refused:
            train(str(recipe), overrides=words, out=tmp_path / "run", quiet=True)
        assert refused.value.code == code
    assert not (tmp_path / "run").exists()


def test_cells_drawn_from_masks_teach_a_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(domain, "PASSES", domain.BATCH)
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path / "cache"))
    for split, copies in ((TRAIN, 40), (TEST, 20)):
        monkeypatch.setitem(cells.COPIES, split, copies)
    words = ["medium.size=16", "model.net.width=8", "model.net.stages=[1, 2]", "model.net.blocks=[1, 1]"]
    words += ["model.steps=2", "train.batch=16", "train.samples=3", "train.precision=fp32", "train.device=cpu"]
    words += ["train.sample_every=1", "train.validate_every=1", "train.checkpoint_every=1"]
    run = train("cells", budget="4steps", out=tmp_path / "run", overrides=words, quiet=True)
    told = ["evaluate", str(run.path), "-n", "60", "--taught", "--device", "cpu", "--out", str(tmp_path / "report")]
    assert main(told) == 0
    assert "drawing 120 samples to teach a classifier by" in capsys.readouterr().err
    (score,) = (score for score in Report.read(tmp_path / "report").scores if score.name == "taught_accuracy")
    assert (score.stamp.made, score.stamp.real) == (120, 60) and 0 <= score.value <= 1
    assert set(score.baselines) == {"real alone", "real and made"}
    assert "--taught" in (tmp_path / "report" / "report.html").read_text()
