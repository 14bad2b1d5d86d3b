"""Training a UNet of about 6.5 M parameters to denoise 32x32 colour pictures, batch 32.

Ours has as many parameters as the peer's but puts fewer of them at full resolution, which is part of the design that is
measured. A second one of ours has the peer's widths and attention, and as many operations in a forward pass: what is
left then is the speed of the code. Operations are stated as `forward_flops`.
"""

import torch

from benchmarks import diffusers_peer, ours, peers

TITLE = "UNet training, 32x32 colour, 6.5 M parameters, batch 32"
UNIT = "images"
PAIRS = [("maquette", "diffusers", 1.7), ("maquette, as many operations", "diffusers", 1.0)]
BATCH = 32
SAME_SIZE = [
    "medium.size=32",
    "medium.channels=3",
    f"train.batch={BATCH}",
    "model.net={kind: unet, width: 64, stages: [1, 2, 4], blocks: [1, 1, 1]}",
]
SAME_OPERATIONS = [
    *SAME_SIZE[:-1],
    "model.net={kind: unet, width: 64, stages: [1, 2, 2], blocks: [3, 3, 3], attention: 16}",
]


def operations(forward, *inputs: torch.Tensor) -> int:
    """Multiplications and additions of one forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        forward(*inputs)
    return counter.get_total_flops()


def maquette(*shape: str):
    def contestant():
        from maquette.core.types import Given

        learner = ours.learner("diffusion", peers.test_data("emoji_noto"), *shape)
        predict = learner.model.predictor(learner.model.condition(Given(), 1))
        flops = operations(predict, torch.zeros(1, 3, 32, 32), torch.ones(1))
        return lambda: ours.step(learner), ours.facts(learner) | {"forward_flops": flops}

    return contestant


def diffusers():
    items = peers.to_unit(peers.pictures("emoji_noto", "train", 32, 3)[0])
    unet = diffusers_peer.colour_unet()
    flops = operations(lambda x: unet(x, 1), torch.zeros(1, 3, 32, 32))
    loop = peers.Stepwise(lambda tick: diffusers_peer.ddpm_loop(unet, items, BATCH, 1e-4, tick))

    def work() -> int:
        loop.work()
        return BATCH

    return work, {"parameters": peers.count(unet), "forward_flops": flops, "batch": BATCH}


CONTESTANTS = {
    "maquette": maquette(*SAME_SIZE),
    "maquette, as many operations": maquette(*SAME_OPERATIONS),
    "diffusers": diffusers,
}
