"""All that one process holds while it trains, built from a recipe or put back from a checkpoint."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maquette.bundle import Bundle, Coding, differing, made_for
from maquette.codecs.base import Codec
from maquette.core import devices, files, seeds
from maquette.core.errors import MaquetteError, nearest
from maquette.core.types import Batch, Beside, Space, Turn
from maquette.data.batches import Batches, PoissonBatches, held_out
from maquette.data.codes import encoded
from maquette.data.dataset import Dataset
from maquette.media.base import Medium
from maquette.models.base import Model
from maquette.train import privacy
from maquette.train.begin import Beginning
from maquette.train.clock import Clock
from maquette.train.distributed import Ranks
from maquette.train.ema import Ema
from maquette.train.optimisers import Mover
from maquette.train.recipe import Budget, Optimizer, Recipe
from maquette.train.run import Checkpoint

TOGETHER = 64
"""Codes that are decoded at once."""
RECENT = 8
"""The last batches, over which the average counts the statistics of batch normalisation."""
LONG = 1000
"""Characters of a setting up to which a run's identity holds it as it is."""


class Learner:
    """A model that learns: its players' weights and movers, its average, its batches and its clock.

    Attributes:
        codec: what stands between medium and model, frozen.
        turns: by name: `player` for a player's first turn, `player.2` for its second …
        sheet: the held-out rows whose pictures and captions are given for sheets of samples.
        weights: each player's trainable weights; what belongs to no player is frozen.
        private: takes the turns in private training.

    Args:
        beginning: weights to begin from, instead of at random.
        coding: what the codec is made of, fitted to the data.
        teacher: the model that the recipe's `teacher` names.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        medium: Medium,
        ranks: Ranks,
        device: torch.device,
        beginning: Beginning | None = None,
        coding: Coding = Coding(),
        teacher: Bundle | None = None,
    ):
        settings = recipe.train
        if settings.batch % (ranks.world * settings.parts):
            wanted = f"a multiple of {ranks.world} processes x {settings.parts} parts"
            raise MaquetteError("MQ-2002", path="train.batch", wanted=wanted, value=settings.batch)
        if settings.privacy is not None:
            privacy.require_counted(dataset, coding, teacher, ranks.world)
            recipe = privacy.keyed(recipe, settings.privacy)
        self.recipe, self.medium, self.ranks, self.device = recipe, medium, ranks, device
        self.coding, self.teacher = coding, teacher
        self.codec = coding.build(recipe.medium)
        devices.place(self.codec, device, settings.layout)
        if not recipe.data.augment:
            key = [coding.digest, settings.layout]  # another layout gives other last bits
            dataset = encoded(dataset, medium, self.codec, key, device)
        self.dataset = dataset
        self.classes = list(dataset.classes) if recipe.data.conditional else []
        beside = recipe.data.along.beside(medium.space)
        recipe.model.at(medium.rate)
        self.model = build_model(recipe, self.codec.space, len(self.classes), beside, device)
        self.sheet = shown_along(dataset, medium, settings.samples, settings.seed)
        if beginning is not None:
            beginning.give(self.model, self.classes)
        self.turns = _named(self.model.turns())
        players = self.model.players()
        freeze(self.model, settings.frozen)
        self.weights = freeze_rest(self.model, players)
        for player in (name for name, own in self.weights.items() if not own):
            reason, todo = f"nothing is left that {player!r} could learn", "freeze less"
            raise MaquetteError("MQ-2009", path="train.frozen", value=list(settings.frozen), reason=reason, todo=todo)
        wanted_by = optimizers(recipe, players)
        self.movers = {name: Mover(wanted_by[name], player) for name, player in players.items()}
        self.ema = Ema(self.model, settings.ema)
        if teacher is not None:  # the average, by which held-out data are judged, has none
            self._teach(teacher)
        self.batches = batches(recipe, dataset, medium, ranks, device, self.codec)
        self.private = None
        if isinstance(self.batches, PoissonBatches) and recipe.train.privacy is not None:
            self.private = privacy.Private(recipe.train.privacy, self.model, self.batches)
        self.budget = Budget.parse(settings.budget)
        self.clock = Clock(self.budget, self.batches.steps_per_epoch, ranks)

    def _teach(self, teacher: Bundle) -> None:
        """Let the model learn from `teacher` too; raises MQ-2140 and MQ-2141 where it cannot."""
        recipe, how = self.recipe, self.recipe.teacher
        assert how is not None, "a teacher is one that the recipe names"
        here = made_for(recipe.medium, self.classes, self.coding, recipe.data.along)
        there = made_for(teacher.medium_config, teacher.classes, teacher.coding, teacher.along)
        if names := differing(here, there):
            raise MaquetteError("MQ-2141", how.source, differing=", ".join(names))
        with torch.random.fork_rng(devices=[]):
            model = teacher.build()
        devices.place(model, self.device, recipe.train.layout)
        self.model.learn_from(model, how.temperature, how.share)

    @torch.no_grad()
    def decoded(self, z: Tensor) -> Tensor:
        """Samples of the medium from what the model draws, on the CPU."""
        return torch.cat([self.codec.decode(part.to(self.device)).cpu() for part in z.split(TOGETHER)])

    def settle(self) -> None:
        """Make the average ready to be looked at: its batch normalisation counts what it sees in the last batches.

        On all ranks, which count together. It is a function of the step and the average, and the next step copies the
        buffers again: who looks at what moment changes nothing.
        """
        if not self.ema.norms:
            return
        settings = self.recipe.train
        first = {turn.player: turn for turn in reversed(self.ema.model.turns())}
        with self.ema.counting():
            for step in range(max(0, self.clock.step - RECENT), self.clock.step):
                batch = self.batches(step)
                x = devices.arrange(batch.x, settings.layout)
                for number, turn in enumerate(first.values()):
                    for part in Batch(x, batch.given, batch.rng.fork(number)).split(settings.parts):
                        with devices.autocast(self.device, settings.precision):
                            turn.loss(part, self.clock.progress)

    def checkpoint(self) -> Checkpoint:
        """Everything that the next step depends on."""
        optimisers = {f"{player}/{k}": v for player, mover in self.movers.items() for k, v in mover.state.items()}
        tensors = {"model": self.model.state_dict(), "ema": self.ema.model.state_dict(), "optimisers": optimisers}
        return Checkpoint(self.clock.step, self.clock.seconds, tensors)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where `checkpoint` was taken; the next step is then the one that would have followed, to the bit.

        Raises:
            MaquetteError: MQ-7001 when a tensor has no place here.
        """
        _load(self.model, checkpoint.tensors["model"])
        _load(self.ema.model, checkpoint.tensors["ema"])
        for player, mover in self.movers.items():
            own = {
                k.partition("/")[2]: v
                for k, v in checkpoint.tensors["optimisers"].items()
                if k.startswith(f"{player}/")
            }
            mover.load(own)
        self.clock = Clock(self.budget, self.batches.steps_per_epoch, self.ranks, checkpoint.step, checkpoint.seconds)

    def identity(self) -> dict[str, Any]:
        """What must be the same for the same bits to follow, as dotted names and plain values."""
        tree = self.recipe.to_tree()
        for name in (
            "budget",
            "keep",
            "best",
            "samples",
            "sample_every",
            "validate_every",
            "checkpoint_every",
            "device",
        ):
            tree["train"].pop(name)
        tree["train"]["optimizers"] = {name: mover.settings.to_tree() for name, mover in self.movers.items()}
        for part, name in ((tree["data"], "source"), (tree["data"], "other"), (tree["data"]["pair"] or {}, "source")):
            part.pop(name, None)  # a folder may move; its fingerprint may not
        same = {"data.fingerprint": self.dataset.fingerprint, "processes": self.ranks.world}
        tree["codec"] = self.coding.digest  # likewise
        if self.teacher is not None:
            tree["teacher"]["source"] = self.teacher.digest
        return brief(_flat(tree, "")) | same | {"device": self.device.type}


