"""Training a diffusion Transformer of the same shape on labelled 32x32 grey pictures in patches of 4, batch 32."""

import torch
from torch import Tensor, nn

from benchmarks import diffusers_peer, ours, peers

TITLE = "DiT training, 32x32 grey, width 192, 6 blocks, batch 32"
UNIT = "images"
PAIRS = [("maquette", "diffusers", 2.0)]
BATCH = 32
SHAPE = [
    "data.conditional=true",
    f"train.batch={BATCH}",
    "model.net={kind: dit, patch: 4, width: 192, depth: 6, heads: 6}",
]


class Told(nn.Module):
    """diffusers' DiT as its loop calls a network; the class costs the same whichever it is."""

    def __init__(self):
        super().__init__()
        from diffusers import DiTTransformer2DModel

        self.dit = DiTTransformer2DModel(
            num_attention_heads=6,
            attention_head_dim=32,
            in_channels=1,
            num_layers=6,
            sample_size=32,
            patch_size=4,
            num_embeds_ada_norm=10,
        )

    def forward(self, x: Tensor, t: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        labels = torch.zeros(len(x), dtype=torch.long)
        return self.dit(x, timestep=t, class_labels=labels, return_dict=return_dict)


def maquette():
    learner = ours.learner("dit", peers.test_data("fashion_mnist"), *SHAPE)
    return lambda: ours.step(learner), ours.facts(learner)


def diffusers():
    items = peers.to_unit(peers.pictures("fashion_mnist", "train", 32, 1)[0])
    network = Told()
    loop = peers.Stepwise(lambda tick: diffusers_peer.ddpm_loop(network, items, BATCH, 1e-4, tick))

    def work() -> int:
        loop.work()
        return BATCH

    return work, {"parameters": peers.count(network), "batch": BATCH}


CONTESTANTS = {"maquette": maquette, "diffusers": diffusers}
