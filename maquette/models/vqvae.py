"""Samples as grids of whole numbers: VQ-VAE (van den Oord et al. 2017) and FSQ (Mentzer et al. 2023).

VQ: each vector z of the encoder's grid becomes the nearest entry e of a codebook; gradients pass straight through:

    |x - decode(z + sg[e - z])|^2 / data_std^2 + |sg[z] - e|^2 + commitment |z - sg[e]|^2           (their equation 3)

The middle term is replaced by moving averages of the vectors that take each entry (their appendix A.1) unless `decay`
is 0. An entry that nothing takes begins anew at a vector of the encoder's (Dhariwal et al. 2020, section 3.1); so do
all at the first step, since a codebook far from the encoder's small outputs does not learn.

With several codebooks each takes what the ones before it leave over, and the decoder gets the sum of their entries
(residual VQ, Zeghidour et al. 2021, algorithm 1): n books of k entries tell up to k^n vectors apart.

FSQ: each of a few numbers is bounded and rounded to one of a few levels, and their combination is the code. There is
no codebook to learn, so there is none to lose.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from maquette.core.seeds import Seeds
from maquette.core.types import (
    Autoencoder,
    Batch,
    Condition,
    Given,
    Predictor,
    Real,
    Sampling,
    Space,
    Stats,
    Tokens,
    Turn,
)
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.nets import resnet
from maquette.nets.base import NetConfig
from maquette.nets.conditioning import LabelEmbedder
from maquette.nets.dims import everywhere

DEAD = 0.03
"""An entry that is taken less often than this share of an even use begins anew."""


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """An encoder, a quantiser and a decoder."""

    search = {"commitment": 4.0}

    encoder: NetConfig = field(default_factory=resnet.Config)
    decoder: NetConfig = field(default_factory=resnet.Config)
    quantiser: Literal["vq", "fsq"] = "vq"
    factor: int = 4
    """Values on a side of the block that one code stands for."""
    entries: int = 512
    """Of vq's codebook."""
    books: int = 1
    """Of vq: codebooks one after another, each of what the ones before it leave over; so many codes for each block."""
    width: int = 16
    """Of each entry."""
    commitment: float = 0.25
    """How strongly vq's encoder is held to the entries that it takes."""
    decay: float = 0.99
    """Of the averages that vq's entries follow; 0 learns them by gradient."""
    levels: tuple[int, ...] = (8, 8, 8)
    """Of fsq's numbers; the codes are as many as their product."""
    data_std: float = 0.5
    """About the standard deviation of the data, in units of which errors are counted."""
    label_width: int = 64
    """Of the vector that tells a conditional network its label."""
    label_drop: float = 0.1
    """Share of training rows without their label; codes are those of no label."""

    def __post_init__(self) -> None:
        for name in ("factor", "entries", "books", "width", "label_width"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(self.commitment >= 0, "commitment", "0 or a positive number")
        self.check(0 <= self.decay < 1, "decay", "in [0, 1)")
        self.check(len(self.levels) > 0 and min(self.levels) > 2, "levels", "a list of whole numbers above 2")
        self.check(math.prod(self.levels) <= 1 << 20, "levels", "whole numbers with a product of at most 2^20")
        self.check(self.data_std > 0, "data_std", "a positive number")
        self.check(0 <= self.label_drop < 1, "label_drop", "in [0, 1)")

    def build(self, space: Space, classes: int = 0) -> "VQVAE":
        if not isinstance(space, Real) or len(space.shape) < 2 or any(side % self.factor for side in space.shape[1:]):
            hint = f"{self.factor} is model.factor; choose another, or another kind"
            raise refuse_space("vqvae", f"samples with sides that {self.factor} divides", space, hint)
        return VQVAE(self, space, classes)

    def rounder(self) -> "VQ | RVQ | FSQ":
        if self.quantiser == "fsq":
            return FSQ(self.levels)
        each = (self.entries, self.width, self.commitment, self.decay)
        return VQ(*each) if self.books == 1 else RVQ(self.books, *each)


# -- quantisers: a grid of vectors -> a grid of numbers, and what the decoder gets -------------------------------------


class VQ(nn.Module):
    """The nearest entry of a codebook."""

    codebook: Tensor
    usage: Tensor
    sums: Tensor
    taken: Tensor
    gathered: Tensor
    seen: Tensor

    def __init__(self, entries: int, width: int, commitment: float, decay: float):
        super().__init__()
        self.size, self.width, self.commitment, self.decay = entries, width, commitment, decay
        book = torch.randn(entries, width)
        if decay:
            self.register_buffer("codebook", book)
            self.register_buffer("sums", torch.zeros(entries, width))
        else:
            self.codebook = nn.Parameter(book)
        self.register_buffer("usage", torch.zeros(entries))  # the share of vectors that took each entry, averaged
        # of the step that is being taken:
        self.register_buffer("taken", torch.zeros(entries), persistent=False)
        self.register_buffer("gathered", torch.zeros(entries, width), persistent=False)
        self.register_buffer("seen", torch.zeros(entries, width), persistent=False)

    def numbers(self, z: Float[Tensor, "b d *grid"]) -> Int[Tensor, "b *grid"]:
        """argmin |z - e|^2, in fp32: |z|^2 is the same for every entry."""
        with torch.autocast(z.device.type, enabled=False):
            book = self.codebook.detach()
            flat = z.detach().float().movedim(1, -1).flatten(0, -2)
            distance = torch.addmm(book.square().sum(1), flat, book.T, alpha=-2)
        return distance.argmin(1).view(len(z), *z.shape[2:])

    def vectors(self, numbers: Int[Tensor, "b *grid"]) -> Float[Tensor, "b d *grid"]:
        return self.codebook[numbers].movedim(-1, 1)

    def forward(
        self, z: Float[Tensor, "b d *grid"], rng: Seeds
    ) -> tuple[Float[Tensor, "b d *grid"], Int[Tensor, "b *grid"], Float[Tensor, ""]]:
        """What the decoder gets, its numbers, and the terms of the loss that concern the codebook."""
        z = z.float()
        numbers = self.numbers(z)
        e = self.vectors(numbers)
        if self.training:
            self._watch(z.detach(), numbers, rng)
        loss = self.commitment * _distance(z, e.detach())
        if not self.decay:
            loss = loss + _distance(z.detach(), e)
        return z + (e - z).detach(), numbers, loss

    @torch.no_grad()
    def _watch(self, z: Float[Tensor, "b d *grid"], numbers: Int[Tensor, "b *grid"], rng: Seeds) -> None:
        """Note what this step's vectors take, and some of them as candidates for dead entries."""
        flat, index = z.flatten(2).movedim(1, 2), numbers.flatten()  # [b, places, d]
        self.taken.index_add_(0, index, torch.ones_like(index, dtype=self.taken.dtype))
        self.gathered.index_add_(0, index, flat.flatten(0, 1))
        each = -(-self.size // len(flat))
        place = (rng.uniform(each) * flat.shape[1]).long()
        chosen = flat.gather(1, place[..., None].expand(-1, -1, self.width))
        self.seen.copy_(chosen.transpose(0, 1).flatten(0, 1)[: self.size])  # neighbours are of different samples

    @torch.no_grad()
    def follow(self) -> None:
        """Move the codebook after a step, on all ranks alike."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(self.taken)
            dist.all_reduce(self.gathered)
            dist.broadcast(self.seen, 0)
        total = self.taken.sum().clamp(min=1)
        fresh, keep = self.usage.sum() == 0, self.decay or 0.99
        self.usage.mul_(keep).add_(self.taken / total, alpha=1 - keep)
        if self.decay:
            self.sums.mul_(keep).add_(self.gathered / total, alpha=1 - keep)
            self.codebook.copy_(self.sums / self.usage.clamp(min=1e-8)[:, None])
        dead = fresh | (self.usage < DEAD / self.size)
        self.usage.masked_fill_(dead, 1 / self.size)
        self.codebook.copy_(torch.where(dead[:, None], self.seen, self.codebook))
        if self.decay:
            self.sums.copy_(torch.where(dead[:, None], self.seen / self.size, self.sums))
        for part in (self.taken, self.gathered):
            part.zero_()


class RVQ(nn.Module):
    """Codebooks one after another. Their numbers stand in a row, those of book i from i times `entries` on, coarse ones
    first; where it stands says which book a number is of, so that any number means something."""

    books: list[VQ]

    def __init__(self, books: int, entries: int, width: int, commitment: float, decay: float):
        super().__init__()
        self.entries, self.size, self.width = entries, books * entries, width
        each = (VQ(entries, width, commitment, decay) for _ in range(books))
        self.books = nn.ModuleList(each)  # type: ignore[assignment]

    def numbers(self, z: Float[Tensor, "b d *grid"]) -> Int[Tensor, "b books *grid"]:
        left, found = z.detach().float(), []
        for book in self.books:
            found.append(book.numbers(left))
            left = left - book.vectors(found[-1]).detach()
        return self._row(found)

    def vectors(self, numbers: Int[Tensor, "b books *grid"]) -> Float[Tensor, "b d *grid"]:
        rows = (numbers % self.entries).unbind(1)
        return torch.stack([book.vectors(row) for book, row in zip(self.books, rows, strict=True)]).sum(0)

    def forward(
        self, z: Float[Tensor, "b d *grid"], rng: Seeds
    ) -> tuple[Float[Tensor, "b d *grid"], Int[Tensor, "b books *grid"], Float[Tensor, ""]]:
        z = z.float()
        left, found, losses = z, [], []
        for place, book in enumerate(self.books):
            _, number, loss = book(left, rng.fork(place))
            left = left - book.vectors(number).detach()
            found.append(number)
            losses.append(loss)
        return z - left.detach(), self._row(found), torch.stack(losses).sum()

    def _row(self, found: list[Tensor]) -> Int[Tensor, "b books *grid"]:
        return torch.stack([number + place * self.entries for place, number in enumerate(found)], 1)

    @torch.no_grad()
    def follow(self) -> None:
        """As each does; one begins anew until the book before it has begun, whose leavings are no use before."""
        fresh = [book.usage.sum() == 0 for book in self.books]
        for book in self.books:
            book.follow()
        for before, book in zip(fresh, list(self.books)[1:], strict=False):
            book.usage.masked_fill_(before, 0)


class FSQ(nn.Module):
    """Each number rounded to one of its levels (Mentzer et al. 2023, section 3.1 and appendix A.1)."""

    counts: Tensor
    basis: Tensor

    def __init__(self, levels: tuple[int, ...]):
        super().__init__()
        self.size, self.width = math.prod(levels), len(levels)
        counts = torch.tensor(levels)
        self.register_buffer("counts", counts[None], persistent=False)
        basis = torch.cat([torch.ones(1, dtype=torch.int64), counts[:-1].cumprod(0)])
        self.register_buffer("basis", basis[None], persistent=False)

    def numbers(self, z: Float[Tensor, "b d *grid"]) -> Int[Tensor, "b *grid"]:
        counts, basis = everywhere(self.counts, z), everywhere(self.basis, z)
        return ((self._bounded(z.detach().float()).round().long() + counts // 2) * basis).sum(1)

    def vectors(self, numbers: Int[Tensor, "b *grid"]) -> Float[Tensor, "b d *grid"]:
        """Levels of each number, in [-1, 1]."""
        numbers = numbers[:, None]
        counts, basis = everywhere(self.counts, numbers), everywhere(self.basis, numbers)
        level = numbers // basis % counts - counts // 2
        return level / (counts // 2).float()

    def forward(
        self, z: Float[Tensor, "b d *grid"], rng: Seeds
    ) -> tuple[Float[Tensor, "b d *grid"], Int[Tensor, "b *grid"], Float[Tensor, ""]]:
        bounded = self._bounded(z.float())
        rounded = bounded + (bounded.round() - bounded).detach()
        return rounded / (everywhere(self.counts, z) // 2), self.numbers(z), bounded.new_zeros(())

    def _bounded(self, z: Float[Tensor, "b d *grid"]) -> Float[Tensor, "b d *grid"]:
        """Such that rounding gives as many whole numbers as there are levels, 0 in their middle; 0 stays 0."""
        counts = everywhere(self.counts, z)
        half = (counts - 1) * (1 - 1e-3) / 2
        offset = torch.where(counts % 2 == 0, 0.5, 0.0)
        return torch.tanh(z + torch.atanh(offset / half)) * half - offset

    def follow(self) -> None:
        """There is no codebook."""


def _distance(one: Float[Tensor, "b d *grid"], other: Float[Tensor, "b d *grid"]) -> Float[Tensor, ""]:
    """Squared distance of vectors, a mean over places."""
    return (one - other).square().sum(1).mean()


# -- the model ---------------------------------------------------------------------------------------------------------


class VQVAE(Model, Autoencoder):
    """Its predictor is codes -> samples. Who draws the codes well is a second model, behind this one as its codec."""

    accepts = (Real,)

    def __init__(self, config: Config, space: Real, classes: int):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes = classes
        self.quantiser = config.rounder()
        sides = tuple(side // config.factor for side in space.shape[1:])
        places = (config.books, *sides) if isinstance(self.quantiser, RVQ) else sides
        self.latent: Tokens = Tokens(places, self.quantiser.size)  # pyright: ignore[reportIncompatibleVariableOverride]
        grid = (self.quantiser.width, *sides)
        self.embed = LabelEmbedder(classes, config.label_width, config.label_drop)
        self.encoder = config.encoder.build(space.shape, grid, self.embed.width)
        self.decoder = config.decoder.build(grid, space.shape, self.embed.width)

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Squared error in units of the data's variance, a mean over all values, and what the quantiser adds."""
        condition = self.embed(batch.given, len(batch), batch.rng.fork(0))
        z = self.encoder(batch.x.float(), condition=condition)
        e, numbers, quantising = self.quantiser(z, batch.rng.fork(1))
        error = (self.decoder(e, condition=condition).float() - batch.x).square().mean() / self.config.data_std**2
        stats = {"reconstruction": error.detach(), "quantising": quantising.detach()}
        return error + quantising, stats | use(numbers, self.latent.vocab)

    def after_step(self, step: int) -> None:
        self.quantiser.follow()

    def encode(self, x: Float[Tensor, "b *space"]) -> Int[Tensor, "b *grid"]:
        """Of a conditional model, without a label; as `decode`."""
        return self.quantiser.numbers(self.encoder(x.float(), condition=self.condition(Given(), len(x))))

    def decode(self, z: Int[Tensor, "b *grid"]) -> Float[Tensor, "b *space"]:
        return self.predictor(self.condition(Given(), len(z)))(z)

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """Codes [b, *latent.shape] -> samples [b, *space.shape]."""

        def predict(z: Int[Tensor, "b *grid"]) -> Float[Tensor, "b *space"]:
            return self.decoder(self.quantiser.vectors(z), condition=condition).float().clamp(-1, 1)

        return predict

    def start(self, n: int, how: Sampling, rng: Seeds) -> Int[Tensor, "n *grid"]:
        """Codes of even chances: what the decoder makes of them shows its marks, and no sample."""
        return rng.integers(self.latent.vocab, *self.latent.shape)

    def draw(self, predict: Predictor, start: Int[Tensor, "n *grid"], how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)


def use(numbers: Int[Tensor, "b *grid"], size: int) -> Stats:
    """The share of the codes that occur in this batch, and their perplexity, exp(-sum p log p)."""
    p = torch.bincount(numbers.flatten(), minlength=size) / numbers.numel()
    return {"used": (p > 0).float().mean(), "perplexity": torch.special.entr(p).sum().exp()}
