"""Models behind codecs: trained, resumed to the bit, packed whole, decoded, and refused where they do not fit."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maquette.bundle import read_bundle
from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.core.types import Real, Sampling, Tokens
from maquette.data.source import Data, open_data
from maquette.evaluate import domain
from maquette.evaluate.evaluate import evaluate
from maquette.media.image import Config as Image
from maquette.pipeline import Request, load
from maquette.train.begin import begin
from maquette.train.coding import find, fitted, keep, kept
from maquette.train.recipe import Recipe
from maquette.train.session import prepare, resume, start

NET = {"kind": "resnet", "width": 8, "widest": 16}
SEQUENCE = {"kind": "transformer", "width": 16, "depth": 1, "heads": 2}
VQ = {"kind": "vqvae", "encoder": NET, "decoder": NET, "entries": 16, "width": 4}
GRID = {"kind": "vae", "encoder": NET, "decoder": NET, "latent": 3, "factor": 4}
GPT = {"kind": "gpt", "net": SEQUENCE}
MASKS = {"kind": "maskgit", "net": SEQUENCE, "steps": 3}
NOISE = {"kind": "diffusion", "net": {"kind": "mlp", "width": 16, "depth": 1}, "data_std": 1.0, "steps": 2}


def recipe(model: dict[str, Any], codec: Path | str = "", size: int = 8, **data: Any) -> Recipe:
    training = {"budget": "4steps", "batch": 8, "checkpoint_every": 0.5, "samples": 4, "device": "cpu"}
    tree = {"data": {"source": "digits"} | data, "medium": {"kind": "image", "size": size}, "train": training}
    return Recipe.from_tree(tree | {"model": model, "codec": str(codec)})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two autoencoders, and what stands behind them."""
    folder = tmp_path_factory.mktemp("runs")
    for name, model, codec in (
        ("vq", VQ, ""),
        ("residual", VQ | {"books": 3}, ""),
        ("grid", GRID, ""),
        ("gpt", GPT, folder / "vq"),
        ("books", GPT, folder / "residual"),
        ("masks", MASKS, folder / "vq/bundle"),
        ("noise", NOISE, folder / "grid"),
        ("pixels", GPT, "quantise"),
    ):
        start(recipe(model, codec), folder / name, quiet=True)
    return {path.name: path for path in folder.iterdir()}


BEHIND = {
    "gpt": Tokens((2, 2), 16),
    "books": Tokens((3, 2, 2), 48),
    "masks": Tokens((2, 2), 16),
    "noise": Real((3, 2, 2)),
    "pixels": Tokens((1, 8, 8), 256),
}


def last(run: Path) -> dict[str, str]:
    """The hashes of a run's last checkpoint and of its whole bundle."""
    parts = [*max((run / "checkpoints").glob("step-*")).glob("*.safetensors"), *(run / "bundle").rglob("*.safetensors")]
    return {part.relative_to(run).as_posix(): files.digest(part.read_bytes()) for part in parts}


@pytest.mark.parametrize("name", BEHIND)
def test_samples_are_pictures(name: str, runs: dict[str, Path]) -> None:
    pipeline = load(runs[name], "cpu")
    assert pipeline.model.space == BEHIND[name] and pipeline.medium.space == Image(size=8).build().space
    made = pipeline.generate(Request(n=5, seed=3))
    assert made.shape == (5, 8, 8, 1) and made.dtype == np.uint8
    assert np.array_equal(made[2:4], pipeline.generate(Request(n=2, seed=5)))
    assert sorted((runs[name] / "samples").glob("*.png"))


