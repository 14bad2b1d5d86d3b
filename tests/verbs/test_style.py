"""maquette style: features of a run's data, VGG-19's form, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.evaluate import domain
from maquette.evaluate.vgg import HEARD, VGG19, read_vgg
from maquette.media.marks import read_mark
from maquette.train.run import Run
from maquette.verbs.style import style


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "content.png", tmp_path / "manner.png"]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return list(map(str, paths))


def test_a_run_lends_its_features(
    run: Run, pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(domain, "PASSES", 256)
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "made" / "styled.png"
    words = ["style", *pictures, "--features", str(run.path), "--steps", "3", "--out", str(out), "--device", "cpu"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{out}\n"
    with Image.open(out) as made:
        assert made.size == (8, 8)
    assert read_mark(out.read_bytes()) is not None


def test_what_cannot_be_is_told(pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["style", *pictures]) == 2 and "--features" in capsys.readouterr().err
    assert main(["style", *pictures, "--features", str(tmp_path / "none")]) == 5
    words = ["style", *pictures, "--features", str(tmp_path), "--strength", "much"]
    assert main(words) == 2 and "--strength" in capsys.readouterr().err
    assert main(["style", *pictures, "--features", str(tmp_path), "--out", "a.jpg"]) == 2


def test_vgg_has_torchvisions_names_and_five_layers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = VGG19()
    names = {
        f"features.{n}.{part}" for n in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28) for part in ("weight", "bias")
    }
    assert network.state_dict().keys() == names
    maps = network(torch.zeros(1, 1, 32, 32))
    assert [m.shape[1] for m in maps] == [64, 128, 256, 512, 512] and len(maps) == len(HEARD)
    assert [m.shape[2] for m in maps] == [32, 16, 8, 4, 2]
    weights = dict(network.state_dict())
    save_file(weights, tmp_path / "vgg.safetensors")
    again, _ = read_vgg(tmp_path / "vgg.safetensors")
    torch.testing.assert_close(again(torch.ones(1, 3, 16, 16))[-1], network(torch.ones(1, 3, 16, 16))[-1])
    weights.pop("features.28.bias")
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(MaquetteError, match="MQ-7001"):
        read_vgg(tmp_path / "less.safetensors")


def test_a_picture_that_is_not_there_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(MaquetteError, match=r"MQ-5004.*(.|\n)*gone.png"):
        style(tmp_path / "gone.png", tmp_path / "gone.png", tmp_path / "no-run", out=tmp_path / "out.png")
