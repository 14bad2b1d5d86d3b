"""The Inception-v3 network of the published Fréchet distances (Szegedy et al. 2015; weights of 2015-12-05).

It is the network of TensorFlow's classifier of that date and differs from the usual one in three places: average pools
leave out the padding, the last block takes a maximum instead, and there are 1008 classes. Names are those of the
well-known converted file, so that its weights fit as they are. Input follows the reference too: 299 x 299 by
TensorFlow 1's bilinear rule, which puts pixel i at i * scale (corners aligned to the left), without antialiasing.

The weights are not ours to give. `maquette.evaluate.importer` converts a file that a person has.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299
FEATURES = 2048
CLASSES = 1008
RESIZE = "299x299, bilinear as in TensorFlow 1, no antialiasing"

Maps = Float[Tensor, "b _ _ _"]


class Conv(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, source: int, target: int, kernel: int | tuple[int, int], stride: int = 1, same: bool = True):
        super().__init__()
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (kernel[0] // 2, kernel[1] // 2) if same else 0
        self.conv = nn.Conv2d(source, target, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(target, eps=0.001)

    def forward(self, x: Maps) -> Maps:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _average(x: Maps) -> Maps:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Maps) -> Maps:
    return F.max_pool2d(x, 3, stride=1, padding=1)


class BlockA(nn.Module):
    """35 x 35: 1x1, 5x5, double 3x3 and pooled branches (paper, figure 5)."""

    def __init__(self, source: int, pooled: int):
        super().__init__()
        self.branch1x1 = Conv(source, 64, 1)
        self.branch5x5_1 = Conv(source, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5)
        self.branch3x3dbl_1 = Conv(source, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3)
        self.branch_pool = Conv(source, pooled, 1)

    def forward(self, x: Maps) -> Maps:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat(
            [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(_average(x))], 1
        )


class BlockB(nn.Module):
    """35 x 35 -> 17 x 17."""

    def __init__(self, source: int):
        super().__init__()
        self.branch3x3 = Conv(source, 384, 3, stride=2, same=False)
        self.branch3x3dbl_1 = Conv(source, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2, same=False)

    def forward(self, x: Maps) -> Maps:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], 1)


class BlockC(nn.Module):
    """17 x 17: factorised 7x7 branches (paper, figure 6)."""

    def __init__(self, source: int, inner: int):
        super().__init__()
        self.branch1x1 = Conv(source, 192, 1)
        self.branch7x7_1 = Conv(source, inner, 1)
        self.branch7x7_2 = Conv(inner, inner, (1, 7))
        self.branch7x7_3 = Conv(inner, 192, (7, 1))
        self.branch7x7dbl_1 = Conv(source, inner, 1)
        self.branch7x7dbl_2 = Conv(inner, inner, (7, 1))
        self.branch7x7dbl_3 = Conv(inner, inner, (1, 7))
        self.branch7x7dbl_4 = Conv(inner, inner, (7, 1))
        self.branch7x7dbl_5 = Conv(inner, 192, (1, 7))
        self.branch_pool = Conv(source, 192, 1)

    def forward(self, x: Maps) -> Maps:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_average(x))], 1)


class BlockD(nn.Module):
    """17 x 17 -> 8 x 8."""

    def __init__(self, source: int):
        super().__init__()
        self.branch3x3_1 = Conv(source, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, stride=2, same=False)
        self.branch7x7x3_1 = Conv(source, 192, 1)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1))
        self.branch7x7x3_4 = Conv(192, 192, 3, stride=2, same=False)

    def forward(self, x: Maps) -> Maps:
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), long, F.max_pool2d(x, 3, stride=2)], 1)


class BlockE(nn.Module):
    """8 x 8: widened branches (paper, figure 7). The last one of the network pools by `maximum`."""

    def __init__(self, source: int, maximum: bool):
        super().__init__()
        self.pool = _maximum if maximum else _average
        self.branch1x1 = Conv(source, 320, 1)
        self.branch3x3_1 = Conv(source, 384, 1)
        self.branch3x3_2a = Conv(384, 384, (1, 3))
        self.branch3x3_2b = Conv(384, 384, (3, 1))
        self.branch3x3dbl_1 = Conv(source, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1))
        self.branch_pool = Conv(source, 192, 1)

    def forward(self, x: Maps) -> Maps:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        wide = [self.branch3x3_2a(single), self.branch3x3_2b(single)]
        wide += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *wide, self.branch_pool(self.pool(x))], 1)


class InceptionV3(nn.Module):
    """Pictures in [-1, 1] -> 2048 features of the last pool, and 1008 logits."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2, same=False)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, same=False)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, same=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c = BlockC(768, 128), BlockC(768, 160)
        self.Mixed_6d, self.Mixed_6e = BlockC(768, 160), BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, maximum=False), BlockE(2048, maximum=True)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Maps) -> tuple[Float[Tensor, "b 2048"], Float[Tensor, "b 1008"]]:
        """Features and logits of pictures [b, 1 or 3, h, w] in [-1, 1]; grey is repeated.

        The bias of the last layer is left out, as the Inception score's reference does.
        """
        # the reference takes (v - 128) / 128 of 8-bit values, a hair off the usual v / 127.5 - 1
        x = (resize(x.expand(-1, 3, -1, -1)) + 1) * (127.5 / 128) - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, stride=2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        features = x.mean((2, 3))
        return features, features @ self.fc.weight.T


def resize(x: Maps, side: int = SIDE) -> Maps:
    """TensorFlow 1's bilinear resize to `side` x `side`: output pixel i stands at i * (input / output)."""
    down, across = (_weights(length, side, x) for length in x.shape[2:])
    return down @ x @ across.T


def _weights(source: int, target: int, like: Tensor) -> Float[Tensor, "target source"]:
    """The matrix of a 1-D resize: two neighbours weigh in each output pixel."""
    at = torch.arange(target, dtype=torch.float64) * (source / target)
    left = at.floor().long().clamp(max=source - 1)
    right, share = (left + 1).clamp(max=source - 1), (at - left).unsqueeze(1)
    rows = F.one_hot(left, source) * (1 - share) + F.one_hot(right, source) * share
    return rows.to(like.device, like.dtype)
