"""Federated averaging through files: rounds of `train --from` and `average`, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import maquette
from maquette.bundle import read_bundle, save_bundle
from maquette.cli.main import main
from maquette.core.errors import MaquetteError

RECIPE = """\
data: {source: nowhere}
medium: {kind: image, size: 8}
codec: quantise
model: {kind: gpt, net: {kind: transformer, width: 16, depth: 1, heads: 2}}
train: {budget: 1steps, samples: 1, ema: 0, sample_every: 1, validate_every: 1, checkpoint_every: 1, device: cpu}
"""
PLAIN = ["train.optimizers.model.name=sgd", "train.optimizers.model.betas=[0, 0]", "train.optimizers.model.lr=0.5"]
"""Gradient descent that remembers nothing from one step to the next."""
BATCH_NORM = ["codec=''", "model={kind: gan, latent: 4, generator: {kind: convnet, width: 8}, critic: {kind: mlp}}"]


def pictures(folder: Path, seed: int, n: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, x in enumerate(np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)):
        Image.fromarray(x).save(folder / f"{seed}-{i}.png")
    return folder


def items(run: Path) -> int:
    return read_bundle(run / "bundle").card["items"]


def weights(model: Path) -> dict[str, torch.Tensor]:
    bundle = model / "bundle"
    return read_bundle(bundle if bundle.is_dir() else model).weights


def same(one: Path, other: Path) -> bool:
    return all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


class Place:
    """Data of two clients and of both, and a run that all begin from."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.recipe = folder / "tiny.yaml"
        self.recipe.write_text(RECIPE)
        for name, seeds in {"north": [(1, 16)], "south": [(4, 8)], "all": [(1, 16), (4, 8)]}.items():
            for seed, n in seeds:
                pictures(folder / name, seed, n)
        self.origin = self.train("all", "origin", "train.batch=1")
        runs = [self.train(name, f"count-{name}", "train.batch=1") for name in ("north", "south", "all")]
        self.items: dict[str, int] = dict(zip(("north", "south", "all"), map(items, runs), strict=True))

    def train(self, data: str, out: str, *words: str, begin: Path | None = None, steps: int = 1) -> Path:
        told = [str(self.recipe), str(self.folder / data), f"{steps}steps", self.folder / out]
        return maquette.train(*told, list(words), quiet=True, begin=begin).path  # type: ignore[arg-type]

    def whole(self, data: str, out: str, begin: Path, *words: str, steps: int = 1) -> Path:
        """Steps that each take all of the data at once."""
        return self.train(data, out, f"train.batch={self.items[data]}", *(words or PLAIN), begin=begin, steps=steps)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("federated"))


def test_a_round_of_one_full_step_is_a_full_step_on_all_data(place: Place) -> None:
    """n_k are the training items of each, as their cards say."""
    clients = [place.whole(name, f"round-{name}", place.origin) for name in ("north", "south")]
    assert sum(map(items, clients)) == place.items["all"] and items(clients[0]) != items(clients[1])
    mean = maquette.average(clients, place.folder / "round")
    central = place.whole("all", "central", place.origin)
    torch.testing.assert_close(weights(mean), weights(central))
    assert not same(mean, place.origin)
    card = read_bundle(mean).card
    assert card["items"] == place.items["all"] and card["name"] == "round"
    hashes = [read_bundle(run / "bundle").digest for run in clients]
    assert card["averaged"] == [f"{items(run)} x {digest}" for run, digest in zip(clients, hashes, strict=True)]
    again = maquette.average([mean, clients[1]], place.folder / "nested")
    assert read_bundle(again).card["items"] == place.items["all"] + items(clients[1]), "averages can be averaged"


def test_the_average_of_one_is_that_model_to_the_bit(place: Place) -> None:
    run = place.whole("north", "alone", place.origin)
    mean = maquette.average([run], place.folder / "of-one")
    assert same(mean, run)
    on = [place.whole("north", f"on-{i}", begin) for i, begin in enumerate((run, mean))]
    assert same(*on), "and goes on as that model does"


@pytest.mark.parametrize(("words", "held"), [(PLAIN, True), (["train.optimizers.model.lr=0.01"], False)])
def test_rounds_of_one_client_are_central_training_where_the_optimiser_has_no_memory(
    words: list[str], held: bool, place: Place
) -> None:
    """Two rounds of one step against two steps: to rounding, the rows being summed in another order; AdamW's moments
    begin anew in each round."""
    kind = "plain" if held else "adamw"
    first = maquette.average([place.whole("north", f"{kind}-1", place.origin, *words)], place.folder / f"{kind}-mean")
    second = place.whole("north", f"{kind}-2", first, *words)
    central = place.whole("north", f"{kind}-central", place.origin, *words, steps=2)
    apart = max((value - weights(central)[name]).abs().max().item() for name, value in weights(second).items())
    assert (apart < 1e-5) == held


