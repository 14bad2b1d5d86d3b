"""The suite can fail: a toy model passes every clause, and for each clause there is a toy broken in just that way."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from maquette.core.config import Config, Tree
from maquette.core.seeds import Seeds
from maquette.core.types import (
    Autoencoder,
    Batch,
    Beside,
    Condition,
    Denoiser,
    Given,
    Likelihood,
    Predictor,
    Real,
    Sampling,
    Space,
    Stats,
    Tokens,
    Turn,
)
from maquette.models.base import Model
from maquette.nets.conditioning import LabelEmbedder
from tests.conformance.checks import CHECKS

SPACE = Real((1, 4, 4), levels=256)
COUNTER = itertools.count()


@dataclass(frozen=True, kw_only=True)
class ToyConfig(Config):
    width: int = 8

    def build(self, space: Space, classes: int = 0) -> "Toy":
        return Toy(self, space, classes)

    def fitted(self, space: Space, classes: int, beside: Beside) -> "Toy":
        return self.build(space, classes)


class Toy(Model, Likelihood, Autoencoder):
    """A linear autoencoder that keeps every clause."""

    accepts = (Real,)

    def __init__(self, config: ToyConfig, space: Space, classes: int):
        super().__init__()
        self.config, self.space, self.classes = config, space, classes  # type: ignore[assignment]
        self.latent = Real((config.width,))
        d = torch.Size(space.shape).numel()
        self.embed = LabelEmbedder(classes, 4)
        self.encoder, self.decoder = nn.Linear(d, config.width), nn.Linear(config.width + self.embed.width, d)

    def players(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": nn.ModuleList([self.decoder, self.embed])}

    def turns(self) -> list[Turn]:
        return [Turn("encoder", self.loss), Turn("decoder", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Stats]:
        z = self.encode(batch.x) + 0.01 * batch.rng.fork(0).normal(*self.latent.shape)
        return (self.believe(z, self.condition(batch.given, len(batch))) - batch.x).square().mean(), {}

    def believe(self, z: Tensor, condition: Condition) -> Tensor:
        if condition.vector is not None:
            z = torch.cat([z, condition.vector], dim=1)
        return self.decoder(z).tanh().reshape(len(z), *self.space.shape)

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        return lambda z: self.believe(z, condition)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Tensor:
        return rng.normal(*self.latent.shape)

    def draw(self, predict: Predictor, start: Tensor, how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)

    def nll(self, batch: Batch) -> Tensor:
        mean = self.believe(self.encode(batch.x), self.condition(batch.given, len(batch)))
        return (2 * (batch.x - mean).square() + 5).flatten(1).sum(1)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        return self.believe(z, self.condition(Given(), len(z)))


class Orphan(Toy):
    def players(self):
        return {"encoder": self.encoder, "decoder": self.decoder}  # nobody owns the embedder


class Shared(Toy):
    def players(self):
        return {"encoder": self.encoder, "decoder": self}


class Idle(Toy):
    def __init__(self, *args):
        super().__init__(*args)
        self.encoder.unused = nn.Parameter(torch.ones(1))


class Meddler(Toy):
    def loss(self, batch, progress):
        with torch.no_grad():
            self.encoder.weight.mul_(0.99)
        return super().loss(batch, progress)


class Uphill(Toy):
    def loss(self, batch, progress):
        loss = super().loss(batch, progress)[0]
        return 2 * loss.detach() - loss, {}


class HiddenDice(Toy):
    def loss(self, batch, progress):
        return super().loss(batch, progress)[0] * torch.rand(()), {}


class Summed(Toy):
    def loss(self, batch, progress):
        return super().loss(batch, progress)[0] * len(batch), {}


class TooLoud(Toy):
    def draw(self, predict, start, how, rng):
        return 3 + predict(start)


class WrongShape(Toy):
    def draw(self, predict, start, how, rng):
        return predict(start).flatten(1)


class NotANumber(Toy):
    def draw(self, predict, start, how, rng):
        return predict(start) / 0 * 0


class Careless(Toy):
    def draw(self, predict, start, how, rng):
        return predict(torch.randn_like(start))


class Deaf(Toy):
    def start(self, n, how, rng):
        return torch.ones(n, *self.latent.shape)


class Sociable(Toy):
    def draw(self, predict, start, how, rng):
        return predict(start - start.mean(0))


class Unconditional(Toy):
    def believe(self, z, condition):
        return super().believe(z, self.embed(Given(), len(z)))


class Stubborn(Toy):
    def draw(self, predict, start, how, rng):
        return self.believe(start, self.condition(Given(label=torch.ones(len(start), dtype=torch.int64)), len(start)))


@dataclass(frozen=True, kw_only=True)
class Forgetful(ToyConfig):
    def to_tree(self) -> Tree:
        return {}


class Renamed(Toy):
    def __init__(self, *args):
        super().__init__(*args)
        self.register_buffer(f"buffer{next(COUNTER)}", torch.ones(1))


class Improbable(Toy):
    def nll(self, batch):
        return super().nll(batch) - 1000


class Backwards(Toy):
    def nll(self, batch):
        return 1000 - super().nll(batch)


class Averaged(Toy):
    def nll(self, batch):
        return super().nll(batch).mean()


class Scrambled(Toy):
    def decode(self, z):
        return -super().decode(z)


class Cleaner(Toy, Denoiser):
    """A toy whose predictor takes a noisy sample and its level, and keeps every clause."""

    def predictor(self, condition):
        return lambda y, s: self.believe(self.encode(y), condition)

    def start(self, n, how, rng):
        return rng.normal(*self.space.shape)

    def visited(self, how):
        return torch.tensor([1.0, 0.0])

    def draw(self, predict, start, how, rng):
        return predict(start, torch.ones(len(start)))


class Astray(Cleaner):
    def visited(self, how):
        return torch.tensor([2.0, 0.0])


class Climbing(Cleaner):
    def visited(self, how):
        return torch.tensor([0.0, 1.0])


class Headstrong(Cleaner):
    def draw(self, predict, start, how, rng):
        return 0.9 * super().draw(predict, start, how, rng)


class Talker(Toy):
    def draw(self, predict, start, how, rng):
        return torch.full((len(start), *self.space.shape), 7)


BROKEN = {
    "every_parameter_has_one_player": [Orphan, Shared],
    "every_player_moves_under_its_turns_alone": [Idle, Meddler],
    "every_turn_lowers_its_own_loss": [Uphill],
    "a_loss_is_a_function_of_its_batch": [HiddenDice],
    "parts_make_the_whole": [Summed],
    "a_draw_lands_in_the_space": [TooLoud, WrongShape, NotANumber],
    "a_draw_obeys_its_seed": [Careless, Deaf],
    "a_draw_does_not_depend_on_the_batch_size": [Sociable],
    "the_condition_matters": [Unconditional],
    "wraps_compose": [Stubborn],
    "a_denoiser_completes": [Headstrong],
    "a_denoiser_says_which_levels_it_visits": [Astray, Climbing],
    "the_config_survives_json": [Toy],
    "the_same_config_gives_the_same_names": [Renamed],
    "a_likelihood_is_one": [Improbable, Averaged, Backwards],
    "codes_decode": [Scrambled],
}
CLAUSES = {clause.__name__: clause for clause in CHECKS}


def maker(cls: type[Toy], config: Config | None = None, space: Space = SPACE):
    def make() -> Model:
        torch.manual_seed(0)
        return cls(config or ToyConfig(), space, 2)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize("clause", CHECKS, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("cls", [Toy, Cleaner])
def test_the_toy_keeps(clause, cls: type[Toy]) -> None:
    clause(maker(cls))


def test_every_clause_has_a_model_that_breaks_it() -> None:
    assert set(BROKEN) == set(CLAUSES)


@pytest.mark.parametrize(("clause", "cls"), [(c, cls) for c, each in BROKEN.items() for cls in each])
def test_a_broken_model_fails(clause: str, cls: type[Toy]) -> None:
    config = Forgetful(width=9) if clause == "the_config_survives_json" else ToyConfig()
    with pytest.raises(AssertionError):
        CLAUSES[clause](maker(cls, config))


def test_a_token_outside_the_vocabulary_fails() -> None:
    make = maker(Talker)

    def talk() -> Model:
        model = make()
        model.space = Tokens((1, 4, 4), vocab=5)
        model.turns = list  # type: ignore[method-assign]
        return model

    with pytest.raises(AssertionError, match="vocabulary"):
        CLAUSES["a_draw_lands_in_the_space"](talk)
