"""Floor 5: a bundle, ready to make things. Given -> condition -> predictor -> wraps -> draw -> stored items.

Sample i depends on seed + i and on nothing else. A matrix library gives a row other last bits in a batch of another
size, so batches here have one fixed size per device, and the rows beyond n are drawn and dropped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maquette.bundle import Bundle, find_bundle, read_bundle
from maquette.core import cancel, devices
from maquette.core.config import Config
from maquette.core.devices import Precision
from maquette.core.errors import MaquetteError, nearest
from maquette.core.exit import Mark
from maquette.core.seeds import Between, Seeds
from maquette.core.types import Denoiser, Given, Predictor, Sampling, Stream, Tokens
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers.guidance import guide
from maquette.solvers.tasks import enlarge, inpaint

MAX_SAMPLES = 100_000
"""The most that one request may ask for."""
MAX_GUIDANCE = 100
MAX_BETWEEN = 1_000

EACH = "each"
"""The label that stands for every class in turn."""

BATCH = {"cpu": 32, "mps": 64, "cuda": 256}
"""Rows drawn together: enough to fill the device, few enough that one sample need not wait long."""

Wrap = Callable[[Predictor], Predictor]


@dataclass(frozen=True, kw_only=True)
class Request(Config):
    """What is asked of a pipeline: the flags of `maquette sample` and the keywords of `maquette.sample`."""

    n: int = 1
    """How many samples; with `between`, how many starts."""
    seed: int = 0
    """Sample i uses seed + i, whatever the batch size."""
    label: tuple[int | str, ...] | int | str | None = None
    """A class by name or number, several that are taken in turn, or `each`; none: every sample draws its own."""
    guidance: float = 1.0
    """Classifier-free guidance scale: 1 is what was learnt, more follows the label more closely."""
    sampling: Sampling | None = None
    """How to draw; none is the model's own way."""
    between: int = 0
    """Interpolation: this many steps from each start to the next, n starts giving (n - 1) * between + 1 items."""
    prompt: tuple[str, ...] | str | None = None
    """Words to go on from or to answer; of several, sample i has the i-th, from the beginning again after the last."""
    opening: Any = None
    """Stored tokens [n, k] that the samples begin with, row i for sample i, instead of a prompt in words."""
    image: Any = None
    """A stored item to complete (with `mask`) or to enlarge (with `factor`)."""
    mask: Any = None
    """Booleans that spread over a sample of the model's space: true where it is to be made anew."""
    factor: int = 0
    """Enlarge `image` this many times on each side, to the size that the model makes."""

    def __post_init__(self) -> None:
        self.check(1 <= self.n <= MAX_SAMPLES, "n", f"a whole number from 1 to {MAX_SAMPLES}")
        self.check(0 <= self.seed < 2**62, "seed", "a whole number from 0 to 2^62")
        self.check(0 <= self.guidance <= MAX_GUIDANCE, "guidance", f"a number from 0 to {MAX_GUIDANCE}")
        self.check(0 <= self.between <= MAX_BETWEEN, "between", f"a whole number from 0 to {MAX_BETWEEN}")
        self.check(self.total <= MAX_SAMPLES, "between", f"few enough for at most {MAX_SAMPLES} items")
        self.check(self.factor == 0 or 2 <= self.factor <= 64, "factor", "a whole number from 2 to 64")
        if self.image is None and (self.mask is not None or self.factor):
            raise MaquetteError("MQ-2105", first="factor" if self.factor else "mask", second="image")
        if self.image is not None and (self.mask is None) == (self.factor == 0):
            raise MaquetteError("MQ-2105", first="image", second="either mask or factor")

    @property
    def total(self) -> int:
        """How many items it makes."""
        return (self.n - 1) * self.between + 1 if self.between else self.n


