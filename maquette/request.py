"""What is asked of a pipeline, and what it says where it makes words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from maquette.core.config import Config
from maquette.core.errors import MaquetteError, Phrase
from maquette.core.types import Sampling
from maquette.media import forms

MAX_SAMPLES = 100_000
"""The most that one request may ask for."""
MAX_GUIDANCE = 100
MAX_BETWEEN = 1_000
MAX_BLUR = 64
MAX_STOPS, MAX_STOP = 16, 1_000
"""How many strings may end a text, and of how many characters."""
MAX_LIKELIEST = 100

EACH = "each"
"""The label that stands for every class in turn."""

SETTINGS = ("guidance", "max_tokens", "form", "back", "factor", "blur", "colour")
WORDS = ("prompt", "template", "stop")
BROUGHT = {"image": "image", "given": "image", "mask": "mask", "manner": "manner", "opening": "opening"}
WHOLE = {"history": "history", "between": "interpolate", "mix": "mix"}
"""What a record of a request holds, what it holds when that is asked for, and what it can only name, as options do:
what was brought, and what one item cannot be made again by."""


@dataclass(frozen=True, kw_only=True)
class Request(Config):
    """What is asked of a pipeline: the flags of `maquette sample` and the keywords of `maquette.sample`."""

    whole: ClassVar[Phrase] = Phrase("the request", "请求")
    n: int = 1
    """How many samples; with `between`, how many starts."""
    seed: int = 0
    """Sample i uses seed + i, whatever the batch size."""
    label: tuple[int | str, ...] | int | str | None = None
    """A class by name or number, several that are taken in turn, or `each`; none: every sample draws its own."""
    guidance: float | None = None
    """Classifier-free guidance scale: 1 is what was learnt, more follows label and words more closely; none: the
    model's own."""
    guidance_interval: tuple[float, float] | None = None
    """The levels of noise (above the first, up to the second) at which it guides; none: at all of them."""
    sampling: Sampling | None = None
    """How to draw; none is the model's own way."""
    between: int = 0
    """Interpolation: this many steps from each start to the next, n starts giving (n - 1) * between + 1 items."""
    mix: float = 0.0
    """A sheet of n x n items with the coarse traits of the row's sample and the fine traits of the column's, which
    begin this share of the way from the coarsest to the finest; 0 mixes nothing."""
    prompt: tuple[str, ...] | str | None = None
    """Words to go on from or to answer; of several, sample i has the i-th, from the beginning again after the last."""
    history: tuple[tuple[str, str], ...] = ()
    """Questions and answers before the prompt, for those who answer."""
    max_tokens: int | None = None
    """At most so many tokens are made; none: until the text ends or the model's context is full."""
    stop: tuple[str, ...] | str = ()
    """Strings that end a text: it is cut before the first of them in what was made."""
    template: str | None = None
    """A text with □ for each letter to be made, everything else in it being given."""
    form: str | None = None
    """A named template of Chinese verse: 五绝, 七绝, 五律, 七律, or wujue, qijue, wulu, qilu."""
    likeliest: int = 0
    """Of text: how many of the likeliest tokens at each place are told with what was said."""
    opening: Any = None
    """Tokens [k, l] that samples begin with, -1 for each that is to be made: sample i has row i, from the beginning
    again after the last. Instead of a prompt in words. Or the first samples [k, n, channels] of stored sounds, which a
    model that goes on from them continues."""
    given: Any = None
    """Pictures [k, *shape] for a model that is given one with each sample, in the space that it is given (floats):
    sample i has number i, from the beginning again after the last."""
    manner: Any = None
    """Pictures [k, *shape] of the samples' space (floats), in whose manner a model of styles makes those of `given`
    over: sample i in that of number i, from the beginning again after the last."""
    back: bool = False
    """Of a model that goes both ways between two kinds: make what it is given of samples, not samples of that."""
    image: Any = None
    """A stored item to complete (with `mask`), to enlarge (with `factor`), to sharpen (with `blur`), to colour (with
    `colour`), or to draw anew in part (with a `strength` below 1 in `sampling`)."""
    mask: Any = None
    """Booleans that spread over a sample of the model's space: true where it is to be made anew."""
    factor: int = 0
    """Enlarge `image` this many times on each side, to the size that the model makes."""
    blur: float = 0.0
    """Find what `image` was before it was blurred by a Gaussian of this standard deviation in pixels."""
    colour: bool = False
    """Give `image` colours that keep how bright each of its pixels is."""
    keep_prompt: bool = False
    """Whether the marks of what is made hold its words too, so that each file can be made again from itself."""

    def __post_init__(self) -> None:
        self.check(1 <= self.n <= MAX_SAMPLES, "n", f"a whole number from 1 to {MAX_SAMPLES}")
        self.check(0 <= self.seed < 2**62, "seed", "a whole number from 0 to 2^62")
        self.check(0 <= (self.guidance or 0) <= MAX_GUIDANCE, "guidance", f"a number from 0 to {MAX_GUIDANCE}")
        self.check(0 <= self.between <= MAX_BETWEEN, "between", f"a whole number from 0 to {MAX_BETWEEN}")
        self.check(
            self.total <= MAX_SAMPLES, "mix" if self.mix else "between", f"few enough for at most {MAX_SAMPLES} items"
        )
        self.check(0 <= self.mix < 1, "mix", "a share in [0, 1)")
        self.check(not (self.mix and self.between), "mix", "0 where `between` is given")
        self.check(self.factor == 0 or 2 <= self.factor <= 64, "factor", "a whole number from 2 to 64")
        self.check(0 <= self.blur <= MAX_BLUR, "blur", f"a number of pixels from 0 to {MAX_BLUR}")
        low, high = self.guidance_interval or (0.0, math.inf)
        self.check(0 <= low < high, "guidance_interval", "two rising levels of noise")
        self._check_words()
        self._check_image()

    def _check_image(self) -> None:
        again = self.sampling is not None and self.sampling.strength < 1
        ways = {"mask": self.mask is not None, "factor": self.factor, "blur": self.blur, "colour": self.colour}
        asked = [name for name, wanted in {**ways, "strength": again}.items() if wanted]
        if self.image is None and asked:
            raise MaquetteError("MQ-2105", first=asked[0], second="image")
        if self.image is not None and len(asked) != 1:
            raise MaquetteError("MQ-2105", first="image", second="one of mask, factor, blur, colour and strength")

    def _check_words(self) -> None:
        self.check(self.max_tokens is None or self.max_tokens >= 1, "max_tokens", "a whole number of tokens from 1 on")
        self.check(0 <= self.likeliest <= MAX_LIKELIEST, "likeliest", f"a whole number from 0 to {MAX_LIKELIEST}")
        good = len(self.stops) <= MAX_STOPS and all(1 <= len(stop) <= MAX_STOP for stop in self.stops)
        self.check(good, "stop", f"at most {MAX_STOPS} texts of 1 to {MAX_STOP} characters")
        self.check(self.template is None or forms.GAP in self.template, "template", f"a text with {forms.GAP} in it")
        self.check(self.form is None or self.form in forms.FORMS, "form", "one of " + ", ".join(forms.FORMS))
        self.check(self.form is None or self.template is None, "form", "left out where a template is given")
        self.check(
            self.max_tokens is None or self.filled is None,
            "max_tokens",
            "left out where a template or form says how many",
        )
        if self.history and self.prompt is None:
            raise MaquetteError("MQ-2105", first="history", second="prompt")

    def record(self, sample: int, label: str | None) -> dict[str, Any]:
        """What `sample` was asked with beside its seed, where that is not the usual: plain data, named as options of
        `maquette sample` and fields of the API are. `without` names what is not there and was given.

        Args:
            label: what was asked for, by name.
        """
        how, usual = self.sampling or Sampling(), Sampling()
        told: dict[str, Any] = {"label": label}
        told |= {name: value for name in SETTINGS if (value := getattr(self, name)) != getattr(_PLAIN, name)}
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            told |= {"guidance_low": low} | ({"guidance_high": high} if math.isfinite(high) else {})
        told |= {f.name: value for f in fields(how) if (value := getattr(how, f.name)) != getattr(usual, f.name)}
        prompt = self.prompt[sample % len(self.prompt)] if isinstance(self.prompt, tuple) else self.prompt
        words = {"prompt": prompt or None, "template": self.template, "stop": list(self.stops) or None}
        words = {name: value for name, value in words.items() if value is not None}
        missing = {option for name, option in BROUGHT.items() if getattr(self, name) is not None}
        missing |= {option for name, option in WHOLE.items() if getattr(self, name)}
        missing |= set() if self.keep_prompt else words.keys()
        told |= words | {"keep_prompt": True} if self.keep_prompt else {}
        told = {name: _short(value) for name, value in told.items() if value is not None}
        return told | ({"without": sorted(missing)} if missing else {})

    @staticmethod
    def recalled(record: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a request for what has such a record, `without` aside; values are as strange as the file is.

        Raises:
            MaquetteError: MQ-3022 for a field that no record here has.
        """
        told = {name: value for name, value in record.items() if name != "without"}
        how = {f.name: told.pop(f.name) for f in fields(Sampling) if f.name in told}
        low, high = told.pop("guidance_low", None), told.pop("guidance_high", None)
        if strange := sorted(told.keys() - {"label", "keep_prompt", *SETTINGS, *WORDS}):
            raise MaquetteError("MQ-3022", name=strange[0])
        if low is not None or high is not None:
            told["guidance_interval"] = [low or 0.0, math.inf if high is None else high]
        return told | ({"sampling": how} if how else {})

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings of `stop`."""
        return (self.stop,) if isinstance(self.stop, str) else self.stop

    @property
    def filled(self) -> str | None:
        """The template, if there is one."""
        return self.template if self.form is None else forms.verse(self.form)

    @property
    def total(self) -> int:
        """How many items it makes."""
        if self.mix:
            return self.n**2
        return (self.n - 1) * self.between + 1 if self.between else self.n


_PLAIN = Request()


def _short(value: Any) -> Any:
    """2.0 as 2: so every reader of JSON writes it again as it was."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class Said:
    """What one sample of text says, and how likely each of its tokens was.

    Attributes:
        text: up to where the model, the first stop string or the end of the context ended it. It begins with the prompt
            where that is a beginning, and holds the answer alone where it is a question.
        tokens: those that were made, each as text by itself (bytes that are no character alone as <0xE6>, the mark that
            ends a text as ""), up to the one that completed a stop string.
        log_probabilities: of each of them, natural: log softmax of the logits when it was chosen, with the guidance
            asked for, before temperature, top-k and their like, repetition, a template or stop strings changed them.
            Their sum is log p(what was made | what was known) where a model goes from left to right; where it uncovers
            places in any order, each is given what was visible then.
        likeliest: at each of them the likeliest tokens and their log-probabilities; empty unless asked for.
        ended: "stop" when the model or a stop string ended it, "length" when `max_tokens`, a template or the context
            did.
        item: the stored tokens as they were made, of those after a stop string END.
    """

    text: str
    tokens: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    likeliest: tuple[tuple[tuple[str, float], ...], ...]
    ended: Literal["stop", "length"]
    item: np.ndarray

    def tree(self) -> dict[str, Any]:
        """Plain data: the text, why it ended, and each token with its log-probability and the likeliest ones."""
        tokens: list[dict[str, Any]] = [
            {"token": token, "log_probability": round(value, 6)}
            for token, value in zip(self.tokens, self.log_probabilities, strict=True)
        ]
        for told, others in zip(tokens, self.likeliest, strict=False):
            told["likeliest"] = [(token, round(value, 6)) for token, value in others if math.isfinite(value)]
        return {"text": self.text, "ended": self.ended, "tokens": tokens}


class Piece(NamedTuple):
    """Some more words of a sample: number `sample` of the request."""

    sample: int
    text: str


class Told(NamedTuple):
    """What a sample says: number `sample` of the request."""

    sample: int
    said: Said
