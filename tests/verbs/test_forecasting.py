"""Forecasts by the verbs: a past is brought, futures, their summary and their fan come out, and are scored."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.data import seasons
from maquette.data.source import open_data
from maquette.evaluate.forecasts import FUTURES, MOST, NOMINAL, foretell, scored
from maquette.evaluate.report import Report
from maquette.pipeline import load
from maquette.request import Request
from maquette.train.run import Run
from maquette.verbs.compare import compare
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


def test_who_is_given_the_past_meets_who_goes_on_from_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "goes-on.yaml").write_text(RECIPE)
    begin, _, end = RECIPE.partition("codec: interleave\nmodel: {kind: lstm, width: 32}\n")
    net = "{kind: dit, patch: 4, width: 16, depth: 1, heads: 2}"
    begin = begin.replace("source: seasons", "source: seasons\n  given: {kind: gap, place: end, share: [0.25, 0.25]}")
    (tmp_path / "given.yaml").write_text(
        f"{begin}model: {{kind: diffusion, net: {net}, data_std: 0.25, steps: 4}}\n{end}"
    )
    recipes = [str(tmp_path / f"{name}.yaml") for name in ("goes-on", "given")]
    made = compare(recipes, budget="2steps", n=5, out=tmp_path / "out", quiet=True)
    one, other = made.reports
    scores = [(a, b) for a in one.scores for b in other.scores if a.name == b.name]
    assert len(scores) == 5 and not any(a.stamp.unlike(b.stamp) for a, b in scores)
    assert [a.baselines for a, _ in scores] == [b.baselines for _, b in scores]
    assert one.score("likelihood") and not other.score("likelihood"), (
        "of a past that is given it would be another figure"
    )
    assert "comes first (by CRPS" in made.table


@pytest.mark.slow
def test_a_learnt_autoregressive_process_is_foretold_by_its_law(tmp_path: Path) -> None:
    """Held against draws of the law that made it: x_(T + h) = phi x_(T + h - 1) + a standard normal error."""
    rng, phi, x = np.random.default_rng(0), 0.8, [0.0]
    for error in rng.normal(size=40_000):
        x.append(phi * x[-1] + error)
    (tmp_path / "process.csv").write_text("".join(f"{value:.6g}\n" for value in x))
    (tmp_path / "process.yaml").write_text(RECIPE)
    shape = ["medium.length=24", "medium.horizon=6", "medium.season=0", "medium.stride=1", "medium.scale=data"]
    size = ["medium.levels=128", "model.width=64", "train.budget=1500steps", "train.batch=64", "train.ema=0.99"]
    changes = [*shape, *size, "train.optimizers.model.schedule=linear"]
    recipe, data = str(tmp_path / "process.yaml"), str(tmp_path / "process.csv")
    learnt = train(recipe, data, out=tmp_path / "run", overrides=changes, quiet=True)
    pipeline = load(learnt.path, "cpu")
    told = foretell(pipeline, open_data(learnt.recipe.data, pipeline.medium), MOST, Request())
    path = [np.repeat(told.known[:, None, -1:], FUTURES, 1)]
    for _ in range(6):
        path.append(phi * path[-1] + rng.normal(size=path[-1].shape))
    law, own = scored(np.concatenate(path[1:], 2), told.truth), scored(told.ways[""], told.truth)
    assert own["crps"].value == pytest.approx(law["crps"].value, rel=0.03)
    assert own["crps"].value < scored(told.ways["AR"], told.truth)["crps"].value
    for name, share in NOMINAL.items():
        assert own[name].value == pytest.approx(share, abs=0.06), "steps of one window err together"


def test_too_few_unseen_windows_are_refused(run: Run, past: Path) -> None:
    with pytest.raises(MaquetteError, match="MQ-2083"):
        from maquette.verbs.evaluate import evaluate

        evaluate(run.path, data=str(past), quiet=True)