class Pipeline:
    """A model with its medium. Build one with `load`.

    Attributes:
        medium, model, classes, card: what the bundle says.
        digest: SHA-256 of the weights' file.
    """

    def __init__(self, bundle: Bundle, device: torch.device, precision: Precision = "fp32"):
        self.medium_config = bundle.medium_config
        self.medium = bundle.medium_config.build()
        self.model = bundle.build()
        devices.place(self.model, device, "channels_last")
        self.classes, self.card, self.digest = bundle.classes, bundle.card, bundle.digest
        self.device = device
        self.precision: Precision = precision

    def generate(self, request: Request) -> np.ndarray:
        """Items [request.total, *medium.stored] of dtype `medium.dtype`.

        Raises:
            MaquetteError: MQ-21xx when the model knows no such label or cannot do this task.
            Cancelled: the current `core.cancel` token is over.
        """
        made = np.empty((request.total, *self.medium.stored), self.medium.dtype)
        first = 0
        for items in self.batches(request):
            made[first : first + len(items)] = items
            first += len(items)
        return made

    def batches(self, request: Request) -> Iterator[np.ndarray]:
        """The items of `generate`, as they are made."""
        how = request.sampling or Sampling()
        tokens = isinstance(self.model.space, Tokens)
        denoises = isinstance(self.model, Denoiser)
        if (how.solver or how.eta or (how.steps and not self.model.stepwise)) and not denoises:
            raise MaquetteError("MQ-2104", "sampling", task="be drawn by a solver in steps")
        if how.of_tokens and not tokens:
            raise MaquetteError("MQ-2104", "sampling", task="choose among tokens")
        labels, task, known = self.labels(request), self._task(request), self._known_beginnings(request)
        size = min(BATCH[self.device.type], request.total) if tokens else BATCH[self.device.type]
        for first in range(0, request.total, size):
            cancel.check()
            with torch.inference_mode(), devices.autocast(self.device, self.precision):
                owner, rng = self._rows(request, first, size)
                predict = task(self._predictor(labels[owner % len(labels)], request.guidance))
                start = self._begun(self.model.start(size, how, rng), owner, known)
                x = self.model.draw(predict, start, how, rng)
            x = x[: request.total - first].cpu()
            yield self.medium.from_tensor(x if tokens else x.float())

    def stream(self, request: Request) -> Iterator[str]:
        """The words of the one sample of `request`, in pieces as they are made; together they are what `words` says.

        A piece is held back while it may be half a character.

        Raises:
            MaquetteError: MQ-2104 when this model or medium does not come in pieces, and as `generate`.
        """
        model = self.model
        if not isinstance(model, Stream) or not self.medium.talks or request.total != 1:
            raise MaquetteError("MQ-2104", task="come in pieces of words, one sample at a time")
        how, said = request.sampling or Sampling(), ""
        with torch.inference_mode(), devices.autocast(self.device, self.precision):
            owner, rng = self._rows(request, 0, 1)
            predict = self._predictor(self.labels(request)[:1], request.guidance)
            start = self._begun(model.start(1, how, rng), owner, self._known_beginnings(request))
            words = ""
            for at, x in model.stream(predict, start, how, rng):
                words = self.medium.words(self.medium.from_tensor(x[:, : at + 1])[0]) or ""
                if not words.endswith("\ufffd"):
                    yield words[len(said) :]
                    said = words
        yield words[len(said) :]

    def marks(self, request: Request) -> list[Mark]:
        """What each item of `generate(request)` says of itself in its file."""
        return [Mark(self.digest, request.seed + i // (request.between or 1)) for i in range(request.total)]

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
        if not request.between:
            return index, Seeds.for_samples(request.seed, size, first, self.device)
        owner, share = index // request.between, index % request.between / request.between
        left = Seeds.for_seeds((owner + request.seed).tolist(), self.device)
        return owner, Between(left, Seeds.for_seeds((owner + request.seed + 1).tolist(), self.device), share)

    def _predictor(self, labels: Tensor, guidance: float) -> Predictor:
        n = len(labels)
        predict = self.model.predictor(self.model.condition(Given(label=labels.to(self.device)), n))
        if guidance == 1:
            return predict
        embedders = [part for part in self.model.modules() if isinstance(part, LabelEmbedder)]
        if not any(part.classes and part.drop > 0 for part in embedders):
            raise MaquetteError("MQ-2102", "guidance")
        return guide(predict, self.model.predictor(self.model.condition(Given(), n)), guidance)

    @staticmethod
    def _begun(start: Tensor, owner: Tensor, known: list[Tensor]) -> Tensor:
        """`start` with what is known of the sample that each row belongs to."""
        for row, sample in enumerate(owner.tolist() if known else ()):
            beginning = known[sample % len(known)]
            start[row, : len(beginning)] = beginning
        return start

    def _known_beginnings(self, request: Request) -> list[Tensor]:
        """The tokens of each prompt."""
        if request.opening is not None:
            return list(torch.from_numpy(np.asarray(request.opening).astype(np.int64)).to(self.device))
        if request.prompt is None:
            return []
        prompts = (request.prompt,) if isinstance(request.prompt, str) else request.prompt
        return [self.medium.asked(prompt).to(self.device) for prompt in prompts]

    def _task(self, request: Request) -> Wrap:
        """What is known of the samples, as a wrap of the predictor."""
        if request.image is None:
            return lambda predict: predict
        if not isinstance(self.model, Denoiser):
            raise MaquetteError("MQ-2104", task="complete a picture" if request.factor == 0 else "enlarge a picture")
        if request.factor:
            small = self._known(request.image, self.medium_config.smaller(request.factor).build())
            return lambda predict: enlarge(predict, small, request.factor)
        known, mask = self._known(request.image, self.medium), self._mask(request.mask)
        return lambda predict: inpaint(predict, known, ~mask)

    def _known(self, item: np.ndarray, medium: Any) -> Tensor:
        if np.shape(item) != tuple(medium.stored):
            found, wanted = (_shown(shape) for shape in (np.shape(item), medium.stored))
            raise MaquetteError("MQ-2106", "image", what="image", found=found, wanted=wanted)
        return medium.to_tensor(np.asarray(item, medium.dtype)[None]).to(self.device)

    def _mask(self, mask: np.ndarray) -> Tensor:
        try:
            spread = np.broadcast_to(np.asarray(mask, bool), self.medium.space.shape)
        except ValueError:
            found, wanted = (_shown(shape) for shape in (np.shape(mask), self.medium.space.shape))
            raise MaquetteError("MQ-2106", "mask", what="mask", found=found, wanted=wanted) from None
        return torch.from_numpy(spread.copy()).to(self.device)


def load(path: Path | str, device: str = "auto", precision: Precision = "fp32") -> Pipeline:
    """The model of a run's folder (its `bundle/`) or of a bundle's, on `device`.

    Args:
        precision: bf16 draws faster where the processor has instructions for it, and a little less exactly.

    Raises:
        MaquetteError: MQ-5004 no such folder, MQ-7030 neither of the two, MQ-7031 a run that has not come so far,
            and whatever `read_bundle` finds wrong.
    """
    return Pipeline(read_bundle(find_bundle(path)), devices.pick_device(device), precision)


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"
