"""Training a VQ-VAE of 256 entries on 32x32 grey pictures, a code for each 4x4 pixels, about as many parameters.

The peer's autoencoder is that of Stable Diffusion with a codebook: group normalisation, attention at the smallest map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import ours, peers
from benchmarks.diffusers_peer import batches

TITLE = "VQ-VAE training, 32x32 grey, 256 entries, batch 64"
UNIT = "images"
PAIRS = [("maquette", "diffusers", 2.0)]
BATCH = 64


def maquette():
    learner = ours.learner("vqvae", peers.test_data("fashion_mnist"), f"train.batch={BATCH}")
    return lambda: ours.step(learner), ours.facts(learner)


def diffusers():
    from diffusers import VQModel

    items = peers.to_unit(peers.pictures("fashion_mnist", "train", 32, 1)[0])
    network = VQModel(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 32),
        latent_channels=16,
        num_vq_embeddings=256,
        norm_num_groups=8,
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    source = iter(batches(items, BATCH))

    def work() -> int:
        x: Tensor = next(source)
        made, commitment = network(x, return_dict=False)
        (F.mse_loss(made, x) + commitment.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        return BATCH

    return work, {"parameters": peers.count(network), "batch": BATCH}


CONTESTANTS = {"maquette": maquette, "diffusers": diffusers}
