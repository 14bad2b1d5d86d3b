"""Which models there are, and everything that is made of them: requests in, events out.

Models are loaded when they are first asked for and let go, the least recently used first, when memory is short; one
that is in use stays. All of asyncio's side is here, all of the device's in `batching.py`; they talk by a queue one way
and the loop's own the other. Nothing here trains, and no path is ever taken from a request: models have names.
"""

import asyncio
import contextlib
import importlib.util
import math
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maquette.bundle import CONFIG, WEIGHTS, Outline, find_bundle, read_bundle, read_outline
from maquette.core import devices
from maquette.core.devices import Storage
from maquette.core.errors import MaquetteError, nearest
from maquette.core.types import Compilable, Denoiser, Features, Stream, TwoTowers
from maquette.pipeline import Pipeline
from maquette.request import Request
from maquette.server.batching import Asked, Device, Event, Job, Line, Made, Partial, Used, Vectors, Words
from maquette.server.samples import Alone, Gather
from maquette.server.texts import Talk

MAX_NAME = 64
MAX_WAIT = 60
"""Seconds after which at the latest a client that was sent away is asked to try again."""


class Busy(MaquetteError):
    """Too many wait already; after `retry_after` seconds there may be room."""

    def __init__(self, waiting: int, retry_after: int):
        super().__init__("MQ-4020", waiting=waiting, seconds=retry_after)
        self.retry_after = retry_after


class Unopened(MaquetteError):
    """A model that cannot be loaded: whoever asks for it has done nothing wrong."""

    status = 500


@dataclass(frozen=True)
class Served:
    """A model that can be asked for, and what it can do.

    Attributes:
        id: its name, from that of its run or bundle; never a path.
        digest: SHA-256 of its weights.
        created: when its bundle was made, in seconds since 1970; bytes: of its weights' file.
        talks: whether it makes words; asks: whether they are answers; streams: whether what it makes comes in pieces.
        embeds: whether it makes vectors; draws: whether it makes samples; denoises: whether these can be begun from
            pictures, and shown on the way; exports: whether other libraries have such a model.
        takes: what it is given beside a label: "words", "picture".
        owner: the tenant whose job made it; None of a model of the operator's, which is everyone's.
        shared: whether its owner lets everyone use it.
        job: the id of that job; "" of a model of the operator's.
    """

    id: str
    folder: Path
    digest: str
    medium: str
    kind: str
    classes: tuple[str, ...]
    created: int
    bytes: int
    talks: bool
    asks: bool
    streams: bool
    embeds: bool
    draws: bool
    denoises: bool
    exports: bool = False
    takes: tuple[str, ...] = ()
    owner: str | None = None
    shared: bool = False
    job: str = ""


class Absent(NamedTuple):
    """A model that a job has made and whose files this server cannot read."""

    owner: str
    shared: bool


Sees = Callable[[Served | Absent], bool]
"""Whether a model is there for whoever asks."""


def anyone(served: Served | Absent) -> bool:
    """All models: for the server itself."""
    return True


class _Model:
    """One that can be loaded, or is."""

    def __init__(self, served: Served):
        self.served = served
        self.lock = asyncio.Lock()
        self.pipeline: Pipeline | None = None
        self.lines: dict[str, Line] = {}
        self.bytes = 0
        self.users = 0
        self.used = 0.0

    def opened(self, kind: str, line: Line) -> Line:
        self.lines[kind] = line
        self.bytes += line.bytes
        return line


