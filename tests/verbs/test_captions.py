"""Pictures and words through every verb: an encoder of both, DALL-E behind a codec, a flow that reads captions."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maquette.bundle import read_bundle
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.core.types import Captioner, Tokens
from maquette.data.captions import Captions
from maquette.evaluate import domain
from maquette.pipeline import Request, load
from maquette.train.session import prepare
from maquette.verbs.caption import caption
from maquette.verbs.evaluate import evaluate
from maquette.verbs.recipes import read
from maquette.verbs.sample import sample
from maquette.verbs.train import train

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220), "grey": (130, 130, 130)}
SHAPES = ("square", "bar", "cross", "frame")
STYLES = list(COLOURS)
NET = {"kind": "resnet", "width": 8, "widest": 16}
VQ = {"kind": "vqvae", "encoder": NET, "decoder": NET, "entries": 8, "width": 4}
DALLE = {"kind": "dalle", "net": {"kind": "transformer", "width": 16, "depth": 1, "heads": 2}, "backwards": 0.5}
READING = {"width": 16, "depth": 1, "heads": 2}
CLIP = {"kind": "contrastive", "net": {"kind": "mlp", "width": 32, "depth": 2}, "reading": READING, "width": 16}
UNET = {"kind": "unet", "width": 8, "stages": [1, 2], "blocks": [1, 1], "attention": 8, "head": 8}
FLOW = {"kind": "diffusion", "net": UNET, "reading": READING, "steps": 2}


def drawing(colour: str, shape: str, seed: int) -> np.ndarray:
    mask = np.zeros((8, 8), bool)
    mask[{"square": np.s_[2:6, 2:6], "bar": np.s_[3:5], "cross": np.s_[3:5], "frame": np.s_[1:7, 1:7]}[shape]] = True
    if shape == "cross":
        mask[:, 3:5] = True
    if shape == "frame":
        mask[3:5, 3:5] = False
    noise = np.random.default_rng(seed).integers(0, 12, (8, 8, 3))
    return (np.where(mask[..., None], COLOURS[colour], 235) + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 320 drawings with a text file beside each."""
    folder = tmp_path_factory.mktemp("drawings")
    for number in range(320):
        colour, shape = STYLES[number % 4], SHAPES[number // 4 % 4]
        Image.fromarray(drawing(colour, shape, number)).save(folder / f"{number:03d}.png")
        (folder / f"{number:03d}.txt").write_text(f"a {colour} {shape}")
    return folder


@pytest.fixture(scope="module")
def runs(drawings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    words = {"captions": {"tokenizer": "character", "vocab": 300, "length": 16}}
    apart = words | {"combinations": {"styles": STYLES, "share": 0.2}}
    for name, model, data, codec, budget in (
        ("vq", VQ, {}, "", "4steps"),
        ("clip", CLIP, words, "", "120steps"),
        ("dalle", DALLE, apart, str(folder / "vq"), "80steps"),
        ("flow", FLOW, apart, "", "4steps"),
    ):
        tree: dict[str, Any] = {
            "data": {"source": str(drawings)} | data,
            "medium": {"kind": "image", "size": 8, "channels": 3},
            "codec": codec,
            "model": model,
            "train": {"budget": budget, "batch": 32, "samples": 4, "device": "cpu"},
        }
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(tree))
        train(str(path), out=folder / name, quiet=True)
    return {path.name: path for path in folder.iterdir() if path.is_dir()}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extractor of features that has hardly learnt; no score of it is looked at here."""
    monkeypatch.setattr(domain, "PASSES", 500)


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def scores(folder: Path) -> dict[str, Any]:
    return {score["name"]: score for score in report(folder)["scores"]}


def test_captions_are_read_back_from_their_tokens() -> None:
    texts = ["a red key", "", "日本語 too long to fit"]
    for kind in ("byte", "character", "bpe"):
        ways = Captions(tokenizer=kind, vocab=300, length=12).learnt(texts)
        short, empty, cut = ways.decode(ways.encode(texts))
        assert (short, empty) == ("a red key", "") and texts[2].startswith(cut.rstrip("\ufffd")) and cut


def test_an_encoder_says_what_it_knows_of_unseen_pairs(runs: dict[str, Path], tmp_path: Path) -> None:
    evaluate(runs["clip"], n=60, out=tmp_path, device="cpu", quiet=True)
    found = scores(tmp_path)
    assert set(found) == {"text_recall_1", "text_recall_5", "picture_recall_1", "picture_recall_5"}
    recall = found["text_recall_1"]
    assert recall["value"] > 2 * recall["baselines"]["chance"]["value"], "16 captions are soon learnt"
    assert "makes nothing" in " ".join(report(tmp_path)["notes"])
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["retrieval.png"]
    assert not list((runs["clip"] / "samples").glob("*.png")) and (runs["clip"] / "samples/curves.svg").exists()


def test_who_makes_nothing_is_not_drawn_from(runs: dict[str, Path]) -> None:
    with pytest.raises(MaquetteError, match="MQ-2151"):
        sample(runs["clip"], n=1, device="cpu")


@pytest.mark.parametrize("name", ["dalle", "flow"])
def test_pictures_are_made_of_words(name: str, runs: dict[str, Path]) -> None:
    pipeline = load(runs[name], "cpu")
    assert pipeline.along.captions is not None and pipeline.along.captions.vocabulary
    made = sample(pipeline, n=4, prompt=["a red square", "a blue bar"], seed=3).items
    assert made.shape == (4, 8, 8, 3)
    alone = sample(pipeline, n=1, prompt="a blue bar", seed=4).items
    assert np.array_equal(alone[0], made[1]), "sample 1 has the second prompt"
    with pytest.raises(MaquetteError, match="MQ-2105"):
        pipeline.generate(Request(n=1, history=(("a", "b"),)))
    strong = sample(pipeline, n=4, prompt=["a red square", "a blue bar"], seed=3, guidance=30.0).items
    assert (strong != made).any(), "guidance is by words where there are no labels"


def test_a_classifier_of_labels_judges_what_captions_asked_for(
    runs: dict[str, Path], drawings: Path, tmp_path: Path
) -> None:
    for path in sorted(drawings.glob("*.txt")):
        place = tmp_path / "labelled" / path.read_text().split()[1]
        place.mkdir(parents=True, exist_ok=True)
        for side in (path, path.with_suffix(".png")):
            shutil.copy(side, place)
    evaluate(runs["flow"], 60, str(tmp_path / "labelled"), tmp_path, device="cpu", quiet=True, judge=runs["clip"])
    found = scores(tmp_path)["label_accuracy"]
    assert set(found["baselines"]) == {"most frequent label", "real pictures", "picture of the nearest caption"}
    assert 0.25 <= found["baselines"]["most frequent label"]["value"] < 1 and found["stamp"]["split"] == "test"
    evaluate(runs["flow"], n=60, data=str(tmp_path / "labelled"), out=tmp_path / "plain", device="cpu", quiet=True)
    assert "label_accuracy" not in scores(tmp_path / "plain"), "no unseen caption was asked"


def test_codes_are_made_of_words_behind_a_codec(runs: dict[str, Path]) -> None:
    bundle = read_bundle(runs["dalle"] / "bundle")
    model = bundle.build()
    assert model.space == Tokens((2, 2), 8) and bundle.coding.kind == "latent" and bundle.along.captions is not None
    assert isinstance(model, Captioner) and model.writes and model.beside.text == bundle.along.captions.space
    with pytest.raises(MaquetteError, match="MQ-2104"):
        load(runs["dalle"], "cpu").generate(Request(n=1, opening=np.zeros((1, 2)), prompt="a red bar"))


def test_held_out_pairs_are_never_learnt_from(runs: dict[str, Path]) -> None:
    learner = prepare(read(str(runs["flow"].parent / "flow.yaml")))
    train_set, test_set = (set(split.captions) for split in (learner.dataset.train, learner.dataset.test))
    assert len(test_set) == 3 and not train_set & test_set
    batch = learner.batches(0)
    assert (
        batch.given.text is not None
        and batch.given.text.shape == (32, 16)
        and bool((batch.given.text != 0).any(1).all())
    )


def test_made_pictures_are_judged_by_their_captions(runs: dict[str, Path], tmp_path: Path) -> None:
    evaluate(runs["flow"], n=60, out=tmp_path, device="cpu", quiet=True, judge=runs["clip"])
    found = scores(tmp_path)
    assert {"agreement_1", "agreement_5", "told_apart"} <= set(found) and "chrf" not in found
    told = found["agreement_1"]
    assert set(told["baselines"]) == {"chance", "real pictures", "picture of the nearest caption"}
    assert told["baselines"]["chance"]["value"] == pytest.approx(1 / 3)
    assert told["baselines"]["real pictures"]["value"] > told["baselines"]["chance"]["value"]
    assert (
        told["stamp"]["extractor"] == "judge"
        and told["stamp"]["weights"] == read_bundle(runs["clip"] / "bundle").digest
    )
    assert found["told_apart"]["baselines"]["chance"]["value"] == pytest.approx(1 / 4)
    assert "--judge" in (tmp_path / "report.html").read_text()


def test_a_judge_has_to_know_what_it_judges(runs: dict[str, Path]) -> None:
    for run, judge, said in (("flow", "vq", "does not compare"), ("vq", "clip", "captions alone")):
        with pytest.raises(MaquetteError, match=f"MQ-2153.*{said}"):
            evaluate(runs[run], n=60, device="cpu", quiet=True, judge=runs[judge])


def test_captions_are_written_of_pictures(
    runs: dict[str, Path], drawings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(drawings.glob("*.png"))[:3]
    said = caption(runs["dalle"], paths, device="cpu")
    assert list(said) == [str(path) for path in paths] and all(isinstance(text, str) for text in said.values())
    assert main(["caption", str(runs["dalle"]), *map(str, paths), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines if "\t" in line] == [str(path) for path in paths]
    assert main(["caption", str(runs["flow"]), str(paths[0]), "--device", "cpu"]) == 2
    assert "MQ-2104" in capsys.readouterr().err
    pytest.importorskip("sacrebleu")
    evaluate(runs["dalle"], n=60, out=tmp_path, device="cpu", quiet=True)
    found = scores(tmp_path)
    assert found["chrf"]["baselines"]["caption of the nearest picture"]["value"] > found["chrf"]["value"]
    assert found["likelihood"]["unit"] == "bits per code"