def batches(
    recipe: Recipe, dataset: Dataset, medium: Medium, ranks: Ranks, device: torch.device, codec: Codec
) -> Batches:
    """What `recipe` learns from; in private training, rows that are drawn in secret."""
    settings, seed, drawn = recipe.train, recipe.train.seed, Batches
    if settings.privacy is not None:
        secret = settings.privacy.key + dataset.fingerprint  # the same noise over other data would tell what differs
        seed, drawn = int(files.digest(secret.encode()), 16), PoissonBatches
    return drawn(
        dataset.train,
        medium,
        settings.batch,
        seed,
        recipe.data.conditional,
        augment=recipe.data.augment,
        rank=ranks.rank,
        world=ranks.world,
        device=device,
        codec=codec,
    )


def build_model(recipe: Recipe, space: Space, classes: int, beside: Beside, device: torch.device) -> Model:
    """A fresh model on `device`, its weights a function of the recipe's seed."""
    devices.seed(seeds.mix(recipe.train.seed, seeds.BUILD), device)
    model = recipe.model.fitted(space, classes, beside)
    devices.place(model, device, recipe.train.layout)
    return model.train()


def shown_along(dataset: Dataset, medium: Medium, n: int, seed: int) -> Batch | None:
    """At most `n` held-out rows with what is given with them beside a label, on the CPU; None where nothing is."""
    split = dataset.test if len(dataset.test) else dataset.train
    if not split.shows and split.texts is None:
        return None
    return next(held_out(split, medium, n, n, seed, "cpu", bool(dataset.classes)), None)