def test_running_statistics_are_averaged_and_batches_counted(place: Place) -> None:
    origin = place.train("all", "gan", *BATCH_NORM, "train.batch=4")
    clients = [place.train("all", f"gan-{n}", "train.batch=4", begin=origin, steps=n) for n in (1, 3)]
    mean, (one, other) = weights(maquette.average(clients, place.folder / "gan-mean", [3, 1])), map(weights, clients)
    (counter, *_) = [name for name, value in mean.items() if not value.is_floating_point()]
    assert mean[counter] == max(one[counter], other[counter]) and one[counter] != other[counter]
    (running, *_) = [name for name in mean if name.endswith("running_var")]
    torch.testing.assert_close(mean[running], 0.75 * one[running] + 0.25 * other[running])


def test_from_the_command_line(place: Place, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(place.folder)
    assert main(["average", "count-north", "count-south", "--weights", "1,0.5"]) == 0
    made = Path(capsys.readouterr().out.strip())
    assert made == Path("bundles/average") and read_bundle(made).card["items"] == 1.5
    assert main(["sample", str(made), "-n", "1", "--out", "drawn"]) == 0
    assert main(["average", "count-north", "count-south", "--out", "bundles/average"]) == 5, "it is there"
    assert main(["average", "count-north", "--weights", "many", "--out", "bundles/none"]) == 2


# -- what is refused --------------------------------------------------------------------------------------------------


def refused(models: list[Path], out: Path, **how: Any) -> MaquetteError:
    with pytest.raises(MaquetteError) as caught:
        maquette.average(models, out, **how)
    assert not out.exists()
    return caught.value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.net.width=8"], "model.net"),
        (["medium.size=16"], "medium.size"),
        (["codec=interleave"], "codec"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_models_that_differ_are_refused(words: list[str], said: str, place: Place, tmp_path: Path) -> None:
    other = place.train("all", f"other-{said}", "train.batch=1", *words)
    error = refused([place.origin, other], tmp_path / "mean")
    assert error.code == "MQ-7042" and said in str(error) and other.name in str(error)


def test_other_labels_are_refused(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "labelled"
    for label in ("cat", "dog"):
        pictures(folder / label, 5, 8)
    words = ["data.conditional=true", "train.batch=1"]
    run = maquette.train(str(place.recipe), str(folder), "1steps", tmp_path / "run", words, quiet=True).path
    bundle = read_bundle(run / "bundle")
    parts = bundle.medium_config, bundle.model_config, ["cat", "cow"], bundle.weights, bundle.card, bundle.coding
    save_bundle(tmp_path / "renamed", *parts)
    assert refused([run, tmp_path / "renamed"], tmp_path / "mean").values["differing"] == "labels"


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -2], [1, float("inf")], [1, 10**400], [1, True]], ids=str)
def test_weights_are_positive_numbers_one_for_each(weights: list[Any], place: Place, tmp_path: Path) -> None:
    assert refused([place.origin, place.origin], tmp_path / "mean", weights=weights).code == "MQ-2002"


def test_a_card_without_items_needs_weights(place: Place, tmp_path: Path) -> None:
    bundle = read_bundle(place.origin / "bundle")
    parts = bundle.medium_config, bundle.model_config, bundle.classes, bundle.weights, {"items": "many"}, bundle.coding
    save_bundle(tmp_path / "silent", *parts)
    error = refused([place.origin, tmp_path / "silent"], tmp_path / "mean")
    assert error.code == "MQ-2118" and "--weights" in str(error)
    maquette.average([place.origin, tmp_path / "silent"], tmp_path / "mean", [1, 1])


def test_a_bundle_that_was_changed_or_is_a_pickle_is_refused(place: Place, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(place.origin / "bundle", tmp_path / "changed"))
    tree = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(tree | {"classes": ["x"]}))
    assert refused([place.origin, changed], tmp_path / "mean").code == "MQ-5003"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"model_type": "gpt2"}')
    (foreign / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert refused([place.origin, foreign], tmp_path / "mean").code == "MQ-7030"