class Engine:
    """Build it anywhere; `start`, `make`, `embed` and `close` are for one event loop.

    Args:
        folders: runs or bundles.
        memory: bytes that loaded models may take; None does not count them.
        queue: requests that may wait before others are sent away.
        slots: texts that are made together by one model.
        precision, compiled: see `pipeline.load`; steps are compiled where model, device and what is installed allow it.
    """

    def __init__(
        self,
        folders: Sequence[Path | str],
        *,
        device: str = "auto",
        memory: int | None = None,
        queue: int = 64,
        slots: int = 16,
        precision: Storage = "fp32",
        compiled: bool = True,
    ):
        self._compiled = compiled and importlib.util.find_spec("numba") is not None
        self._place, self._slots = devices.pick_device(device), slots
        self._precision: Storage = precision
        self._memory, self._queue = memory, queue
        self._models: dict[str, _Model] = {}
        self._absent: Mapping[str, Absent] = {}
        self._jobs: set[Job] = set()
        self._arriving = 0
        self._device: Device | None = None
        self._loader = ThreadPoolExecutor(1, "loader")
        self._closing = False
        self._counted = {
            "requests_total": 0,
            "refused_total": 0,
            "failed_total": 0,
            "cancelled_total": 0,
            "evicted_total": 0,
        }
        for folder in folders:
            self.add(Path(folder))

    # -- models -------------------------------------------------------------------------------------------------------

    def served(self, sees: Sees = anyone) -> list[Served]:
        """The models that someone sees, in the order in which they came."""
        return [model.served for model in list(self._models.values()) if sees(model.served)]

    def find(self, model: str, sees: Sees = anyone) -> Served:
        """Raises `MaquetteError` MQ-2160 when there is none of that name, or none that is seen: with the same words;
        MQ-5182 when it is seen and its files are out of reach."""
        return self._found(model, sees).served

    def add(self, folder: Path) -> Served:
        """A run's or bundle's folder becomes a model of the operator's; one that was there before is read anew under
        its name.

        Raises:
            MaquetteError: as `pipeline.load`, as far as the config tells.
        """
        served = describe(folder)
        known = next((m for m in list(self._models.values()) if m.served.folder == served.folder), None)
        served = replace(served, id=known.served.id if known else self._named(served.id))
        self._enter(served, known)
        return served

    def reconcile(self, trained: Mapping[str, Served], absent: Mapping[str, Absent]) -> None:
        """Of the models that jobs have made there are these and no others; what the operator has named stays.

        The weights of one that is gone are let go, by what is being made with it once that has come to its end.

        Args:
            trained: by name, in the order in which they are listed.
            absent: those whose files are out of reach.
        """
        for name, model in list(self._models.items()):
            if model.served.job and name not in trained:
                del self._models[name]
                self._counted["evicted_total"] += model.pipeline is not None
        given = {model.served.folder for model in self._models.values() if not model.served.job}
        for name, served in trained.items():
            known = self._models.get(name)
            if served.folder not in given and (known is None or known.served.job):
                self._enter(served, known)
        self._absent = absent

    def _enter(self, served: Served, known: _Model | None) -> None:
        if known is None or known.served.digest != served.digest:
            self._models[served.id] = _Model(served)
        else:
            known.served = served

    def _found(self, name: str, sees: Sees = anyone) -> _Model:
        model = self._models.get(name)
        if model is None and name in self._absent and sees(self._absent[name]):
            raise MaquetteError("MQ-5182", "model", what="model")
        if model is None or not sees(model.served):
            seen = [served.id for served in self.served(sees)]
            raise MaquetteError("MQ-2160", "model", name=name, near=nearest(name, seen))
        return model

    def _named(self, plain: str) -> str:
        numbers = (f"{plain}-{number}" for number in range(2, 1_000_000))
        return plain if plain not in self._models else next(name for name in numbers if name not in self._models)

    async def _ready(self, model: _Model) -> Pipeline:
        """The model's pipeline, loaded if need be; others are let go where it needs their memory."""
        async with model.lock:
            if (pipeline := model.pipeline) is None:
                self._make_room(model)
                try:
                    pipeline = await asyncio.get_running_loop().run_in_executor(self._loader, self._load, model.served)
                except BaseException:
                    model.bytes = 0
                    raise
                model.pipeline, model.bytes = pipeline, pipeline.bytes
            return pipeline

    def _load(self, served: Served) -> Pipeline:
        try:
            bundle = read_bundle(served.folder)
            compiled = self._compiled and self._place.type == "cpu" and bundle.model_config.makes(Compilable)
            return Pipeline(bundle, self._place, self._precision, compiled)
        except MaquetteError as bad:  # it leaves with the model's name: where it lies is nobody's business
            raise Unopened(bad.code, served.id, **bad.values) from None

    def _make_room(self, model: _Model) -> None:
        """Let go of idle models until this one fits.

        Raises:
            MaquetteError: MQ-2162 when it never will; Busy when those that are in use must be waited for.
        """
        if self._memory is None:
            return
        needed = model.served.bytes
        if needed > self._memory:
            raise MaquetteError("MQ-2162", model.served.id, needed=needed, memory=self._memory)
        models = list(self._models.values())
        total = sum(one.bytes for one in models)  # of those that are being loaded too
        for one in sorted(models, key=lambda one: one.used):
            if total + needed > self._memory and one.pipeline is not None and not one.users:
                total -= one.bytes
                one.pipeline, one.lines, one.bytes = None, {}, 0
                self._counted["evicted_total"] += 1
        if total + needed > self._memory:
            raise self._busy()
        model.bytes = needed

    # -- requests -----------------------------------------------------------------------------------------------------

    async def make(self, model: str, asked: Asked) -> AsyncGenerator[Words | Partial | Made | Used, None]:
        """What becomes of a request, in order of time; the last event is `Used`. Closing the iterator cancels it.

        Raises:
            Busy: too many wait; at the first event, as all that follows:
            MaquetteError: for what this model cannot do, MQ-2160 no such model, MQ-4021 the server is shutting down.
        """
        async with contextlib.aclosing(self._events(model, asked)) as events:
            async for event in events:
                if not isinstance(event, Vectors):
                    yield event

    async def embed(self, model: str, items: Sequence[str] | np.ndarray) -> np.ndarray:
        """A vector for each of some texts or stored items, float32 [n, d]; raises as `make`."""
        given = items if isinstance(items, np.ndarray) else tuple(items)
        async with contextlib.aclosing(self._events(model, Asked(embed=given))) as events:
            return np.concatenate([event.rows async for event in events if isinstance(event, Vectors)])

    async def _events(self, name: str, asked: Asked) -> AsyncGenerator[Event, None]:
        model = self._found(name)
        self._admit()
        model.users += 1
        model.used = time.monotonic()
        job = None
        try:
            job = await self._put(model, asked)
            while (event := await job.events.get()) is not None:
                if isinstance(event, BaseException):
                    self._counted["failed_total"] += 1
                    raise event
                job.fetched += isinstance(event, Made)
                yield event
        finally:
            model.users -= 1
            if job is not None:
                self._counted["cancelled_total"] += not job.over
                job.token.cancel()
                self._jobs.discard(job)

    async def _put(self, model: _Model, asked: Asked) -> Job:
        """Hand a request to the device, its model being loaded."""
        self._arriving += 1
        try:
            job = Job(asked, await self._ready(model))
        finally:
            self._arriving -= 1
        self._running.put(self._line(model, job), job)
        self._jobs.add(job)
        return job

    def _line(self, model: _Model, job: Job) -> Line:
        """The line that a job is for, opened when the first one comes."""
        device, pipeline, makes = self._running, job.pipeline, job.asked.embed is None
        if makes and pipeline.sits(job.request):
            return model.lines.get("talk") or model.opened("talk", Talk(device, pipeline, self._slots))
        if makes and pipeline.joins(job.request):
            return model.lines.get("gather") or model.opened("gather", Gather(device, pipeline))
        return model.lines.get("alone") or model.opened("alone", Alone(device))

    def _admit(self) -> None:
        """Raises `Busy` when too many wait, MQ-4021 when nobody is let in any more."""
        if self._closing or self._device is None:
            raise MaquetteError("MQ-4021")
        if self.waiting >= self._queue:
            self._counted["refused_total"] += 1
            raise self._busy()
        self._counted["requests_total"] += 1

    @property
    def waiting(self) -> int:
        """Requests that the device has not begun with."""
        return self._arriving + sum(not job.begun for job in self._jobs)

    def _busy(self) -> Busy:
        pace = self._running.seconds / max(1, self._running.done)
        return Busy(self.waiting, min(MAX_WAIT, max(1, math.ceil(pace * self.waiting))))

    # -- running ------------------------------------------------------------------------------------------------------

    @property
    def _running(self) -> Device:
        assert self._device is not None, "start() comes first"
        return self._device

    async def start(self) -> None:
        """Ready for requests."""
        self._device = Device(asyncio.get_running_loop())

    async def warm(self, model: str) -> None:
        """Load a model and let it make a sample, so that nobody waits for what is done once only.

        Raises:
            MaquetteError: when there is none, or it cannot be loaded.
        """
        served = self.find(model)
        await self._ready(self._found(model))
        short = Request(prompt="a" if served.asks else None, max_tokens=1 if served.talks else None)
        with contextlib.suppress(MaquetteError):  # one that must be given something
            async for _ in self.make(model, Asked(request=short)):
                pass

    async def close(self, seconds: float = 25.0) -> None:
        """No more is let in. What runs or waits may end within `seconds`; after that it is told MQ-4021."""
        self._closing = True
        until = time.monotonic() + seconds
        while (self._jobs or self._arriving) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        if self._device is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._device.stop)
            self._device.refuse()
        self._loader.shutdown(wait=False)

    def figures(self) -> Mapping[str, float]:
        """Numbers for those who watch; names that end in _total only grow."""
        device = self._device
        loaded = [model for model in self._models.values() if model.pipeline is not None]
        numbers = self._counted | {
            "queue_length": self.waiting,
            "running": len(self._jobs) + self._arriving - self.waiting,
            "models": len(self._models),
            "models_loaded": len(loaded),
            "model_bytes": sum(model.bytes for model in loaded),
            "items_total": device.items if device else 0,
            "tokens_total": device.tokens if device else 0,
            "device_seconds_total": device.seconds if device else 0,
        }
        return {name: float(number) for name, number in numbers.items()}


