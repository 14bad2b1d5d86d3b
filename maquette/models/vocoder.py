"""A vocoder: sound from its log-mel spectrogram, by a game (HiFi-GAN, Kong et al. 2020).

    critics:      sum_k E (D_k(x) - 1)^2 + E D_k(G(s))^2,     s = mel(x)
    generator:    sum_k E (D_k(G(s)) - 1)^2 + 2 sum_k sum_i E |D_k^i(x) - D_k^i(G(s))| + 45 E |s - mel(G(s))|

(their equations 1 to 4, D_k^i being the i-th layer of critic k, spectrograms in nats). A critic looks at the sound
folded to rows of p samples, so that samples p apart stand under each other; there is one for each of several p, and one
looks at the sound as it is, averaged over pairs.

The generator is that of Vocos (Siuzdak 2023): blocks of ConvNeXt (Liu et al. 2022) at the pace of frames, the last of
which says a magnitude and a phase for each frequency, and the inverse transform. Nothing is computed at the pace of
samples, which on a processor makes it many times faster than HiFi-GAN's own.

It encodes as codec `mel` does and decodes by its generator: a model of spectrograms behind it is heard through it.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from maquette.codecs import mel
from maquette.core import spectra
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Autoencoder, Batch, Condition, Predictor, Real, Sampling, Space, Stats, Turn
from maquette.models.base import Model, ModelConfig, refuse_space

NATS = (math.log(spectra.TOP) - math.log(spectra.FLOOR)) / 2
"""Nats of magnitude in one unit of a spectrogram's values."""
LOUDEST = math.log(2.0)
"""No frequency's magnitude is made louder than this, in nats: that of a sine of full scale is 0."""

