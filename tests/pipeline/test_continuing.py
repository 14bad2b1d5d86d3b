"""Going on from what is known: models of tokens and models that remove noise, by what each of them can do."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.bundle import Coding, save_bundle
from maquette.core.errors import MaquetteError
from maquette.crafts import gap, shrink
from maquette.data.along import Along
from maquette.media import image, series
from maquette.media.base import MediumConfig
from maquette.models.base import ModelConfig
from maquette.pipeline import Pipeline, load
from maquette.request import Request

NET = {"kind": "transformer", "width": 16, "depth": 2, "heads": 2}
MODELS = {
    "gpt": ({"kind": "gpt", "net": NET}, "interleave"),
    "lstm": ({"kind": "lstm", "width": 16}, "interleave"),
    "mdlm": ({"kind": "mdlm", "net": NET, "steps": 6}, "interleave"),
    "diffusion": ({"kind": "diffusion", "net": {"kind": "dit", "patch": 4, "width": 16, "depth": 1, "heads": 2}}, ""),
}


def untrained(
    folder: Path, kind: str, medium: MediumConfig, codec: str | None = None, along: Along = Along()
) -> Pipeline:
    tree, usual = MODELS[kind]
    coding, config = Coding(usual if codec is None else codec), ModelConfig.from_tree(tree, "model")
    torch.manual_seed(1)
    space = coding.build(medium).space
    model = config.fitted(space, 0, along.beside(space))
    with torch.no_grad():
        for weight in model.parameters():  # what starts at zero would hide what depends on it
            weight.add_(0.1 * torch.randn_like(weight))
    save_bundle(folder / "bundle", medium, config, [], model.state_dict(), {"name": kind}, coding, along)
    return load(folder / "bundle", "cpu")


@pytest.mark.parametrize("kind", [*MODELS, "given"])
@pytest.mark.parametrize("columns", [1, 2])
def test_series_go_on_from_their_past(tmp_path, kind: str, columns: int) -> None:
    medium = series.Config(length=16, horizon=4, columns=columns, levels=64)
    along = Along(craft=gap.Config(place="end", share=(0.25, 0.25))) if kind == "given" else Along()
    pipeline = untrained(tmp_path, "diffusion" if kind == "given" else kind, medium, along=along)
    assert set(pipeline.continuing(np.ones((12, columns)))) == ({"given"} if kind == "given" else {"image", "mask"})
    past = 50 + np.random.default_rng(0).normal(size=(12, columns)).cumsum(0).astype(np.float32)
    made = pipeline.generate(Request(n=5, **pipeline.continuing(past)))
    item = np.concatenate([past, np.zeros((4, columns), np.float32)])[None]
    known = pipeline.medium.from_tensor(pipeline.medium.to_tensor(item))
    assert np.allclose(made[:, :12], known[:, :12], atol=1e-4), "in the units of its own past"
    futures = made[:, 12:].reshape(5, -1)
    assert len({row.tobytes() for row in futures}) == 5 and np.isfinite(futures).all()
    other = pipeline.generate(Request(n=5, **pipeline.continuing(past[::-1])))
    assert not np.allclose(other[:, 12:], made[:, 12:]), "the past matters"


def test_an_autoregressive_model_of_pixels_completes_a_picture(tmp_path) -> None:
    pipeline = untrained(tmp_path, "gpt", image.Config(size=8), "quantise")
    item = np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    below = np.arange(8)[:, None] >= 5
    made = pipeline.generate(Request(n=3, image=item, mask=below))
    assert (made[:, :5] == item[:5]).all() and len({row.tobytes() for row in made[:, 5:]}) == 3
    with pytest.raises(MaquetteError, match="MQ-2104"):
        pipeline.generate(Request(image=item, blur=1.0))


def test_a_model_of_something_else_cannot_go_on(tmp_path) -> None:
    medium = series.Config(length=16, horizon=4, levels=64)
    pipeline = untrained(tmp_path, "diffusion", medium, along=Along(craft=shrink.Config(factor=2)))
    with pytest.raises(MaquetteError, match="MQ-2138"):
        pipeline.continuing(np.ones((12, 1), np.float32))


def test_what_brings_no_samples_of_its_own_cannot_go_on(tmp_path) -> None:
    pipeline = untrained(tmp_path, "gpt", series.Config(length=16, horizon=4, levels=64))
    with pytest.raises(MaquetteError, match="MQ-2106"):
        pipeline.generate(Request(image=np.zeros((12, 1), np.float32), mask=np.arange(16) > 11))
