"""Training a UNet of about 6.5 M parameters to denoise 32x32 colour pictures, batch 32.

Both sides have the same number of parameters, not the same shape: where the parameters stand is part of the design that
is measured. The operations of one forward pass are stated beside them.
"""

import torch

from benchmarks import diffusers_peer, ours, peers

TITLE = "UNet training, 32x32 colour, 6.5 M parameters, batch 32"
UNIT = "images"
PAIRS = [("maquette", "diffusers", 1.7)]
BATCH = 32
SAME_SIZE = ["medium.size=32", "medium.channels=3", f"train.batch={BATCH}"]


def operations(forward, *inputs: torch.Tensor) -> int:
    """Multiplications and additions of one forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        forward(*inputs)
    return counter.get_total_flops()


def maquette():
    from maquette.core.types import Given

    learner = ours.learner("diffusion", peers.test_data("emoji_noto"), *SAME_SIZE)
    predict = learner.model.predictor(learner.model.condition(Given(), 1))
    flops = operations(predict, torch.zeros(1, 3, 32, 32), torch.ones(1))
    return lambda: ours.step(learner), ours.facts(learner) | {"forward_flops": flops}


def diffusers():
    items = peers.to_unit(peers.pictures("emoji_noto", "train", 32, 3)[0])
    unet = diffusers_peer.colour_unet()
    flops = operations(lambda x: unet(x, 1), torch.zeros(1, 3, 32, 32))
    loop = peers.Stepwise(lambda tick: diffusers_peer.ddpm_loop(unet, items, BATCH, 1e-4, tick))

    def work() -> int:
        loop.work()
        return BATCH

    return work, {"parameters": peers.count(unet), "forward_flops": flops, "batch": BATCH}


CONTESTANTS = {"maquette": maquette, "diffusers": diffusers}