def describe(folder: Path) -> Served:
    """What is known of the model of a run or a bundle without loading it; in any thread.

    Raises:
        MaquetteError: as `pipeline.load`, as far as the config tells.
    """
    bundle = find_bundle(folder).resolve()
    source = bundle.parent.name if bundle.name == "bundle" else bundle.name
    plain = re.sub("[^a-z0-9._-]+", "-", source.lower()).strip("._-")[: MAX_NAME - 6] or "model"
    return _describe(plain, bundle, read_outline(bundle))


def _describe(name: str, bundle: Path, outline: Outline) -> Served:
    medium, config, along = outline.medium_config.build(), outline.model_config, outline.along
    takes = {"words": along.captions is not None, "picture": along.picture or along.craft is not None}
    return Served(
        id=name,
        folder=bundle,
        digest=outline.digest,
        medium=outline.medium_config.kind(),
        kind=config.kind(),
        classes=tuple(outline.classes),
        created=int((bundle / CONFIG).stat().st_mtime),
        bytes=(bundle / WEIGHTS).stat().st_size,
        talks=medium.talks,
        asks=medium.asks,
        streams=config.makes(Stream) and (medium.talks or outline.pointwise),
        embeds=config.makes(Features) or config.makes(TwoTowers),
        draws=config.draws,
        denoises=config.makes(Denoiser),
        exports=config.exports(medium, len(outline.classes)),
        takes=tuple(name for name, so in takes.items() if so),
    )
