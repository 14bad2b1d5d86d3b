"""Who meets whom in `quality.py`: each trains on Fashion-MNIST for a given time and hands over pictures and figures.

A contestant is a function `(seconds, n, folder) -> (items uint8 [n, 28, 28, 1], facts)`. Ours are recipes as they come,
through the Python API. A peer is its own program, or its own network with the training loop of its own tutorial; only
the seconds of its loop are counted, not the preparation, and drawing is free for everyone.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import diffusers_peer, peers, pythae_peer
from benchmarks.rows.vae import AS_PYTHAE, LATENT

SIZE = 28
Outcome = tuple[np.ndarray, dict[str, Any]]
Contestant = Callable[[float, int, Path], Outcome]


class Timer:
    """Counts steps, and raises `peers.Stop` when the seconds since the first one are over."""

    def __init__(self, seconds: float):
        self.steps, self.began, self.seconds = 0, 0.0, seconds

    def __call__(self) -> None:
        self.began = self.began or time.monotonic()
        self.steps += 1
        if time.monotonic() - self.began > self.seconds:
            raise peers.Stop


def to_items(x: Tensor) -> np.ndarray:
    """Pictures in [-1, 1], of any size, as stored items of 28x28."""
    if x.shape[-1] != SIZE:
        x = F.interpolate(x, (SIZE, SIZE), mode="bicubic", antialias=True)
    pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


def cross_entropy_elbo(posterior, decode, batch: int = 500) -> float:
    """Nats per test picture, by one estimator for all: E_q -log p(x|z), pixels taken as shares of white, plus KL."""
    items, _ = peers.pictures("fashion_mnist", "test")
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    with torch.no_grad():
        for rows in items.split(batch):
            x = rows.float() / 255
            mu, log_var = posterior(x)
            z = mu + (log_var / 2).exp() * torch.randn(mu.shape, generator=generator)
            p = decode(z).reshape(len(x), -1).clamp(1e-6, 1 - 1e-6)
            kl = (mu.square() + log_var.exp() - 1 - log_var).sum() / 2
            total += (F.binary_cross_entropy(p, x.flatten(1), reduction="sum") + kl).item()
    return total / len(items)


# -- ours -------------------------------------------------------------------------------------------------------------


def ours(recipe: str, *overrides: str, judge: Callable[[Any], dict[str, Any]] = lambda pipeline: {}) -> Contestant:
    """A recipe, trained and drawn from as a user would."""

    def contestant(seconds: float, n: int, folder: Path) -> Outcome:
        import maquette
        from maquette.pipeline import Request

        data, settings = str(peers.test_data("fashion_mnist")), [f"medium.size={SIZE}", *overrides]
        run = maquette.train(recipe, data=data, budget=f"{seconds:g}s", out=folder, overrides=settings, quiet=True)
        pipeline = maquette.load(run.path)
        steps = max(line["step"] for line in run.metrics())
        facts = {"steps": steps, "parameters": peers.count(pipeline.model)} | judge(pipeline)
        began = time.monotonic()
        items = pipeline.generate(Request(n=n))
        return items, facts | {"samples_per_second": n / (time.monotonic() - began)}

    return contestant


def elbo_of_ours(pipeline: Any) -> dict[str, Any]:
    from maquette.core.types import Condition

    model = pipeline.model

    def posterior(x: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_var = model.encoder(2 * x - 1).chunk(2, dim=1)
        return mu, log_var

    predict = model.predictor(Condition())
    return {"negative_elbo": cross_entropy_elbo(posterior, lambda z: (predict(z) + 1) / 2)}


def bits_of_ours(pipeline: Any, pictures: int = 2000) -> dict[str, Any]:
    """Over some pictures of the test split, always the same ones."""
    from maquette.data.batches import held_out
    from maquette.data.source import Data, open_data
    from maquette.evaluate.scores.likelihood import likelihood

    data = open_data(Data(source=str(peers.test_data("fashion_mnist"))), pipeline.medium)
    batches = held_out(data.test, pipeline.medium, 100, pictures, seed=0)
    return {"bits_per_dimension": likelihood(pipeline.model, batches, pipeline.medium).value}


# -- peers ------------------------------------------------------------------------------------------------------------


def dcgan_example(seconds: float, n: int, folder: Path) -> Outcome:
    """pytorch/examples at its documented 64x64, its pictures brought to 28x28 afterwards."""
    images = peers.to_unit(peers.pictures("fashion_mnist", "train", 64)[0])
    timer = Timer(seconds)
    names = peers.run_dcgan_example(images, folder, timer)
    generator, latent = names["netG"], names["nz"]
    torch.manual_seed(0)
    began = time.monotonic()
    with torch.no_grad():  # in training mode, as the program itself draws its samples
        made = torch.cat([generator(torch.randn(min(64, n - i), latent, 1, 1)) for i in range(0, n, 64)])
    facts = {"steps": timer.steps, "parameters": peers.count(names["netG"], names["netD"])}
    return to_items(made), facts | {"samples_per_second": n / (time.monotonic() - began)}


def pythae(seconds: float, n: int, folder: Path) -> Outcome:
    items = peers.pictures("fashion_mnist", "train")[0].float() / 255
    torch.manual_seed(0)
    model: Any = pythae_peer.build(LATENT)
    timer = Timer(seconds)
    with contextlib.suppress(peers.Stop):
        pythae_peer.train(model, items, folder, timer)
    model.eval()

    def posterior(x: Tensor) -> tuple[Tensor, Tensor]:
        out = model.encoder(x)
        return out["embedding"], out["log_covariance"]

    elbo = cross_entropy_elbo(posterior, lambda z: model.decoder(z)["reconstruction"])
    began = time.monotonic()
    with torch.no_grad():
        made = model.decoder(torch.randn(n, LATENT))["reconstruction"].reshape(n, 1, SIZE, SIZE)
    facts = {"steps": timer.steps, "parameters": peers.count(model), "negative_elbo": elbo}
    return to_items(2 * made - 1), facts | {"samples_per_second": n / (time.monotonic() - began)}


def diffusers(seconds: float, n: int, folder: Path) -> Outcome:
    """The network and loop of Hugging Face's diffusion course, drawn from by DDIM in 50 steps."""
    items = peers.to_unit(peers.pictures("fashion_mnist", "train")[0])
    torch.manual_seed(0)
    unet = diffusers_peer.grey_unet()
    timer = Timer(seconds)
    with contextlib.suppress(peers.Stop):
        diffusers_peer.ddpm_loop(unet, items, 64, 4e-4, timer)
    began = time.monotonic()
    shapes = [(min(100, n - i), 1, SIZE, SIZE) for i in range(0, n, 100)]
    made = torch.cat([diffusers_peer.sample(unet, shape, 50, "ddim", seed) for seed, shape in enumerate(shapes)])
    facts = {"steps": timer.steps, "parameters": peers.count(unet)}
    return to_items(made), facts | {"samples_per_second": n / (time.monotonic() - began)}


CONTESTANTS: dict[str, Contestant] = {
    "gan": ours("dcgan"),
    "gan: pytorch/examples": dcgan_example,
    "vae": ours("vae-mlp", *AS_PYTHAE, judge=elbo_of_ours),
    "vae: pythae": pythae,
    "diffusion": ours("diffusion"),
    "diffusion: diffusers": diffusers,
    "pixelcnn": ours("pixelcnn", judge=bits_of_ours),
}
"""In the order in which they run; those side by side with `--parallel` stand side by side."""

CLAIMS = [
    ("gan", "gan: pytorch/examples", "fid", 0.7),
    ("vae", "vae: pythae", "negative_elbo", 1.0),
    ("diffusion", "diffusion: diffusers", "fid", 0.5),
]
"""(ours, peer, figure, what our share of the peer's figure may be at most)."""
