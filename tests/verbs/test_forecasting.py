"""Forecasts by the verbs: a past is brought, futures, their summary and their fan come out, and are scored."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.data import seasons
from maquette.evaluate.forecasts import FUTURES, MOST
from maquette.evaluate.report import Report
from maquette.train.run import Run
from maquette.verbs.sample import sample
from maquette.verbs.train import train

RECIPE = """\
# A tiny model of series.
# Seconds on 2 cores.
data:
  source: seasons
medium: {kind: series, length: 32, horizon: 8, season: 8, levels: 64, stride: 31}
codec: interleave
model: {kind: lstm, width: 32}
train:
  budget: 60steps
  batch: 32
  samples: 4
  sample_every: 1
  validate_every: 1
  checkpoint_every: 1
  optimizers:
    model: {name: muon, lr: 2e-2, betas: [0.9, 0.95]}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("series")
    (folder / "tiny.yaml").write_text(RECIPE)
    return train(str(folder / "tiny.yaml"), out=folder / "run", quiet=True)


@pytest.fixture(scope="module")
def past(run: Run) -> Path:
    path = run.path.parent / "past.csv"
    values = seasons.draw(np.random.default_rng(99))[:100]
    path.write_text("date,load\n" + "".join(f"2024-01-01T{i:06},{value:.6g}\n" for i, value in enumerate(values)))
    return path


def table(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines() if line[0] != "#"]


def test_futures_of_a_past_come_with_their_summary(run: Run, past: Path, tmp_path) -> None:
    assert main(["sample", str(run.path), "--image", str(past), "-n", "7", "--out", str(tmp_path)]) == 0
    known = [float(cells[1]) for cells in table(past)[1:]][-24:]
    futures = []
    for number in range(7):
        values = [float(cell) for (cell,) in table(tmp_path / f"{number:06}.csv")]
        assert np.allclose(values[:24], known, rtol=1e-6), "each begins with the past, in its units"
        futures.append(values[24:])
    told = np.array(table(tmp_path / "forecast.csv")[1:], float)
    assert told.shape == (8, 8) and np.allclose(told[:, 1], np.median(futures, 0), rtol=1e-5)
    assert (told[:, 6] <= told[:, 4]).all() and (told[:, 4] <= told[:, 2]).all() and (told[:, 3] <= told[:, 7]).all()
    for name in ("forecast.csv", "000000.csv"):
        assert '"AIGC"' in (tmp_path / name).read_text().splitlines()[0]
    with Image.open(tmp_path / "forecast.png") as fan:
        assert fan.format == "PNG" and "AIGC" in str(fan.info)


def test_a_past_may_be_an_array_and_a_hundred_futures_are_usual(run: Run, past: Path, tmp_path) -> None:
    rows = np.array([[float(cells[1])] for cells in table(past)[1:]], np.float32)
    made = sample(run.path, image=rows, grid=tmp_path / "fan.png")
    assert made.items.shape == (100, 32, 1) and made.paths == [tmp_path / "fan.png"]
    assert np.array_equal(made.items[:3], sample(run.path, image=str(past), n=3).items)
    with pytest.raises(MaquetteError, match="MQ-2002"):
        sample(run.path, image=[past, past])
    with pytest.raises(MaquetteError, match="MQ-3001"):
        sample(run.path, image=rows[:10])


def test_forecasts_are_scored_beside_simpler_ways(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run.path), "-n", "8", "--quiet"]) == 0
    report = Report.read(run.path)
    assert {score.name for score in report.scores} >= {"crps", "mase", "pinball", "interval_80", "interval_95"}
    for name in ("crps", "mase"):
        score = report.score(name)
        assert score is not None and set(score.baselines) == {"AR", "seasonal naive", "naive", "drift"}
        assert (
            score.low is not None
            and score.low < score.value
            and (score.stamp.real, score.stamp.made) == (8, 8 * FUTURES)
        )
        assert score.baselines["AR"].value < score.baselines["naive"].value
    shares = [report.score(name) for name in ("interval_80", "interval_95")]
    assert [share.floor for share in shares if share] == [0.8, 0.95]
    assert [picture.name for picture in report.pictures] == ["forecasts"]
    assert "seasonal naive" in capsys.readouterr().err and MOST >= 8
    page = (run.path / "report.html").read_text()
    assert "CRPS" in page and "重复上一季节" in page


@pytest.mark.slow
def test_a_learnt_autoregressive_process_is_foretold_by_its_law(tmp_path: Path) -> None:
    """Given x_T, step h of AR(1) is normal of variance (1 - phi^(2 h)) / (1 - phi^2): a CRPS of sigma / sqrt(pi)."""
    rng, phi, x = np.random.default_rng(0), 0.8, [0.0]
    for error in rng.normal(size=40_000):
        x.append(phi * x[-1] + error)
    (tmp_path / "process.csv").write_text("".join(f"{value:.6g}\n" for value in x))
    (tmp_path / "process.yaml").write_text(RECIPE)
    shape = ["medium.length=24", "medium.horizon=6", "medium.season=0", "medium.stride=1", "medium.scale=data"]
    size = ["medium.levels=128", "model.width=64", "train.budget=1500steps", "train.batch=64", "train.ema=0.99"]
    rate = ["train.optimizers.model.schedule=linear"]
    recipe, data = str(tmp_path / "process.yaml"), str(tmp_path / "process.csv")
    learnt = train(recipe, data, out=tmp_path / "run", overrides=[*shape, *size, *rate], quiet=True)
    assert main(["evaluate", str(learnt.path), "--quiet"]) == 0
    steps = np.arange(1, 7)
    law = np.sqrt((1 - phi ** (2 * steps)) / (1 - phi**2) / np.pi).mean()
    report, unit = Report.read(learnt.path), np.abs(np.diff(x)).mean()
    found = {score.name: score for score in report.scores}
    # a window's own unit varies: held against the autoregressive way, and roughly against the law itself
    assert found["crps"].value == pytest.approx(found["crps"].baselines["AR"].value, rel=0.04)
    assert found["crps"].value == pytest.approx(law / unit, rel=0.2)
    assert found["interval_80"].value == pytest.approx(0.8, abs=0.05)
    assert found["interval_95"].value == pytest.approx(0.95, abs=0.04)


def test_too_few_unseen_windows_are_refused(run: Run, past: Path) -> None:
    with pytest.raises(MaquetteError, match="MQ-2083"):
        from maquette.verbs.evaluate import evaluate

        evaluate(run.path, data=str(past), quiet=True)
