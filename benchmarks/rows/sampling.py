"""Drawing 32x32 colour pictures from the networks of the row `unet`, equal solvers and steps, 32 at a time.

The weights are fresh on both sides: what they are does not change how long they take. Ours are drawn by a pipeline,
as `maquette.load(run, precision=…)` gives it.
"""

import torch

from benchmarks import diffusers_peer, ours, peers
from benchmarks.rows.unet import SAME_SIZE

TITLE = "sampling 32x32 colour, 6.5 M parameters, 32 at a time"
UNIT = "images"
PAIRS = [
    ("maquette dpm 20, bf16", "diffusers DPM-Solver++ 20", 1.7),
    ("maquette dpm 20, fp32", "diffusers DPM-Solver++ 20", 1.0),
    ("maquette ddim 50, bf16", "diffusers DDIM 50", 1.7),
]
N = 32


def maquette(solver: str, steps: int, precision: str):
    def contestant():
        from maquette.bundle import Bundle
        from maquette.core.types import Sampling
        from maquette.pipeline import Pipeline, Request

        learner = ours.learner("diffusion", peers.test_data("emoji_noto"), *SAME_SIZE)
        recipe = learner.recipe
        bundle = Bundle(recipe.medium, recipe.model, [], learner.model.state_dict(), {}, "0" * 64)
        pipeline = Pipeline(bundle, torch.device("cpu"), precision)  # type: ignore[arg-type]
        seed = iter(range(1 << 60))

        def work() -> int:
            request = Request(n=N, seed=N * next(seed), sampling=Sampling(solver=solver, steps=steps))
            return len(pipeline.generate(request))

        return work, {"parameters": peers.count(pipeline.model), "precision": precision}

    return contestant


def diffusers(solver: str, steps: int):
    def contestant():
        unet = diffusers_peer.colour_unet()
        seed = iter(range(1 << 60))

        def work() -> int:
            return len(diffusers_peer.sample(unet, (N, 3, 32, 32), steps, solver, next(seed)))

        return work, {"parameters": peers.count(unet), "precision": "fp32"}

    return contestant


CONTESTANTS = {
    "maquette dpm 20, bf16": maquette("dpm", 20, "bf16"),
    "maquette dpm 20, fp32": maquette("dpm", 20, "fp32"),
    "diffusers DPM-Solver++ 20": diffusers("dpm", 20),
    "maquette ddim 50, bf16": maquette("ddim", 50, "bf16"),
    "diffusers DDIM 50": diffusers("ddim", 50),
}
