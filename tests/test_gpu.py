"""The same recipes on a GPU: `python -m pytest -m gpu` where there is one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import maquette
from maquette.pipeline import Request, load
from maquette.train.run import Run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]
RECIPES = [
    "dcgan", "wgan-gp", "sagan", "r3gan", "stylegan2", "small-data", "vaegan", "vae", "diffusion", "dit", "edm",
    "meanflow", "pixelcnn", "points-gan", "points-vae", "points-diffusion",
]  # fmt: skip
BRIEF = ["train.batch=16", "train.samples=4", "train.device=cuda"]


def trained(recipe: str, out: Path, steps: int = 12, **more: str) -> Path:
    settings = [*BRIEF, *(f"{name.replace('__', '.')}={value}" for name, value in more.items())]
    return maquette.train(recipe, budget=f"{steps}steps", out=out, overrides=settings, quiet=True).path


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_there_and_its_bundle_draws_here(recipe: str, tmp_path: Path) -> None:
    run = trained(recipe, tmp_path / "run")
    losses = [v for line in Run.open(run).metrics() for name, v in line.items() if name.endswith(".loss")]
    assert losses and np.isfinite(losses).all()
    asked = Request(n=2, seed=5)
    there, here = (load(run, device).generate(asked).astype(float) for device in ("cuda", "cpu"))
    assert there.shape == here.shape and np.isfinite(there).all()
    spread = max(np.ptp(here), 1e-6)
    if recipe != "pixelcnn":  # one value that falls on the other side of a rounding changes all that follow
        assert np.abs(there - here).mean() < 0.02 * spread


@pytest.mark.parametrize("recipe", ["dcgan", "vae", "diffusion", "pixelcnn"])
def test_resuming_on_the_gpu_goes_on_where_it_stopped(recipe: str, tmp_path: Path) -> None:
    """Bit for bit is promised for the CPU; kernels of a GPU may add in another order, so this has a tolerance."""
    whole = trained(recipe, tmp_path / "whole", 12, train__precision="fp32", train__checkpoint_every="0.5")
    part = Path(shutil.copytree(whole, tmp_path / "part"))
    shutil.rmtree(part / "checkpoints/step-00000012")
    maquette.resume(part, quiet=True)
    a, b = (load(path, "cpu").model.state_dict() for path in (whole, part))
    gaps = [(a[name].float() - b[name].float()).abs().max().item() for name in a]
    print(f"{recipe}: largest difference after resuming {max(gaps):.1e}")
    assert max(gaps) < 1e-2