@pytest.mark.parametrize("name", BEHIND)
def test_what_is_resumed_ends_in_the_same_bits_without_its_codec_at_hand(
    name: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(runs[name], stopped)
    shutil.rmtree(stopped / "checkpoints/step-00000004")
    shutil.rmtree(stopped / "bundle")
    tree = json.loads((stopped / "recipe.json").read_text())
    if tree["recipe"]["codec"] != "quantise":
        tree["recipe"]["codec"] = str(tmp_path / "moved away")
        (stopped / "recipe.json").write_text(json.dumps(tree))
    resume(stopped, quiet=True)
    assert last(stopped) == last(runs[name])


def test_a_bundle_holds_its_codec_whole(runs: dict[str, Path], tmp_path: Path) -> None:
    moved = Path(shutil.copytree(runs["noise"] / "bundle", tmp_path / "moved"))
    bundle, own = read_bundle(moved), read_bundle(runs["grid"] / "bundle")
    assert bundle.coding.autoencoder is not None and bundle.coding.autoencoder.digest == own.digest
    assert set(bundle.coding.whitening) == {"mean", "std"} and bundle.card["codec"] == "grid"
    assert read_bundle(moved / "codec").digest == own.digest, "it is a bundle by itself"
    assert not read_bundle(runs["gpt"] / "bundle").coding.whitening, "tokens are not whitened"


def forge(folder: Path, file: str, data: bytes) -> None:
    """Put a file into a bundle and its manifest, as one who forges it would."""
    (folder / file).write_bytes(data)
    tree = json.loads((folder / "MANIFEST.json").read_text())
    tree["files"][file] = files.describe_file(folder / file)
    (folder / "MANIFEST.json").write_text(json.dumps(tree))


def test_a_codec_that_was_changed_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(runs["noise"] / "bundle", tmp_path / name))

    changed = copy("changed")
    weights = bytearray((changed / "codec/model.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "codec/model.safetensors").write_bytes(weights)
    swapped = copy("swapped")
    shutil.rmtree(swapped / "codec")
    shutil.copytree(runs["vq"] / "bundle", swapped / "codec")
    gone = copy("gone")
    (gone / "codec.safetensors").unlink()
    for folder in changed, swapped, gone:
        with pytest.raises(MaquetteError, match="MQ-5003"):
            read_bundle(folder)
    narrow = copy("narrow")
    files.put_tensors(tmp_path / "one.safetensors", {"mean": torch.zeros(1), "std": torch.ones(1)})
    forge(narrow, "codec.safetensors", (tmp_path / "one.safetensors").read_bytes())
    with pytest.raises(MaquetteError, match="MQ-7001"):
        read_bundle(narrow)
    strange = copy("strange")
    forge(strange, "codec/code.py", b"")
    with pytest.raises(MaquetteError, match="MQ-8001"):
        read_bundle(strange)
    named = copy("named")
    tree = json.loads((named / "config.json").read_text()) | {"codec": "../../elsewhere"}
    forge(named, "config.json", json.dumps(tree).encode())
    with pytest.raises(MaquetteError, match="MQ-2002"):
        read_bundle(named)


@pytest.mark.parametrize(
    ("codec", "size", "code", "said"),
    [
        ("gpt", 8, "MQ-2062", "codec itself"),
        ("grid", 16, "MQ-2063", "size 8 there, 16 here"),
        ("nowhere", 8, "MQ-5004", "nowhere"),
    ],
)
def test_what_cannot_be_a_codec_is_refused(
    codec: str, size: int, code: str, said: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(MaquetteError, match=said) as refused:
        start(recipe(GPT, runs["gpt"].parent / codec, size), tmp_path / "run", quiet=True)
    assert refused.value.code == code and not (tmp_path / "run").exists()


def test_a_model_that_is_no_autoencoder_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    start(recipe(NOISE), tmp_path / "plain", quiet=True)
    with pytest.raises(MaquetteError, match="MQ-2062.*has no codes"):
        start(recipe(GPT, tmp_path / "plain"), tmp_path / "run", quiet=True)


def test_a_model_that_does_not_take_the_codes_is_told_so(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(MaquetteError, match="MQ-2008"):
        start(recipe(GPT, runs["grid"]), tmp_path / "run", quiet=True)


def test_what_is_augmented_is_encoded_each_time(runs: dict[str, Path], tmp_path: Path) -> None:
    run = start(recipe(NOISE, runs["grid"], augment={"flip": 0.5}), tmp_path / "run", quiet=True)
    assert load(run.path, "cpu").generate(Request(n=1)).shape == (1, 8, 8, 1)


def test_codes_of_another_layout_are_other_codes(runs: dict[str, Path]) -> None:
    """Each run learns to the bit what its own codec says, not what one of another layout has left in the cache."""
    made = []
    for layout in ("contiguous", "channels_last", "contiguous"):
        asked = recipe(NOISE, runs["grid"], seed=5)
        learner = prepare(dataclasses.replace(asked, train=dataclasses.replace(asked.train, layout=layout)))
        split = learner.dataset.train
        x = learner.medium.to_tensor(torch.from_numpy(np.asarray(split.items[:64])))
        with torch.inference_mode():
            assert split.codes is not None and np.array_equal(learner.codec.encode(x).numpy(), split.codes[:64])
        made.append(len(list(files.cache_folder().glob("codes-*"))))
    assert made == [made[0], made[0] + 1, made[0] + 1]


def test_training_goes_on_from_a_model_behind_a_codec(runs: dict[str, Path], tmp_path: Path) -> None:
    """With the whitening that its weights know, whatever the data."""
    beginning = begin(runs["noise"])
    ready = dataclasses.replace(recipe(NOISE, beginning.coding.named), model=beginning.model)
    run = start(ready, tmp_path / "run", quiet=True, beginning=beginning)
    for name, value in read_bundle(run.bundle).coding.whitening.items():
        assert torch.equal(value, beginning.coding.whitening[name])


def test_another_codec_may_be_asked_for_with_weights_to_begin_from(runs: dict[str, Path]) -> None:
    beginning = begin(runs["noise"])
    own, other = (
        prepare(recipe(NOISE, codec), beginning=beginning) for codec in (beginning.coding.named, runs["grid"])
    )
    assert own.coding.folder == runs["noise"] / "bundle/codec" and other.coding.folder == runs["grid"] / "bundle"


def test_what_a_run_keeps_needs_the_codec_s_own_folder_no_more(runs: dict[str, Path], tmp_path: Path) -> None:
    """A codec that is retrained meanwhile would else end a run at its next bundle."""
    moved = Path(shutil.copytree(runs["grid"], tmp_path / "codec"))
    first = fitted(find(str(moved)), Image(size=8), open_data(Data(source="digits"), Image(size=8).build()))
    coding = keep(first, tmp_path / "kept")
    assert coding.digest == first.digest
    shutil.rmtree(moved)
    files.commit_folder(tmp_path / "again", coding.put)
    again = kept(tmp_path / "again")
    assert again is not None and again.digest == first.digest


def test_likelihoods_of_codes_are_told_apart(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "PASSES", 2000)
    data, found = open_data(Data(source="digits"), Image(size=8).build()), {}
    for name in ("pixels", "gpt", "masks", "vq"):
        report = evaluate(load(runs[name], "cpu"), data, 60)
        found[name] = {score.name: score for score in report.scores}
        assert {"fid", "near_copies"} <= set(found[name])
        assert any("what the codec leaves" in note for note in report.notes) == (name in ("gpt", "masks"))
    pixels, codes = (found[name]["likelihood"] for name in ("pixels", "gpt"))
    assert pixels.unit == "bits per dimension" and pixels.value == pytest.approx(8, abs=1.5)
    assert codes.unit == "bits per code" and codes.value == pytest.approx(4, abs=1.0)
    assert codes.stamp.extractor == "codec" and pixels.stamp.extractor == "none"
    assert codes.stamp.unlike(pixels.stamp), "they are never ranked"
    assert "likelihood" not in found["masks"]
    assert 0 < found["vq"]["codebook"].value <= 1 and 1 <= found["vq"]["codebook_perplexity"].value <= 16


def test_what_the_codec_leaves_can_be_asked_for(runs: dict[str, Path]) -> None:
    items = np.asarray(open_data(Data(source="digits"), Image(size=8).build()).test.items[:70])
    lossy, exact = load(runs["gpt"], "cpu"), load(runs["pixels"], "cpu")
    left = lossy.kept(items)
    assert left.shape == items.shape and (left != items).any() and len(lossy.kept(items[:0])) == 0
    assert np.array_equal(left, lossy.decoded(lossy.encoded(items))) and exact.kept(items) is items


def test_what_needs_pixels_is_refused_behind_a_codec(runs: dict[str, Path]) -> None:
    pipeline = load(runs["noise"], "cpu")
    item = np.zeros((8, 8, 1), np.uint8)
    with pytest.raises(MaquetteError, match="MQ-2104"):
        pipeline.generate(Request(n=1, image=item, mask=np.ones((1, 8, 8), bool)))
    assert pipeline.generate(Request(n=1, sampling=Sampling(steps=3))).shape == (1, 8, 8, 1)