def optimizers(recipe: Recipe, players: dict[str, nn.Module]) -> dict[str, Optimizer]:
    """Each player's settings; a name that is no player is refused with the nearest one."""
    given = recipe.train.optimizers
    for name in given:
        if name not in players:
            raise MaquetteError("MQ-2001", path="train.optimizers", key=name, near=nearest(name, players))
    return {name: given.get(name, Optimizer()) for name in players}


def freeze(model: Model, patterns: Sequence[str]) -> None:
    """Parameters whose names match one of `patterns` are not learnt; raises MQ-2135 for one that matches nothing."""
    named = dict(model.named_parameters())
    for pattern in patterns:
        if not (found := fnmatch.filter(named, pattern)):
            raise MaquetteError("MQ-2135", pattern=pattern, near=nearest(pattern, named))
        for name in found:
            named[name].requires_grad_(False)


def freeze_rest(model: Model, players: dict[str, nn.Module]) -> dict[str, list[nn.Parameter]]:
    """The trainable weights of each player; every other parameter of the model is frozen."""
    weights = {name: [p for p in player.parameters() if p.requires_grad] for name, player in players.items()}
    owned = {id(p) for own in weights.values() for p in own}
    for p in model.parameters():
        if id(p) not in owned:
            p.requires_grad_(False)
    return weights


def _named(turns: list[Turn]) -> dict[str, Turn]:
    named: dict[str, Turn] = {}
    for turn in turns:
        earlier = sum(other.player == turn.player for other in named.values())
        named[turn.player if not earlier else f"{turn.player}.{earlier + 1}"] = turn
    return named


def _load(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as bad:
        reason = " ".join(str(bad).split())
        todo = "resume with the recipe that the run was made from"
        raise MaquetteError("MQ-7001", reason=reason, todo=todo) from None


def brief(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` with long texts (vocabularies) told by their hash."""
    long = {name: value for name, value in fields.items() if isinstance(value, str) and len(value) > LONG}
    return fields | {name: f"sha256 {files.digest(value.encode())}" for name, value in long.items()}


def _flat(tree: Any, path: str) -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{path}.{key}" if path else key)
    return flat
