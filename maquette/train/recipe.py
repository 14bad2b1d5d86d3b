"""A recipe: the typed tree that names everything a run is made of."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from maquette.core.config import Config
from maquette.core.devices import Layout, Precision
from maquette.core.errors import MaquetteError, Phrase
from maquette.data.source import Data
from maquette.media.base import MediumConfig
from maquette.models.base import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Optimizer(Config):
    """How one player's weights move."""

    name: Literal["adamw", "sgd", "rmsprop", "adagrad", "muon"] = "adamw"
    """muon moves the matrices, with AdamW for everything that is not a matrix."""
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's; for sgd and muon the first is the momentum, for rmsprop the second is the smoothing;
    adagrad has none."""
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """What the rate does after warm-up, over the rest of the budget."""
    warmup: float = 0.0
    """Share of the budget over which the rate rises from 0."""
    final: float = 0.0
    """The last rate as a share of `lr`, for linear and cosine."""
    history: float = 0.0
    """Weight of the squared distance from the mean of all past weights (historical averaging, Salimans et al. 2016,
    section 3.3): keeps players of a game from circling each other. Its gradient comes after clipping."""

    def __post_init__(self) -> None:
        self.check(self.lr > 0, "lr", "a positive number")
        self.check(self.history >= 0, "history", "0 or a positive number")
        self.check(0 <= self.warmup < 1, "warmup", "in [0, 1)")
        self.check(0 <= self.final <= 1, "final", "in [0, 1]")
        self.check(all(0 <= b < 1 for b in self.betas), "betas", "two numbers in [0, 1)")

    def rate(self, progress: float) -> float:
        """The learning rate at `progress` in [0, 1]."""
        if progress < self.warmup:
            return self.lr * progress / self.warmup if progress > 0 else self.lr * 1e-3
        done = min(1.0, (progress - self.warmup) / (1 - self.warmup))
        share = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[self.schedule]
        return self.lr * (share if self.schedule == "constant" else self.final + (1 - self.final) * share)


@dataclass(frozen=True, kw_only=True)
class Privacy(Config):
    """How much a model may give away of any one item; `train/privacy.py` says what is promised."""

    clip: float = 1.0
    """Largest norm of one item's gradient."""
    noise: float = 1.0
    """Standard deviation of the noise in the sum of a batch's gradients, in units of `clip`."""
    delta: float = 1e-5
    """How likely epsilon may fail to hold; below one in the number of items."""
    key: str = ""
    """What rows and noise are drawn from, 32 hexadecimal digits; "" takes new ones, which the run keeps to itself.
    Whoever knows them can take the noise away."""

    def __post_init__(self) -> None:
        self.check(self.clip > 0, "clip", "a positive number")
        self.check(self.noise > 0, "noise", "a positive number")
        self.check(0 < self.delta < 1, "delta", "a probability in (0, 1)")
        self.check(re.fullmatch("([0-9a-f]{32})?", self.key) is not None, "key", "32 hexadecimal digits")


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps, seconds or epochs."""

    amount: float
    unit: Literal["steps", "s", "epochs"]

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """`2000steps`, `90s`, `10min`, `1h`, `5epochs`."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(steps?|s|sec|seconds?|m|min|minutes?|h|hours?|epochs?)\s*", text)
        if not match or float(match[1]) <= 0:
            wanted = Phrase("like 2000steps, 90s, 10min, 1h or 5epochs", "2000steps、90s、10min、1h 或 5epochs 的形式")
            raise MaquetteError("MQ-2002", path="budget", wanted=wanted, value=repr(text))
        amount, unit = float(match[1]), match[2]
        if unit.startswith("step"):
            return cls(amount, "steps")
        if unit.startswith("epoch"):
            return cls(amount, "epochs")
        return cls(amount * {"s": 1, "m": 60, "h": 3600}[unit[0]], "s")

    def times(self, factor: int) -> str:
        """One that is `factor` times as long, as `parse` reads it."""
        return f"{factor * self.amount:.12g}{self.unit}"


@dataclass(frozen=True, kw_only=True)
class Training(Config):
    """The loop's settings; none of them names a family."""

    budget: str = "2000steps"
    """How long: 2000steps, 90s, 10min, 1h or 5epochs. A steps budget is exactly repeatable."""
    batch: int = 64
    """Samples per step, over all ranks."""
    parts: int = 1
    """Gradient accumulation: the batch is taken in this many shares."""
    optimizers: dict[str, Optimizer] = field(default_factory=dict)
    """One per player; a player that is not named takes AdamW's defaults."""
    clip: float = 0.0
    """Largest norm of a player's gradient; 0 does not clip."""
    privacy: Privacy | None = None
    """Private training (DP-SGD), as {clip: 1, noise: 1, delta: 1e-5}; none is not private."""
    frozen: tuple[str, ...] = ()
    """Names of parameters that stay as they are, * standing for any part: ["table.*", "net.blocks.0.*"]."""
    ema: float = 0.999
    """Decay of the averaged weights that samples are drawn from, reached after about 9 / (1 - ema) steps (9000 for
    0.999); 0 keeps no average."""
    precision: Precision = "fp32"
    layout: Layout = "contiguous"
    device: str = "auto"
    seed: int = 0
    samples: int = 64
    """How many samples each sheet shows, always from the same noise."""
    sample_every: float = 0.1
    """A sheet of samples after each such share of the budget."""
    validate_every: float = 0.1
    """Held-out loss and warnings after each such share of the budget."""
    checkpoint_every: float = 0.1
    """A checkpoint after each such share of the budget, and at the end."""
    keep: int = 2
    """How many checkpoints are kept."""
    best: bool = False
    """Whether the bundle is that of the lowest held-out loss, not the last: for data soon learnt by heart. The rows
    that choose are of the test split, which flatters what is then reported of it; reports say so."""

    def __post_init__(self) -> None:
        Budget.parse(self.budget)
        self.check(self.batch > 0, "batch", "a positive whole number")
        self.check(self.parts > 0 and self.batch % self.parts == 0, "parts", "a divisor of batch")
        self.check(0 <= self.ema < 1, "ema", "in [0, 1)")
        self.check(self.keep >= 2, "keep", "at least 2")
        self.check(not (self.privacy and self.best), "best", "false in private training, where choosing costs too")
        for name in ("sample_every", "validate_every", "checkpoint_every"):
            self.check(0 < getattr(self, name) <= 1, name, "a share of the budget in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class Teacher(Config):
    """A trained model whose beliefs are learnt beside the data (distillation, Hinton et al. 2015)."""

    source: str
    """Its run or bundle: of the same medium, codec and labels. The run keeps a copy, the bundle nothing of it."""
    temperature: float = 2.0
    """T of the loss T^2 KL(teacher || student), both made softer by it: at more than 1 unlikely tokens say more."""
    share: float = 0.5
    """Of the loss; the rest is the data's. 1 learns from the teacher alone."""

    def __post_init__(self) -> None:
        self.check(0 < self.temperature < math.inf, "temperature", "a positive number")
        self.check(0 < self.share <= 1, "share", "in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class Recipe(Config):
    """What a run is made of. `maquette show RECIPE` prints it resolved, with these sentences."""

    data: Data
    medium: MediumConfig
    codec: str = ""
    """What stands between medium and model: quantise (values as tokens), interleave (the same, the channels of each
    place together), for sound mulaw (256 tokens a sample) or mel (log-mel spectrograms, which Griffin-Lim turns back),
    or the path of an autoencoder's run or bundle, whose codes the model learns. The run keeps a copy of it."""
    model: ModelConfig
    teacher: Teacher | None = None
    train: Training = field(default_factory=Training)
