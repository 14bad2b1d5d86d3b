"""Drawing 32x32 colour pictures from the networks of the row `unet`, equal solvers and steps, 16 at a time.

The weights are fresh on both sides: what they are does not change how long they take.
"""

import torch

from benchmarks import diffusers_peer, ours, peers
from benchmarks.rows.unet import SAME_SIZE

TITLE = "sampling 32x32 colour, 6.5 M parameters, 16 at a time"
UNIT = "images"
PAIRS = [
    ("maquette dpm 20", "diffusers DPM-Solver++ 20", 1.7),
    ("maquette ddim 50", "diffusers DDIM 50", 1.7),
]
N = 16


def maquette(solver: str, steps: int):
    def contestant():
        from maquette.core.devices import autocast
        from maquette.core.seeds import Seeds
        from maquette.core.types import Given, Sampling

        learner = ours.learner("diffusion", peers.test_data("emoji_noto"), *SAME_SIZE)
        model, how = learner.model.eval(), Sampling(solver=solver, steps=steps)
        predict = model.predictor(model.condition(Given(), N))
        seed = iter(range(1 << 60))

        def work() -> int:
            rng = Seeds.for_samples(N * next(seed), N)
            with torch.inference_mode(), autocast(learner.device, learner.recipe.train.precision):
                return len(model.draw(predict, model.start(N, how, rng), how, rng))

        return work, ours.facts(learner)

    return contestant


def diffusers(solver: str, steps: int):
    def contestant():
        unet = diffusers_peer.colour_unet()
        seed = iter(range(1 << 60))
        work = lambda: len(diffusers_peer.sample(unet, (N, 3, 32, 32), steps, solver, next(seed)))  # noqa: E731
        return work, {"parameters": peers.count(unet)}

    return contestant


CONTESTANTS = {
    "maquette dpm 20": maquette("dpm", 20),
    "diffusers DPM-Solver++ 20": diffusers("dpm", 20),
    "maquette ddim 50": maquette("ddim", 50),
    "diffusers DDIM 50": diffusers("ddim", 50),
}
