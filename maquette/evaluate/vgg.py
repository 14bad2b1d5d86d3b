"""The convolutions of VGG-19 (Simonyan and Zisserman 2014), whose maps style transfer was first made with.

The weights are not ours to give. Who has torchvision's file `vgg19-dcbb9e9d.pth` converts it once, by the importer that
opens such files in a child process.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core import files
from maquette.core.errors import MaquetteError

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)
"""Channels of the convolutions up to conv5_1; 0 is a pool of 2 x 2."""
HEARD = (0, 2, 4, 8, 12)
"""Which of the convolutions are heard: conv1_1, conv2_1, conv3_1, conv4_1 and conv5_1, as in Gatys et al. (2016)."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pictures that it learnt from, values in [0, 1]."""


class VGG19(nn.Module):
    """Pictures in [-1, 1], grey or RGB -> maps after the ReLU of five layers, pooled by averages as the paper says.

    Names are those of torchvision's `features`, so that its weights fit as they are.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()] if width else [nn.AvgPool2d(2)]
            before = width or before
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> list[Tensor]:
        x = ((x.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.deviation
        maps = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        return [maps[number] for number in HEARD]


def read_vgg(path: Path | str) -> tuple[VGG19, str]:
    """The network with the weights at `path` (safetensors, as the importer writes them), and their SHA-256.

    Raises:
        MaquetteError: MQ-7001 when they are not this network's.
    """
    data = files.read_file(path, 256 << 20)
    tensors = files.read_tensors(Path(path), data)
    network = VGG19()
    wanted = network.state_dict()
    for name, weight in wanted.items():
        if name not in tensors or tensors[name].shape != weight.shape or not tensors[name].isfinite().all():
            todo = "give torchvision's vgg19-dcbb9e9d.pth, whole and unchanged"
            raise MaquetteError("MQ-7001", str(path), reason=f"{name} is not that of VGG-19", todo=todo)
    network.load_state_dict({name: tensors[name] for name in wanted})
    return network.eval().requires_grad_(False), files.digest(data)
