"""Floor 5: a bundle, ready to make things. Given -> condition -> predictor -> wraps -> draw -> decode -> stored items.

Sample i depends on seed + i and on nothing else. A matrix library gives a row other last bits in a batch of another
size, so batches here have one fixed size per device, and the rows beyond n are drawn and dropped.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.bundle import Bundle, find_bundle, read_bundle
from maquette.core import cancel, devices
from maquette.core.colour import LUMA, luma
from maquette.core.devices import Storage
from maquette.core.errors import MaquetteError, Phrase, nearest
from maquette.core.exit import Mark
from maquette.core.seeds import VALIDATE, Between, Seeds
from maquette.core.types import (
    Batch,
    Captioner,
    Compilable,
    Condition,
    Denoiser,
    Features,
    Given,
    Likelihood,
    Mixing,
    Predictor,
    Real,
    Sampling,
    Seated,
    Space,
    Stream,
    Stylist,
    Tokens,
    Translator,
    TwoTowers,
)
from maquette.core.waiting import watched
from maquette.media.base import Wording
from maquette.media.heard import Heard, listen
from maquette.nets.attention import keeping_maps
from maquette.nets.conditioning import Embedder
from maquette.request import EACH, Piece, Request, Said, Told
from maquette.solvers.decoding import MAKE
from maquette.solvers.guidance import guide
from maquette.solvers.saying import Recorder, answering, going_on, only, until
from maquette.solvers.tasks import colourise, deblur, enlarge, inpaint

DENOISING = Phrase("which needs one that is drawn by denoising", "这需要以去噪生成的模型")

BATCH = {"cpu": 32, "mps": 64, "cuda": 256}
"""Rows drawn together: enough to fill the device, few enough that one sample need not wait long."""

DRAWING = "drawing"
"""What a person is told who waits."""

JUDGED = 64
"""Items that are judged together."""

Wrap = Callable[[Predictor], Predictor]
Step = tuple[int, Tensor]
Watch = Callable[[float, Callable[[list[int]], np.ndarray]], None]
"""Told a level of noise, and how some rows of a batch look at it, as stored items, if it asks."""
JOINED = ("n", "seed", "keep_prompt", "label", "given", "sampling", "guidance", "guidance_interval")
"""The fields of requests whose samples may be drawn together; the last three must be the same for all."""
PLAIN = Request()


class _Drawing(NamedTuple):
    """Some rows of a request, ready to be drawn."""

    predict: Predictor
    start: Tensor
    given: Given
    rng: Seeds
    rows: int
    """So many of them were asked for."""
    heard: list[Heard]
    """Who listens to each row; empty where nobody need."""
    recorder: Recorder | None
    allowed: Tensor | None
    """Of tokens, those that may be made; None: all."""


class Part(NamedTuple):
    """A request whose samples may be drawn among those of others, and what they are given in turn."""

    request: Request
    labels: Tensor
    pictures: Tensor | None
    captions: Tensor | None


class Row(NamedTuple):
    """A text to be made token by token among others: what `Pipeline.told` would have begun with for one sample."""

    start: Int[Tensor, " l"]
    """-1 where a token is to be made."""
    u: Float[Tensor, " l"]
    """What picks the token of each place."""
    condition: Condition
    heard: Heard
    allowed: Bool[Tensor, " vocab"] | None


class Pipeline:
    """A model with its codec and medium. Build one with `load`.

    Attributes:
        medium, coding, model, classes, card, along: what the bundle says.
        codec: between medium and model, on the device.
        digest: SHA-256 of the weights' file.
    """

    def __init__(self, bundle: Bundle, device: torch.device, precision: Storage = "fp32", compiled: bool = False):
        self.medium_config = bundle.medium_config
        self.medium, self.along = bundle.medium_config.build(), bundle.along
        self.coding, self.codec, self.model = bundle.coding, bundle.codec, bundle.build()
        if precision == "int8":
            devices.round_weights(self.model)
        for part in (self.codec, self.model):
            devices.place(part, device, "channels_last")
        if compiled:
            if not isinstance(self.model, Compilable) or device.type != "cpu":
                raise MaquetteError("MQ-2108", "compiled", kind=type(self.model).__name__, device=device)
            self.model.compile_steps(precision)
        self.classes, self.card, self.digest = bundle.classes, bundle.card, bundle.digest
        self.device = device
        self.precision: Storage = precision
        self.compiled = compiled

    def generate(self, request: Request) -> np.ndarray:
        """Items [request.total, *medium.stored] of dtype `medium.dtype`.

        Raises:
            MaquetteError: MQ-21xx when the model knows no such label or cannot do this task.
            Cancelled: the current `core.cancel` token is over.
        """
        made = np.empty((request.total, *self.medium.stored), self.medium.dtype)
        first = 0
        for items in watched(self.batches(request), DRAWING, request.total, self.medium.pace, len):
            made[first : first + len(items)] = items
            first += len(items)
        return made

    def batches(self, request: Request, watch: Callable[[range], Watch] | None = None) -> Iterator[np.ndarray]:
        """The items of `generate`, as they are made.

        Args:
            watch: gives who sees how the samples of these numbers look at each level of noise, where there are any.
        """
        first = 0
        for drawing in self._drawings(request):
            if watch is not None:
                look = watch(range(first, first + drawing.rows))
                drawing = drawing._replace(predict=self._watched(drawing.predict, drawing.given, look))
            yield self.decoded(self._drawn(drawing, request), drawing.given)[: drawing.rows]
            first += drawing.rows

    def unfolds(self, request: Request) -> bool:
        """Whether the samples of `request` are made value by value, so that they can be had in part."""
        beams = (request.sampling or Sampling()).beams
        return isinstance(self.model, Stream) and self.codec.pointwise and not self.medium.talks and not beams

    def unfolding(self, request: Request, times: int) -> Iterator[tuple[int, float, np.ndarray]]:
        """The items of a request that `unfolds` while they are made: (number of the first one, share of its values that
        are made and stay, items so far). Those with the share 1 are the ones of `generate`.

        Args:
            times: how often items are shown before they are whole, at most.
        """
        model, how, first = self.model, request.sampling or Sampling(), 0
        assert isinstance(model, Stream), "which unfolds"
        places = math.prod(model.space.shape)
        for drawing in self._drawings(request):
            x, told = drawing.start, 0
            for at, x in self._stepwise(model.stream(drawing.predict, drawing.start, how, drawing.rng)):
                if (at + 1) * (times + 1) // places > told and at + 1 < places:
                    told = (at + 1) * (times + 1) // places
                    yield first, (at + 1) / places, self.decoded(_plain(x, model.space), drawing.given)[: drawing.rows]
            yield first, 1.0, self.decoded(x, drawing.given)[: drawing.rows]
            first += drawing.rows

    def joins(self, request: Request) -> bool:
        """Whether the samples of `request` may be drawn in one batch with those of others, see `together`."""
        fixed = isinstance(self.model.space, Real) and not isinstance(self.model, Stream)
        free = JOINED if self.along.captions is None else (*JOINED, "prompt")
        others = [name for name, value in vars(request).items() if name not in free and value is not None]
        left = ((getattr(request, name), getattr(PLAIN, name)) for name in others)
        return fixed and all(plain is not None and value == plain for value, plain in left)

    def part(self, request: Request) -> Part:
        """What `together` wants of a request that `joins`; raises as `generate`."""
        self._refuse(request, request.sampling or Sampling(), spoken=False)
        return Part(request, self.labels(request), self._pictures(request), self._captions(request))

    def together(self, wanted: Sequence[tuple[Part, int]], watch: Watch | None = None) -> np.ndarray:
        """Items [n, *medium.stored] of samples of several requests by their numbers, at most `batch` of them.

        Each is the one that `generate` makes. All have the sampling and the guidance of the first.
        """
        request, size = wanted[0][0].request, self.batch
        rows = [*wanted, *[wanted[-1]] * (size - len(wanted))]
        how, rng = request.sampling or Sampling(), Seeds.for_seeds([p.request.seed + i for p, i in rows], self.device)
        with self.computing():
            given = Given(
                label=torch.stack([part.labels[i % len(part.labels)] for part, i in rows]),
                image=_in_turn([(part.pictures, i) for part, i in rows]),
                text=_in_turn([(part.captions, i) for part, i in rows]),
            ).to(self.device)
            predict = self._predictor(given, self._guidance(request), request.guidance_interval)
            predict = predict if watch is None else self._watched(predict, given, watch)
            z = self.model.draw(predict, self.model.start(size, how, rng), how, rng)
        return self.decoded(z, given)[: len(wanted)]

    @property
    def batch(self) -> int:
        """How many rows are drawn together."""
        return BATCH[self.device.type]

    def levels(self, request: Request) -> list[float]:
        """The levels of noise at which the samples of `request` can be watched; none where no noise is removed."""
        model = self.model
        return model.visited(request.sampling or Sampling()).tolist()[:-1] if isinstance(model, Denoiser) else []

    def _watched(self, predict: Predictor, given: Given, watch: Watch) -> Predictor:
        if not isinstance(self.model, Denoiser):
            return predict

        def watched(y: Tensor, s: Tensor, *told: Tensor) -> Tensor:
            x = predict(y, s, *told)
            watch(float(s[0]), lambda rows: self.decoded(x[rows], given.rows(torch.tensor(rows).to(x.device))))
            return x

        return watched

    def encoded(self, items: np.ndarray) -> Tensor:
        """Stored items [n, *medium.stored] as the model sees them, on the device."""
        x = self.medium.to_tensor(np.asarray(items)).to(self.device)
        with torch.inference_mode():
            return self.codec.encode(x)

    def decoded(self, z: Tensor, given: Given = Given()) -> np.ndarray:
        """Stored items of what the model makes [n, *model.space.shape], with what is known of them put back.

        A row does not depend on how many there are.
        """
        craft, image = self.along.craft, given.image
        missing = BATCH[self.device.type] - len(z)
        full = torch.cat([z, z[-1:].expand(missing, *z.shape[1:])]) if missing > 0 else z
        with self.computing():
            x = self.codec.decode(full)[: len(z)]
            x = (x if craft is None or image is None else craft.keep(x, image)).cpu()
        return self.medium.from_tensor(x.float() if x.is_floating_point() else x)

    def kept(self, items: np.ndarray) -> np.ndarray:
        """What the codec leaves of stored items [n, *medium.stored]: all of them, where it loses nothing."""
        if self.codec.lossless or not len(items):
            return items
        starts = range(0, len(items), JUDGED)
        return np.concatenate([self.decoded(self.encoded(items[start : start + JUDGED])) for start in starts])

    def captioned(self, items: np.ndarray) -> list[str]:
        """What the model says that it sees in stored items [n, *medium.stored].

        Raises:
            MaquetteError: MQ-2104 when it has not learnt to write captions.
        """
        model, captions = self.model, self.along.captions
        if not isinstance(model, Captioner) or not model.writes or captions is None:
            raise MaquetteError("MQ-2104", task="write captions")
        said: list[str] = []
        for start in range(0, len(items), JUDGED):
            part = self.encoded(items[start : start + JUDGED])
            with self.computing():
                said += captions.decode(model.caption(part).cpu().numpy())
        return said

    def continuing(self, known: np.ndarray) -> dict[str, Any]:
        """The fields of a `Request` whose items begin as stored `known` [m, ...] does, in the way that this model has.

        One that learnt to make what is hidden is given it, one that removes noise is held to it, and one of tokens
        starts from it. Time is the first axis of items and the last of samples.

        Raises:
            MaquetteError: MQ-2138 when it learnt to make something else.
        """
        stored, craft = self.medium.stored, self.along.craft
        item = np.concatenate([known, np.zeros((stored[0] - len(known), *stored[1:]))]).astype(self.medium.dtype)
        hidden = np.arange(stored[0]) >= len(known)
        if craft is None:
            return {"image": item, "mask": hidden}
        assert isinstance(self.medium.space, Real), "a craft takes from what is real"
        x, where = self.medium.to_tensor(item[None]), torch.from_numpy(hidden).view(1, 1, -1)
        return {"given": craft.bring(x, self.medium.space, where)}

    def say(self, request: Request) -> list[Said]:
        """What each sample of `request` says.

        Raises:
            MaquetteError: MQ-2104 for a medium without words, and as `generate`.
        """
        said = (told.said for told in self.told(request) if isinstance(told, Told))
        return list(watched(said, DRAWING, request.total, self.medium.pace))

    def stream(self, request: Request) -> Iterator[Piece]:
        """The words of the samples of `request`, in pieces as they are made; those of a sample are what `say` says.

        A piece is held back while it may be half a character, or the beginning of a stop string.

        Raises:
            MaquetteError: MQ-2104 when this model or medium does not come in pieces, and as `generate`.
        """
        return (told for told in self.told(request, pieces=True) if isinstance(told, Piece))

    def told(self, request: Request, pieces: bool = False) -> Iterator[Piece | Told]:
        """What each sample says, as `say` has it, and before that in `pieces` as `stream` has them, if they are wanted.

        Raises:
            MaquetteError: as `say`, and with `pieces` as `stream`.
        """
        model, how, first = self.model, request.sampling or Sampling(), 0
        if pieces and not self.streams(request):
            raise MaquetteError("MQ-2104", task="come in pieces of words")
        for drawing in self._drawings(request, spoken=True):
            shown = [0] * drawing.rows
            if pieces:
                assert isinstance(model, Stream), "refused before"
                x = drawing.start
                for at, x in self._stepwise(model.stream(drawing.predict, drawing.start, how, drawing.rng)):
                    listen(drawing.heard, x[:, : at + 1])
                    yield from _pieces(drawing.heard, shown, first)
            else:
                x = self._drawn(drawing, request)
            said = self._said(drawing, request, x)
            if pieces:
                yield from _pieces(drawing.heard, shown, first)
            yield from (Told(first + row, one) for row, one in enumerate(said))
            first += drawing.rows

    def sits(self, request: Request) -> bool:
        """Whether the texts of `request` can be made among others, see `rows`."""
        how, known = request.sampling or Sampling(), (request.opening, request.image, request.given, request.manner)
        plain = self._guidance(request) == 1 and not (how.beams or request.between or request.mix or request.back)
        return isinstance(self.model, Seated) and self.medium.talks and plain and all(part is None for part in known)

    def rows(self, request: Request) -> Iterator[Row]:
        """The texts of a request that `sits`, one after another, for those who make several requests together.

        Raises:
            MaquetteError: as `say`.
        """
        for drawing in self._drawings(request, spoken=True):
            u = drawing.rng.uniform(drawing.start.shape[1])
            for row in range(drawing.rows):
                condition = self.model.condition(drawing.given.rows(slice(row, row + 1)), 1)
                yield Row(drawing.start[row], u[row], condition, drawing.heard[row], drawing.allowed)

    def streams(self, request: Request) -> bool:
        """Whether the words of `request` can come in pieces."""
        return isinstance(self.model, Stream) and self.medium.talks and not (request.sampling or Sampling()).beams

    def attention(self, text: str) -> tuple[list[str], Float[Tensor, "layers heads l l"]]:
        """The tokens of `text` (of marks ""), and how much each takes from each: rows sum to 1.

        Raises:
            MaquetteError: MQ-2104 for a model that does not go from left to right by attention, MQ-2121 for a text that
                is longer than the context.
        """
        wording, known = self._wording, self.medium.asked(text)[None].to(self.device)
        with torch.inference_mode(), keeping_maps() as maps:
            if isinstance(self.model, Stream):
                self._predictor(Given(label=torch.tensor([-1]).to(self.device)), 1.0)(known, known.shape[1])
        if not maps:
            raise MaquetteError("MQ-2104", task="show where it looks, which needs attention from left to right")
        return wording.spell(known[0].tolist()), torch.cat(maps).cpu()

    @property
    def bytes(self) -> int:
        """What the weights of model and codec take in memory; compiled steps have a copy of their own."""
        parts = [*self.model.parameters(), *self.model.buffers(), *self.codec.parameters(), *self.codec.buffers()]
        return sum(part.numel() * part.element_size() for part in parts) * (1 + self.compiled)

    @torch.inference_mode()
    def embed(self, items: Sequence[str] | np.ndarray) -> np.ndarray:
        """What the model sees in each of some texts or stored items as a vector, float32 [n, d].

        Of a text that is longer than a window it is the mean of its windows' vectors. A model of samples and captions
        puts both into one space.

        Raises:
            MaquetteError: MQ-2161 when it gives none of these.
        """
        if not len(items):
            return np.empty((0, 0), np.float32)
        if isinstance(items, np.ndarray):
            return self._vectors(items, self.model)
        model, captions = self.model, self.along.captions
        if isinstance(model, TwoTowers) and captions is not None:
            return model.of_texts(torch.from_numpy(captions.encode(items)).to(self.device)).float().cpu().numpy()
        windows, owner = self._windows(items)
        summed = np.zeros((len(items), *(vectors := self._vectors(windows, model)).shape[1:]), np.float32)
        np.add.at(summed, owner, vectors)
        return summed / np.bincount(owner, minlength=len(items))[:, None].astype(np.float32)

    def _vectors(self, items: np.ndarray, model: Any) -> np.ndarray:
        if not isinstance(model, Features):
            raise MaquetteError("MQ-2161", kind=self.model.config.kind())
        found = []
        for number, start in enumerate(range(0, len(items), JUDGED)):
            cancel.check()
            part = self.encoded(items[start : start + JUDGED])
            rng = Seeds.for_batch(0, number, len(part), stream=VALIDATE, device=self.device)
            found.append(model.features(Batch(part, Given(), rng)).float().cpu().numpy())
        return np.concatenate(found)

    def _windows(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Texts as stored items, and which text each of them is of."""
        windows, owner = [], []
        for number, text in enumerate(texts):
            cutter = self.medium.cutter()
            document = self.medium.from_record({"text": text}, f"texts[{number}]")
            windows += [*cutter.put(document), *cutter.rest()]
            owner += [number] * (len(windows) - len(owner))
        return np.reshape(windows, (-1, *self.medium.stored)), np.array(owner, dtype=int)

    def marks(self, request: Request) -> list[Mark]:
        """What each item of `generate(request)` says of itself in its file."""
        return [self.mark(request, number) for number in range(request.total)]

    def mark(self, request: Request, number: int) -> Mark:
        """What item `number` says of itself."""
        sample = number // (request.n if request.mix else request.between or 1)
        labels = None if request.label is None else self.labels(request)
        label = None if labels is None else self.classes[labels[sample % len(labels)]]
        return Mark(self.digest, request.seed + sample, asked=request.record(sample, label))

    def classify(self, texts: Sequence[str], prior: Sequence[float] | None = None) -> np.ndarray:
        """The probability of each label given each text, float64 [n, classes]: Bayes' rule, p(y | x) ~ p(x | y) p(y).

        Args:
            texts: one that is longer than a window is judged by its windows together.
            prior: p(y) of each class, or numbers in proportion to it; none takes all for equally likely.

        Raises:
            MaquetteError: MQ-2122 when the model was not told labels, or has no likelihood; MQ-3001 a text that is
                empty, or items that are no texts.
        """
        windows, owner = self._windows(texts)
        nats = self.nats_by_label(windows)
        logs = np.zeros((len(texts), len(self.classes))) + (0 if prior is None else np.log(prior))
        np.subtract.at(logs, owner, nats)
        likely = np.exp(logs - logs.max(1, keepdims=True))
        return likely / likely.sum(1, keepdims=True)

    @torch.inference_mode()
    def nats_by_label(self, items: np.ndarray) -> np.ndarray:
        """-log p(x | y) of stored items [n, *medium.stored] under each label, in nats, float64 [n, classes].

        Raises:
            MaquetteError: MQ-2122 when the model was not told labels, or has no likelihood.
        """
        model = self.model
        if not self.classes or not isinstance(model, Likelihood):
            raise MaquetteError("MQ-2122")
        nats = np.empty((len(items), len(self.classes)))
        order = self.medium.units(self.medium.to_tensor(items)).argsort()  # like lengths together
        for number, start in enumerate(range(0, len(items), JUDGED)):
            cancel.check()
            rows = order[start : start + JUDGED]
            part = self.encoded(items[rows.numpy()])
            for label in range(len(self.classes)):
                given = Given(label=torch.full((len(part),), label, device=self.device))
                rng = Seeds.for_batch(0, number, len(part), stream=VALIDATE, device=self.device)
                nats[rows.numpy(), label] = model.nll(Batch(part, given, rng)).double().cpu().numpy()
        return nats

    def labels(self, request: Request) -> Tensor:
        """Class numbers of samples 0, 1, … of the request, to be gone through again from the beginning; -1 for none."""
        if not self.classes and request.label is None:
            return torch.tensor([-1])
        if not self.classes:
            raise MaquetteError("MQ-2100", "label", label=request.label)
        if request.label is None:
            return Seeds.for_samples(request.seed, request.n).fork(1).integers(len(self.classes))
        if request.label == EACH:
            return torch.arange(len(self.classes))
        several = request.label if isinstance(request.label, tuple) else (request.label,)
        return torch.tensor([self._class(label) for label in several])

    def _class(self, label: int | str) -> int:
        """A name counts before a number: "7" is the class called 7 when there is one."""
        if isinstance(label, str) and label in self.classes:
            return self.classes.index(label)
        if str(label).isascii() and str(label).isdigit() and int(label) < len(self.classes):
            return int(label)
        raise MaquetteError("MQ-2101", "label", label=label, near=nearest(str(label), self.classes))

    def _rows(self, request: Request, first: int, size: int) -> tuple[Tensor, Seeds]:
        """Which of the n samples rows first … first + size belong to, and their randomness."""
        index = torch.arange(first, first + size)
        if request.mix:
            owner = index // request.n
            return owner, Seeds.for_seeds((owner + request.seed).tolist(), self.device)
        if not request.between:
            return index, Seeds.for_samples(request.seed, size, first, self.device)
        owner, share = index // request.between, index % request.between / request.between
        left = Seeds.for_seeds((owner + request.seed).tolist(), self.device)
        return owner, Between(left, Seeds.for_seeds((owner + request.seed + 1).tolist(), self.device), share)

    def _start(self, request: Request, how: Sampling, first: int, rng: Seeds) -> Tensor:
        start = self.model.start(len(rng), how, rng)
        if not request.mix:
            return start
        assert isinstance(self.model, Mixing), "refused before"
        column = torch.arange(first, first + len(rng)) % request.n
        fine = Seeds.for_seeds((column + request.seed).tolist(), self.device)
        return self.model.mix(start, self.model.start(len(rng), how, fine), request.mix)

    def _guidance(self, request: Request) -> float:
        return self.model.guidance if request.guidance is None else request.guidance

    def _predictor(
        self, given: Given, guidance: float, interval: tuple[float, float] | None = None, back: bool = False
    ) -> Predictor:
        n = next(len(part) for part in vars(given).values() if part is not None)
        condition = self.model.condition(given, n)
        if not back:
            predict = self.model.predictor(condition)
        elif isinstance(self.model, Translator):
            predict = self.model.back(condition)
        else:
            raise MaquetteError("MQ-2104", "back", task="go back from its samples to what it is given")
        if guidance == 1:
            return predict
        embedders = [part for part in self.model.modules() if isinstance(part, Embedder)]
        if not any(part.width and part.drop > 0 for part in embedders):
            raise MaquetteError("MQ-2102", "guidance")
        plain = self.model.predictor(self.model.condition(replace(given, label=None, text=None), n))
        return guide(predict, plain, guidance, interval)

    def _pictures(self, request: Request) -> Tensor | None:
        """The pictures that samples are given in turn."""
        space = self.model.beside.image
        if request.given is None and space is None:
            return None
        if request.given is None:
            raise MaquetteError("MQ-2137", "image")
        if space is None:
            raise MaquetteError("MQ-2138", "image", kind=self.model.config.kind(), what="picture")
        return _fitting(request.given, space.shape, "image")

    def _manners(self, request: Request) -> Tensor | None:
        """Where samples begin in turn that are to be in the manner of pictures."""
        if request.manner is None:
            return None
        if not isinstance(self.model, Stylist):
            raise MaquetteError("MQ-2138", "manner", kind=self.model.config.kind(), what="manner")
        with self.computing():
            return self.model.manner(_fitting(request.manner, self.model.space.shape, "manner").to(self.device))

    def _captions(self, request: Request) -> Tensor | None:
        """The captions that samples are given in turn, as tokens; without a prompt each is the empty one."""
        if self.along.captions is None:
            return None
        prompts = request.prompt if isinstance(request.prompt, tuple) else (request.prompt or "",)
        return torch.from_numpy(self.along.captions.encode(prompts))

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _drawings(self, request: Request, spoken: bool = False) -> Iterator[_Drawing]:
        """The rows of `request`, so many at a time as are drawn together.

        Args:
            spoken: whether somebody wants to know what is said, and how likely it was.
        """
        how = request.sampling or Sampling()
        self._refuse(request, how, spoken)
        space, streams = self.model.space, isinstance(self.model, Stream)
        marks = space.marks if isinstance(space, Tokens) else None
        labels, task, begun = self.labels(request), self._task(request), self._beginnings(request, spoken)
        picture = self._known(request.image, self.medium) if how.strength < 1 else None
        pictures, captions, manners = self._pictures(request), self._captions(request), self._manners(request)
        allowed = None if request.filled is None else self._wording.letters(request.form is not None).to(self.device)
        size = max(1, BATCH[self.device.type] // max(1, how.beams))
        size = min(size, request.total) if isinstance(space, Tokens) or streams else size
        for first in range(0, request.total, size):
            cancel.check()
            with self.computing():
                owner, rng = self._rows(request, first, size)
                given = Given(
                    label=labels[owner % len(labels)],
                    image=None if pictures is None else pictures[owner % len(pictures)],
                    text=None if captions is None else captions[owner % len(captions)],
                ).to(self.device)
                bent = self._guidance(request), request.guidance_interval, request.back
                predict = task(self._predictor(given, *bent))
                start = self._start(request, how, first, rng) if manners is None else manners[owner % len(manners)]
                start = self._begun(start, owner, begun)
                start = start if picture is None else picture + start  # SDEdit (Meng et al. 2022, algorithm 1)
            listening = spoken or request.stops
            heard = [self._wording.heard(row, request.stops) for row in start.cpu().numpy()] if listening else []
            if marks and self.medium.asks and request.prompt is not None:
                predict = answering(predict, marks)
            recorder = Recorder(predict, start, request.likeliest) if spoken else None
            if recorder is not None and not how.beams:  # what a search chose is noted when it is over
                predict = recorder
            if allowed is not None:
                predict = only(predict, allowed)
            if marks and request.opening is not None:
                predict = going_on(predict, start, marks.end)
            if marks and request.stops and streams and not how.beams:
                predict = until(predict, partial(listen, heard), marks.end)
            rows = min(size, request.total - first)
            yield _Drawing(predict, start, given, rng, rows, heard, recorder, allowed)

    def _refuse(self, request: Request, how: Sampling, spoken: bool) -> None:
        """Raise MQ-2104 for what this model cannot do."""
        words = request.prompt if self.along.captions is None else None  # else they are given, and begin nothing
        known = (request.image, request.opening, words, request.max_tokens, request.filled)
        if not self.codec.pointwise and (spoken or any(part is not None for part in known)):
            raise MaquetteError(
                "MQ-2104", task="begin from what is known: it makes codes, which are decoded when whole"
            )
        tokens, denoises = isinstance(self.model.space, Tokens), isinstance(self.model, Denoiser)
        if (how.solver or how.eta or (how.steps and not self.model.stepwise)) and not denoises:
            task = Phrase(f"be drawn by a solver in steps, {DENOISING}", f"由求解器分步生成，{DENOISING.zh}")
            raise MaquetteError("MQ-2104", "sampling", task=task)
        if request.guidance_interval is not None and self._guidance(request) == 1:
            raise MaquetteError("MQ-2105", first="guidance_interval", second="a guidance other than 1")
        if request.guidance_interval is not None and not denoises:
            raise MaquetteError("MQ-2104", "guidance_interval", task=f"be guided at some levels alone, {DENOISING}")
        if how.of_tokens and not tokens:
            raise MaquetteError("MQ-2104", "sampling", task="choose among tokens")
        if how.beams and not isinstance(self.model, Stream):
            raise MaquetteError("MQ-2104", "sampling", task="be searched with beams")
        if request.mix and not isinstance(self.model, Mixing):
            raise MaquetteError("MQ-2104", "mix", task="mix the traits of two samples")
        if request.opening is not None and not tokens and not isinstance(self.model, Stream):
            raise MaquetteError("MQ-2104", "opening", task="go on from a beginning")
        if request.likeliest and not self.medium.talks:
            raise MaquetteError("MQ-2104", "likeliest", task="make words")

    @property
    def _wording(self) -> Wording:
        if not isinstance(self.medium, Wording):
            raise MaquetteError("MQ-2104", task="make words")
        return self.medium

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """How everything is computed here: without gradients, and in the precision that was asked for."""
        with torch.inference_mode(), devices.autocast(self.device, self.precision):
            yield

    def _stepwise(self, steps: Iterator[Step]) -> Iterator[Step]:
        """`steps`, computed as computing is done here, while their consumer is left as it was."""
        while True:
            with self.computing():
                step = next(steps, None)
            if step is None:
                return
            yield step

    def _drawn(self, drawing: _Drawing, request: Request) -> Tensor:
        with self.computing():
            return self.model.draw(drawing.predict, drawing.start, request.sampling or Sampling(), drawing.rng)

    def _said(self, drawing: _Drawing, request: Request, x: Tensor) -> list[Said]:
        """What the rows of a drawing say that have become `x`."""
        recorder = drawing.recorder
        assert recorder is not None, "what is said is recorded"
        with self.computing():
            if request.sampling is not None and request.sampling.beams:
                recorder.replay(drawing.start, x)
            recorder.note(x)
        listen(drawing.heard, x, to_the_end=True)
        noted = zip(drawing.heard, drawing.start, x, recorder.chosen, recorder.others, recorder.how_likely, strict=True)
        return [self.spoken(*row) for row, _ in zip(noted, range(drawing.rows), strict=False)]

    def spoken(
        self,
        heard: Heard,
        start: Int[Tensor, " l"],
        x: Int[Tensor, " l"],
        chosen: Float[Tensor, " l"],
        others: Int[Tensor, "l k"],
        how_likely: Float[Tensor, "l k"],
    ) -> Said:
        """What one row says that was `heard` to its end: begun as `start`, it has become `x`; see `Recorder`."""
        item = self.medium.from_tensor(x[None].cpu())[0]
        made = [place for place, token in enumerate(start[: heard.places].tolist()) if token == MAKE]
        tokens, logs = others[made].tolist(), how_likely[made].tolist()
        likeliest = tuple(
            tuple(zip(self._wording.spell(spelt), how, strict=True)) for spelt, how in zip(tokens, logs, strict=True)
        )
        return Said(
            text=heard.text,
            tokens=tuple(self._wording.spell(item[made].tolist())),
            log_probabilities=tuple(chosen[made].tolist()),
            likeliest=likeliest if others.shape[1] else (),
            ended=heard.ended,
            item=item,
        )

    @staticmethod
    def _begun(start: Tensor, owner: Tensor, known: list[Tensor]) -> Tensor:
        """`start` with what is known of the sample that each row belongs to."""
        for row, sample in enumerate(owner.tolist() if known else ()):
            beginning = known[sample % len(known)].flatten()
            start[row].view(-1)[: len(beginning)] = beginning
        return start

    def _beginnings(self, request: Request, spoken: bool) -> list[Tensor]:
        """What is known of each sample, from its first value on; of tokens -1 stands for gaps."""
        if request.image is not None and isinstance(self.model.space, Tokens):
            return [self._unfinished(request.image, request.mask)]
        if request.opening is not None:
            opening = np.asarray(request.opening)
            if opening.ndim == 2:
                return list(torch.from_numpy(opening.astype(np.int64)).to(self.device))
            wanted = self.medium.stored
            if opening.shape[2:] != wanted[1:] or not len(opening) or not 0 < opening.shape[1] <= wanted[0]:
                found, most = _shown(opening.shape[1:]), _shown(wanted)
                raise MaquetteError("MQ-2106", "opening", what="opening", found=found, wanted=f"at most {most}")
            with self.computing():
                return list(self.encoded(opening.astype(self.medium.dtype)))
        if self.along.captions is not None and not spoken:  # words that are given, and begin nothing
            return []
        if request.prompt is None and request.max_tokens is None and request.filled is None and not spoken:
            return []
        prompts = (request.prompt or "",) if not isinstance(request.prompt, tuple) else request.prompt
        begun = [self._bounded(self.medium.asked(prompt, request.history), request) for prompt in prompts]
        return [beginning.to(self.device) for beginning in begun]

    def _unfinished(self, item: np.ndarray, mask: np.ndarray) -> Tensor:
        """The tokens of a stored item, gaps where they depend on what is hidden."""
        x, hidden = self._known(item, self.medium), self._mask(mask)
        low, high = (self.codec.encode(x.masked_fill(hidden, value)) for value in (-1, 1))
        return torch.where(low == high, low, MAKE)[0]

    def _bounded(self, known: Tensor, request: Request) -> Tensor:
        """`known` with what a template or `max_tokens` says of the places after it."""
        places = self.model.space.shape[0]
        if request.filled is not None:
            known = torch.cat([known, self._wording.template(request.filled)])
            if len(known) > places:
                raise MaquetteError("MQ-2121", "template", what="template", tokens=len(known), most=places - 1)
        elif request.max_tokens is not None:
            if request.max_tokens >= places:
                raise MaquetteError("MQ-2132", "max_tokens", asked=request.max_tokens, most=places - 1)
            known = torch.cat([known, torch.full((min(request.max_tokens, places - len(known)),), MAKE)])
        else:
            return known
        assert isinstance(self.model.space, Tokens) and self.model.space.marks is not None, "words have marks"
        return torch.cat([known, torch.full((places - len(known),), self.model.space.marks.end)])

    def _task(self, request: Request) -> Wrap:
        """What is known of the samples, as a wrap of the predictor."""
        started = isinstance(self.model.space, Tokens) and request.mask is not None  # from what is known
        if request.image is None or started:
            return lambda predict: predict
        if not isinstance(self.model, Denoiser):
            task = Phrase(f"begin from a picture, {DENOISING}", f"从图片开始，{DENOISING.zh}")
            raise MaquetteError("MQ-2104", task=task)
        if request.factor:
            small = self._known(request.image, self.medium_config.smaller(request.factor).build())
            return lambda predict: enlarge(predict, small, request.factor)
        known = self._known(request.image, self.medium)
        if request.blur:
            return lambda predict: deblur(predict, known, request.blur)
        if request.colour:
            if known.shape[1] != len(LUMA):
                raise MaquetteError("MQ-2104", "colour", task="give colours, which needs one of pictures in colour")
            return lambda predict: colourise(predict, luma(known))
        if request.mask is None:
            return lambda predict: predict
        mask = self._mask(request.mask)
        return lambda predict: inpaint(predict, known, ~mask)

    def _known(self, item: np.ndarray, medium: Any) -> Tensor:
        if np.shape(item) != tuple(medium.stored):
            found, wanted = (_shown(shape) for shape in (np.shape(item), medium.stored))
            raise MaquetteError("MQ-2106", "image", what="image", found=found, wanted=wanted)
        return medium.to_tensor(np.array(item, medium.dtype)[None]).to(self.device)

    def _mask(self, mask: np.ndarray) -> Tensor:
        try:
            spread = np.broadcast_to(np.asarray(mask, bool), self.medium.space.shape)
        except ValueError:
            found, wanted = (_shown(shape) for shape in (np.shape(mask), self.medium.space.shape))
            raise MaquetteError("MQ-2106", "mask", what="mask", found=found, wanted=wanted) from None
        return torch.from_numpy(spread.copy()).to(self.device)


def load(path: Path | str, device: str = "auto", precision: str = "fp32", compiled: bool = False) -> Pipeline:
    """The model of a run's folder (its `bundle/`) or of a bundle's, on `device`.

    Args:
        precision: bf16 draws faster where the processor has instructions for it, and a little less exactly; int8 keeps
            weights as whole numbers and a scale for each row, which pays when steps are compiled.
        compiled: draw few rows of a `gpt` on a CPU by compiled steps (extra `fast`): seconds to compile once a machine,
            then several times as many tokens a second.

    Raises:
        MaquetteError: MQ-5004 no such folder, MQ-7030 neither of the two, MQ-7031 a run that has not come so far,
            and whatever `read_bundle` finds wrong.
    """
    if precision not in get_args(Storage):
        raise MaquetteError("MQ-2002", path="precision", wanted="fp32, bf16 or int8", value=repr(precision))
    return Pipeline(read_bundle(find_bundle(path)), devices.pick_device(device), precision, compiled)  # type: ignore[arg-type]


def _fitting(pictures: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """`pictures` [k, *shape] as floats; raises MQ-2106 when they are of another shape, or none."""
    x = torch.as_tensor(pictures, dtype=torch.float32)
    if x.shape[1:] != shape or not len(x):
        found, wanted = _shown(tuple(x.shape[1:])), _shown(shape)
        raise MaquetteError("MQ-2106", what, what=what, found=found, wanted=wanted)
    return x


def _plain(x: Tensor, space: Space) -> Tensor:
    """What is made of samples so far, with the middle of the range where nothing is yet."""
    return x.nan_to_num(0.0) if isinstance(space, Real) else x.masked_fill(x == MAKE, space.vocab // 2)


def _in_turn(rows: list[tuple[Tensor | None, int]]) -> Tensor | None:
    """Number i of each row's own, from the beginning again after the last; None where nobody has any."""
    several = [part[i % len(part)] for part, i in rows if part is not None]
    return torch.stack(several) if several else None


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"


def _pieces(heard: list[Heard], shown: list[int], first: int) -> Iterator[Piece]:
    """What has become sure since so many characters of each row were shown, the first of which is sample `first`."""
    for row, before in enumerate(shown):
        if heard[row].sure > before:
            shown[row] = heard[row].sure
            yield Piece(first + row, heard[row].text[before : shown[row]])
