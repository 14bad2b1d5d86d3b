"""VGGish, the network of published Fréchet audio distances (Hershey et al. 2017; Kilgour et al. 2019).

It looks at pieces of 0.96 s: 96 log-mel spectra, 10 ms apart, of sound at 16 kHz. Frequencies are on the mel scale of
HTK here, windows are 25 ms long and not centred, and a hundredth is added before the logarithm, all as its authors
published them; a distance is taken of the 128 numbers before any activation, quantisation or whitening. Names are those
of the well-known converted file, so that its weights fit as they are.

The weights are not ours to give. `maquette.evaluate.importer` converts a file that a person has.
"""

import math
from functools import cache

import torch
from jaxtyping import Float
from scipy.signal import resample_poly
from torch import Tensor, nn
from torch.nn import functional as F

RATE = 16_000
WINDOW, HOP, POINTS = 400, 160, 512
"""Of each spectrum: samples that are windowed, samples to the next, points of its Fourier transform."""
FRAMES, BANDS = 96, 64
LOW, HIGH = 125.0, 7500.0
"""Hertz, of the lowest band's lower and the highest band's upper end."""
OFFSET = 0.01
PIECE = WINDOW + (FRAMES - 1) * HOP
"""Samples that a piece takes."""
WIDTHS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0)
"""Channels of the convolutions; 0 is a pool of 2 x 2."""
WIDE, FEATURES = 4096, 128
RESIZE = "16 kHz, pieces of 0.96 s, the last filled up with silence where there is but one"


class VGGish(nn.Module):
    """Pieces of log-mel spectra -> embeddings."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
            before = width or before
        self.features = nn.Sequential(*layers)
        shrunk = 2 ** WIDTHS.count(0)
        self.embeddings = nn.Sequential(
            nn.Linear(before * (FRAMES // shrunk) * (BANDS // shrunk), WIDE),
            nn.ReLU(),
            nn.Linear(WIDE, WIDE),
            nn.ReLU(),
            nn.Linear(WIDE, FEATURES),
        )

    def forward(self, pieces: Float[Tensor, "b 96 64"]) -> Float[Tensor, "b 128"]:
        # the weights came from TensorFlow, which holds channels last
        return self.embeddings(self.features(pieces[:, None]).permute(0, 2, 3, 1).flatten(1))


def pieces(x: Float[Tensor, "b c n"], rate: int) -> Float[Tensor, "k 96 64"]:
    """What VGGish sees of sounds in [-1, 1]: of each as many whole pieces as it has, those of a sound in a row."""
    x = x.mean(1)
    if rate != RATE:
        part = math.gcd(rate, RATE)
        found = resample_poly(x.cpu().numpy(), RATE // part, rate // part, axis=1, window=("kaiser", 8.6))
        x = torch.from_numpy(found).to(x)
    x = F.pad(x, (0, max(0, PIECE - x.shape[1])))
    windows = x.unfold(1, WINDOW, HOP) * torch.hann_window(WINDOW, device=x.device)
    levels = (torch.fft.rfft(windows, n=POINTS).abs() @ bank().to(x.device) + OFFSET).log()
    whole = levels.shape[1] // FRAMES
    return levels[:, : whole * FRAMES].reshape(-1, FRAMES, BANDS)


@cache
def bank() -> Float[Tensor, "frequencies bands"]:
    """How much each frequency weighs in each band: triangles on HTK's mel scale, their tips 1."""
    frequencies = torch.linspace(0, RATE / 2, POINTS // 2 + 1, dtype=torch.float64)
    at = 1127 * torch.log1p(frequencies / 700)
    low, high = (1127 * math.log1p(end / 700) for end in (LOW, HIGH))
    edges = torch.linspace(low, high, BANDS + 2, dtype=torch.float64)
    left, tip, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (at[:, None] - left) / (tip - left), (right - at[:, None]) / (right - tip)
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[0] = 0  # a constant is no sound
    return weights.float()