Sound = Float[Tensor, "b 1 l"]
Spectrogram = Float[Tensor, "b 1 bands t"]
Maps = list[Float[Tensor, "b _ _ _"]]


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A generator of sound from spectrograms, and its critics."""

    takes: ClassVar[tuple[str, ...]] = ()

    rate: int = 8000
    """Of the sound, samples a second: it decides what its spectrograms are, as it does for codec `mel`."""
    width: int = 192
    """Of the generator's frames."""
    blocks: int = 6
    """Of the generator."""
    periods: tuple[int, ...] = (2, 3, 5)
    """Of the rows that critics fold the sound to; one more critic looks at the sound as it is."""
    critic_width: int = 16
    """Channels of a critic's first layer; each further layer has twice as many, at most 8 times this."""
    likeness: float = 45.0
    """Weight of the distance between spectrograms, in nats."""
    features: float = 2.0
    """Weight of the distance between what critics see in real and made sound."""

    def __post_init__(self) -> None:
        for name in ("rate", "width", "blocks", "critic_width"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        good = len(set(self.periods)) == len(self.periods) and all(2 <= p <= 64 for p in self.periods)
        self.check(good, "periods", "different whole numbers from 2 to 64")
        for name in ("likeness", "features"):
            self.check(getattr(self, name) >= 0, name, "0 or a positive number")

    def at(self, rate: int) -> None:
        if rate != self.rate:
            reason, todo = f"the medium's sound is of rate {rate}", f"set model.rate={rate}"
            raise MaquetteError("MQ-2009", path="model.rate", value=self.rate, reason=reason, todo=todo)

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test: of a rate so low that sixteen samples are four frames."""
        return cls(rate=250, width=16, blocks=1, periods=(2,), critic_width=4)

    def build(self, space: Space, classes: int = 0) -> "Vocoder":
        if not isinstance(space, Real) or len(space.shape) != 2 or space.shape[0] != 1:
            raise refuse_space("vocoder", "mono sound", space, "set medium.channels=1, or take another kind")
        return Vocoder(self, space)


class Vocoder(Model, Autoencoder):
    """Two players. Its codes are spectrograms; who makes spectrograms is a second model, behind this one as codec."""

    accepts = (Real,)

    def __init__(self, config: Config, space: Real):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes = 0
        self.mel = mel.Mel(space, config.rate)
        self.latent = Real(self.mel.space.shape)
        self.generator = Generator(config, self.mel)
        self.critic = nn.ModuleList(Critic(config.critic_width, period) for period in (1, *config.periods))

    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def turns(self) -> list[Turn]:
        return [Turn("critic", self.critic_loss), Turn("generator", self.generator_loss)]

    def critic_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        x = batch.x.float()
        with torch.no_grad():
            made = self.generator(self.mel.encode(x))
        both = [critic(torch.cat([x, made]))[-1].float().chunk(2) for critic in self.critic]
        loss = torch.stack([(real - 1).square().mean() + fake.square().mean() for real, fake in both]).sum()
        scores = torch.stack([torch.stack([real.mean(), fake.mean()]) for real, fake in both]).mean(0).detach()
        return loss, {"real_score": scores[0], "made_score": scores[1]}

    def generator_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        x = batch.x.float()
        wanted = self.mel.encode(x)
        made = self.generator(wanted)
        unlike = NATS * (self.mel.encode(made) - wanted).abs().mean()
        game, seen = [], []
        for critic in self.critic:
            with torch.no_grad():
                real = critic(x)
            fake = critic(made)
            game.append((fake[-1].float() - 1).square().mean())
            seen += [(a.float() - b.float()).abs().mean() for a, b in zip(real[:-1], fake[:-1], strict=True)]
        game, features = torch.stack(game).sum(), torch.stack(seen).sum()
        loss = game + self.config.features * features + self.config.likeness * unlike
        stats = {"game": game.detach(), "features": features.detach(), "unlike": unlike.detach()}
        return loss, stats

    def encode(self, x: Sound) -> Spectrogram:
        return self.mel.encode(x)

    def decode(self, z: Spectrogram) -> Sound:
        return self.generator(z.float()).clamp(-1, 1)

    def unlearnt(self, x: Sound) -> dict[str, Sound]:
        return {"Griffin-Lim": self.mel.decode(self.encode(x))}

    def predictor(self, condition: Condition) -> Predictor:
        """Spectrograms [b, 1, bands, t] -> sound [b, 1, l]."""
        return self.decode

    def start(self, n: int, how: Sampling, rng: Seeds) -> Spectrogram:
        """Spectrograms of even chances: what is made of them shows its marks, and is no sound of anything."""
        return rng.uniform(*self.latent.shape) * 2 - 1

    def draw(self, predict: Predictor, start: Spectrogram, how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)


# -- the generator -----------------------------------------------------------------------------------------------------


class Generator(nn.Module):
    """Frames of bands -> frames of frequencies -> sound."""

    hann: Tensor

    def __init__(self, config: Config, codec: mel.Mel):
        super().__init__()
        self.length, bands, width = codec.length, codec.sizes.bands, config.width
        self.register_buffer("hann", codec.hann.clone(), persistent=False)
        self.enter = nn.Conv1d(bands, width, 7, padding=3)
        self.blocks = nn.ModuleList(Block(width, 1 / config.blocks) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.leave = nn.Linear(width, 2 * (codec.sizes.window // 2 + 1))

    def forward(self, z: Spectrogram) -> Sound:
        h = self.enter(z.squeeze(1))
        for block in self.blocks:
            h = block(h)
        magnitude, phase = self.leave(self.norm(h.mT)).float().chunk(2, dim=2)
        said = torch.polar(magnitude.clamp(max=LOUDEST).exp(), phase)
        return spectra.istft(said, self.hann, self.length).unsqueeze(1)


class Block(nn.Module):
    """h + gamma mlp(norm(depthwise convolution of h)), gamma small at first (Liu et al. 2022, section 2)."""

    def __init__(self, width: int, gamma: float):
        super().__init__()
        self.near = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), gamma))

    def forward(self, h: Float[Tensor, "b w t"]) -> Float[Tensor, "b w t"]:
        return h + (self.gamma * self.down(F.gelu(self.up(self.norm(self.near(h).mT))))).mT


# -- the critics -------------------------------------------------------------------------------------------------------


class Critic(nn.Module):
    """What it sees in each layer, and its scores last: of sound folded to rows of `period` samples, or of pairs of
    samples averaged for period 1."""

    def __init__(self, width: int, period: int):
        super().__init__()
        self.period = period
        widths = [1, *(min(width << i, 8 * width) for i in range(4))]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (3, 1), (2, 0)))
            for before, after in zip(widths[:-1], widths[1:], strict=True)
        )
        self.say = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, x: Sound) -> Maps:
        if self.period == 1:
            h = F.avg_pool1d(x, 2, ceil_mode=True).unsqueeze(3)
        else:
            h = F.pad(x, (0, -x.shape[2] % self.period)).unflatten(2, (-1, self.period))
        seen = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.1)
            seen.append(h)
        return [*seen, self.say(h)]
