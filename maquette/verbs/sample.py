"""Make new items and write them, each with its mark, through the one exit."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as pillow
from torch import Tensor

from maquette.core import exit as exits
from maquette.core import files
from maquette.core.errors import MaquetteError, Phrase
from maquette.core.exit import Mark, Ready
from maquette.core.seeds import GIVEN, Seeds
from maquette.core.types import Real
from maquette.core.waiting import awaited
from maquette.media import lettering, marks
from maquette.media.base import InTime, Medium, foretells, read_whole
from maquette.media.image import Image
from maquette.pipeline import Pipeline, load
from maquette.request import EACH, WHOLE, Request, Said
from maquette.verbs import notes
from maquette.verbs.lasting import Lasting

COLUMNS = 8
FUTURES = 100
"""Of a past, unless told otherwise."""
MOST = 256 << 20
"""Bytes of a file that is to be made again."""
FORECAST = "forecast"
"""The files that tell of all futures of a past."""


@dataclass(frozen=True)
class Made:
    """The items [n, *stored], the files they were written to, and what each says where they are words.

    A file that lasts longer than an item is answered item by item where the model can, and what is written is as long;
    else `warnings` tell what was left out of it.
    """

    items: np.ndarray
    paths: list[Path]
    said: list[Said]
    warnings: list[MaquetteError]


def sample(
    source: Pipeline | Path | str,
    out: Path | str | None = None,
    grid: Path | str | None = None,
    visible: str = "",
    allow: Callable[[Any], bool] | None = None,
    device: str = "auto",
    derive: bool = False,
    clip: Path | str | None = None,
    transpose: int = 0,
    like: Path | str | None = None,
    quiet: bool = False,
    overwrite: bool = False,
    numbered: bool = False,
    **request: Any,
) -> Made:
    """Draw from a run, a bundle or a loaded pipeline; write nothing unless `out` or `grid` says where.

    Args:
        out: a folder for one file an item.
        grid: a PNG file for all of them on one sheet.
        visible: text drawn onto every item.
        allow: filter hook; what it does not return True for is not written (MQ-8002).
        derive: whether `image` is a whole picture, of which first that is taken which was taken of the samples that the
            model learnt from; otherwise it is what a person brings: already small, grey, noisy …
        clip: a file that plays the first few of them one after another, with the suffix of the medium's clips.
        transpose: of music: so many semitones higher than it was made.
        like: a file that this model made before: by its mark `request` is that of this one item, but for what is said.
        quiet: show no progress on stderr.
        overwrite: whether files that are there already may be replaced by others. What was made alike before may always
            be made again: it has the same bytes.
        numbered: whether `out` gets the first number from 2 with which nothing would be replaced, instead of an error.
        request: the fields of `Request`: n, seed, label, guidance, guidance_interval, sampling, between; of text
            prompt, history, max_tokens, stop, template, form and likeliest; of pictures mix, image, mask, factor, blur
            and colour. `image` and `mask` may be files, the mask white where the picture is to be made anew; of films
            it is a picture too. Of sound and films `gap` says from which second to which they are to be made anew:
            "0.4:0.45", either end left out where there is none. A model that is given pictures takes several of them,
            or a folder, one a sample, and `mask` or `gap` only where it mends; one that knows styles takes `manner` in
            the same way. `opening` may be a file of sound, or of music, of which `quarters` says how many quarter notes
            are taken; `voice` files by the names of the voices that they give. To a model that foretells, `image` is
            the past that all of the n items begin with; `out` then also gets forecast.csv, their median and intervals,
            and forecast.png, which `grid` shows as well.

    Raises:
        MaquetteError: nothing has been written then; MQ-5006 where a file would be replaced by another.
    """
    if grid is not None and Path(grid).suffix.lower() != ".png":
        raise MaquetteError("MQ-2002", path="grid", wanted="a file name that ends in .png", value=repr(str(grid)))
    pipeline = source if isinstance(source, Pipeline) else load(source, device)
    if like is not None:
        request = _again(Path(like), request, pipeline)
    known = _past(request.get("image"), pipeline.medium)
    if known is not None:
        request = request | {"image": None, "n": request.get("n") or FUTURES} | pipeline.continuing(known)
    lasting = Lasting(pipeline.medium)
    asked: Request = Request.from_tree(_opened(request, pipeline, derive, lasting), "")
    stamps, key = pipeline.marks(asked), _key(asked, visible, transpose)
    starts = lasting.starts(len(stamps))
    called, marked = [names(asked)[i] for i in starts], [stamps[i] for i in starts]
    if not overwrite:
        places = [Path(path) for path in (grid, clip) if path is not None]
        made = [] if out is None or numbered else [Path(out) / f"{name}{pipeline.medium.suffix}" for name in called]
        exits.require_free([*made, *places], [*marked[: len(made)], *[stamps[0]] * len(places)], key)
    with awaited(quiet):
        said = pipeline.say(asked) if pipeline.medium.talks else []
        items = np.stack([one.item for one in said]) if said else pipeline.generate(asked)
    items = notes.moved(pipeline.medium, items, transpose) if transpose else items
    if known is not None and isinstance(pipeline.medium, InTime):
        items = pipeline.medium.onto(items, known)
    if allow is not None and not all(allow(item) is True for item in items):
        raise MaquetteError("MQ-8002")
    things: list[Any] = [one.text for one in said] or list(items)
    shown: Any = [pipeline.medium.label(thing, visible) for thing in things] if visible else things
    played = None if clip is None else _played(pipeline.medium, shown, Path(clip))
    own: list[Ready] = []
    if out is not None:
        alone = bool(pipeline.classes) and not (asked.mix or asked.between)  # between two items there is no label
        numbers = pipeline.labels(asked).tolist() if alone else []
        labels = [pipeline.classes[numbers[i % len(numbers)]] for i in starts] if numbers else []
        own += exits.ready(lasting.whole(things), called, pipeline.medium, out, marked, visible, labels=labels)
        own += [] if known is None else _outlook(items, pipeline.medium, out, stamps[0], visible)
        own = exits.apart(own, Path(out)) if numbered and not overwrite else own
    ready = own
    if grid is not None and isinstance(pipeline.medium, InTime) and known is not None:
        fan = pipeline.medium.fan([items])
        ready = ready + exits.ready([fan], [Path(grid).stem], Sheet(), Path(grid).parent, stamps[:1], visible)
    elif grid is not None:
        png = pipeline.medium.sheet(shown if said else np.stack(shown), *_layout(asked, pipeline.classes))
        ready = ready + exits.ready([png], [Path(grid).stem], Sheet(), Path(grid).parent, stamps[:1])
    if clip is not None:
        ready = ready + exits.ready([played], [Path(clip).stem], Clip(clip), Path(clip).parent, stamps[:1])
    return Made(items, exits.write(ready, overwrite, key), said, lasting.warnings)


def _again(like: Path, request: dict[str, Any], pipeline: Pipeline) -> dict[str, Any]:
    """`request` with what the mark of the file `like` tells, where it says nothing itself.

    Raises:
        MaquetteError: MQ-3021 no mark, MQ-3022 of another version, MQ-3023 of another model, MQ-3024 made with what is
            not said, MQ-3025 made as one of several that belong together.
    """
    place = str(like)
    digest, seed, asked = marks.origin(read_whole(like, MOST), place)
    if not pipeline.digest.startswith(digest):
        raise MaquetteError("MQ-3023", place, made=digest, digest=pipeline.digest[: len(digest)])
    said = {name: value for name, value in request.items() if _is_said(value)}
    there = said.keys() | ({"mask"} if "gap" in said or foretells(pipeline.medium) else set())
    there |= {"opening"} if "voice" in said else set()
    without = asked.get("without", [])
    if not (isinstance(without, list) and all(isinstance(name, str) for name in without)):
        raise MaquetteError("MQ-3022", place, name="without")
    missing = [name for name in without if name not in there]
    if several := [name for name in missing if name in WHOLE.values()]:
        raise MaquetteError("MQ-3025", place, option=f"--{several[0]}")
    if missing:
        options = ", ".join(f"--{name}" for name in missing)
        raise MaquetteError("MQ-3024", place, missing=", ".join(missing), options=options)
    told = Request.recalled(asked)
    how = told.get("sampling", {}) | said.pop("sampling", {})
    return {"n": 1, "seed": seed} | told | {"sampling": how} | said


def _is_said(value: Any) -> bool:
    """Whether an option was given."""
    return not (value is None or value is False or (isinstance(value, list | tuple | dict) and not value))


def _key(request: Request, visible: str, transpose: int) -> str:
    """A digest of what was asked for, but for how many and from which seed on: these the files' names and marks tell.

    Of long arrays it sees a part: two requests of one key may still be different, which their files' bytes tell.
    """
    told = {name: value for name, value in vars(request).items() if name not in ("n", "seed")}
    return files.digest(repr((told, visible, transpose)).encode())[:16]


def _past(image: Any, medium: Medium) -> np.ndarray | None:
    """The past to go on from; None for a medium that foretells nothing, or where none was given."""
    if image is None or not isinstance(medium, InTime) or not medium.horizon:
        return None
    if isinstance(image, list | tuple):
        if len(image) != 1:
            raise MaquetteError("MQ-2002", path="image", wanted="one file, the past", value=f"{len(image)} of them")
        image = image[0]
    return medium.past(image)


def _outlook(items: np.ndarray, medium: Medium, out: Path | str, mark: Mark, visible: str) -> list[Ready]:
    """What all futures of a past say together: a table and a fan in the folder `out`."""
    assert isinstance(medium, InTime), "which has a past"
    table = exits.ready([items], [FORECAST], medium.outlook, out, [mark])
    return table + exits.ready([medium.fan([items])], [FORECAST], Sheet(), out, [mark], visible)


def names(request: Request) -> list[str]:
    """The files' names without their suffix: the seed of each item, and its place on the way to the next, or the seed
    of its fine traits."""
    if request.mix:
        pairs = (divmod(i, request.n) for i in range(request.total))
        return [f"{request.seed + row:06d}-{request.seed + column:06d}" for row, column in pairs]
    if not request.between:
        return [f"{request.seed + i:06d}" for i in range(request.n)]
    steps = (divmod(i, request.between) for i in range(request.total))
    return [f"{request.seed + start:06d}-{step:03d}" for start, step in steps]


class Sheet:
    """A finished PNG as a thing that may leave: it takes marks and words as a picture of its medium does."""

    suffix = ".png"

    def encode(self, item: bytes, mark: Mark) -> bytes:
        buffer = io.BytesIO()
        pillow.open(io.BytesIO(item)).save(buffer, "PNG", pnginfo=marks.chunks(mark))
        return buffer.getvalue()

    def label(self, item: bytes, text: str) -> bytes:
        buffer = io.BytesIO()
        picture = lettering.label(np.asarray(pillow.open(io.BytesIO(item)).convert("RGB")), text)
        pillow.fromarray(picture).save(buffer, "PNG")
        return buffer.getvalue()


class Clip:
    """A finished file that plays, as a thing that may leave."""

    def __init__(self, path: Path | str):
        self.suffix = Path(path).suffix

    def encode(self, item: bytes, mark: Mark) -> bytes:
        return marks.onto(item, mark)

    def label(self, item: bytes, text: str) -> bytes:
        raise AssertionError("what it plays was labelled")


def _played(medium: Medium, items: Sequence[Any], path: Path) -> bytes:
    """The clip of `items` for a file called `path`; MQ-2104 if there is none, MQ-2002 if it has another suffix."""
    suffix, data = (None if medium.talks else medium.clip(np.stack(items))) or ("", b"")
    if not suffix:
        raise MaquetteError("MQ-2104", "clip", task="make what is played")
    if path.suffix.lower() != suffix:
        raise MaquetteError("MQ-2002", path="clip", wanted=f"a file name that ends in {suffix}", value=repr(str(path)))
    return data


def _opened(request: dict[str, Any], pipeline: Pipeline, derive: bool, lasting: Lasting) -> dict[str, Any]:
    """`request` with the files of `image`, `manner`, `mask` and `opening` read, and `gap` as a mask."""
    asked = dict(request)
    opening, quarters, voice = (asked.pop(name, None) for name in ("opening", "quarters", "voice"))
    if quarters is not None and opening is None:
        raise MaquetteError("MQ-2105", first="quarters", second="opening")
    if voice and opening is not None:
        raise MaquetteError("MQ-2105", first="voice", second="no opening")
    if isinstance(opening, str | Path):
        opening = _beginning(pipeline.medium, Path(opening), quarters)
    asked["opening"] = notes.voices(pipeline.medium, voice) if voice else opening
    asked["mask"] = _holes(asked.get("mask"), asked.pop("gap", None), pipeline.medium)
    if isinstance(asked.get("image"), list | tuple) and len(asked["image"]) == 1:
        asked["image"] = asked["image"][0]
    if pipeline.model.beside.image is not None and asked.get("image") is not None:
        again = {"strength": (asked.get("sampling") or {}).get("strength", 1) != 1}
        ways = {name: asked.get(name) for name in ("factor", "blur", "colour")} | again
        for what in (name for name, wanted in ways.items() if wanted):  # it does what it has learnt
            raise MaquetteError("MQ-2138", what, kind=pipeline.model.config.kind(), what=what)
        reader, mask, craft = _reader(pipeline, derive), asked.pop("mask", None), pipeline.along.craft
        pictures = pictures_in(asked.pop("image"), reader.suffixes)
        if craft is not None and not craft.in_parts() or asked.get("between") or asked.get("mix"):
            pictures = [lasting.first(one, reader) for one in pictures]
        else:
            pictures = lasting.all(pictures, reader, asked)
        asked["given"] = brought(pipeline, pictures, mask, derive, asked.get("seed") or 0)
        if asked.get("manner") is not None:
            manners = pictures_in(asked["manner"], pipeline.medium.suffixes)
            manners = [lasting.first(one, pipeline.medium) for one in manners]
            asked["manner"] = _tensors(manners, pipeline.medium, "manner")
        if asked.get("n") is None:
            asked["n"] = max(len(asked[name]) for name in ("given", "manner") if asked.get(name) is not None)
    elif derive and pipeline.model.beside.image is not None:
        raise MaquetteError("MQ-2137", "derive")
    elif derive:
        raise MaquetteError("MQ-2138", "derive", kind=pipeline.model.config.kind(), what="picture")
    if isinstance(asked.get("image"), str | Path):
        factor = asked.get("factor") or 0
        smaller = isinstance(factor, int) and factor > 1
        medium = pipeline.medium_config.smaller(factor).build() if smaller else pipeline.medium
        asked["image"] = lasting.first(asked["image"], medium)
    for name in ("label", "prompt", "stop"):
        if isinstance(asked.get(name), list):
            asked[name] = tuple(asked[name])
    return {name: value for name, value in asked.items() if value is not None}


def _beginning(medium: Medium, path: Path, quarters: int | None) -> np.ndarray:
    """What samples go on from: the notes of a file, or sound.

    Raises:
        MaquetteError: MQ-2002 a sound that leaves nothing to be made, and what `notes.beginning` and reading it raise.
    """
    if quarters is not None or not (isinstance(medium.space, Real) and len(medium.space.shape) == 2 and medium.rate):
        return notes.beginning(medium, path, quarters)
    items, length = medium.stretch(path)
    if length >= medium.stored[0]:
        most, lasts = (f"{steps / medium.rate:.3g} s" for steps in (medium.stored[0], length))
        wanted = Phrase(f"a sound shorter than the {most} that are made", f"短于所生成的 {most} 的声音")
        raise MaquetteError("MQ-2002", str(path), path="opening", wanted=wanted, value=lasts)
    return items[:, :length]


def _holes(mask: Any, gap: Any, medium: Medium) -> Any:
    """Where samples are to be made anew, as booleans that spread over one of them; what is not said is None.

    Raises:
        MaquetteError: MQ-2105 where both are said, MQ-2104 a gap where there is no time or a mask where there are no
            pictures, MQ-2002 a gap that is none, and what reading a mask raises.
    """
    if gap is not None and mask is not None:
        raise MaquetteError("MQ-2105", "gap", first="image", second="one of mask and gap")
    if gap is not None:
        return _span(gap, medium)
    if not isinstance(mask, str | Path):
        return mask
    shape = medium.space.shape
    if len(shape) < 3:
        raise MaquetteError("MQ-2104", "mask", task="read a mask, which is a picture; give --gap")
    reader = medium if len(shape) == 3 else Image(shape[-1], shape[0])
    white = reader.to_tensor(reader.read(Path(mask))[None]).numpy() > 0
    return white[0] if len(shape) == 3 else white.any(1, keepdims=True)


def _span(gap: Any, medium: Medium) -> np.ndarray:
    """Booleans [1, n, 1 …]: true from one second to another, written START:END or a pair."""
    shape, rate = medium.space.shape, medium.rate
    if not rate:
        raise MaquetteError("MQ-2104", "gap", task="be told a span of time: what it makes does not last")
    ends: Any = gap.split(":") if isinstance(gap, str) else gap
    try:
        start, end = (
            float(word) if word not in ("", None) else other for word, other in zip(ends, (0, math.inf), strict=True)
        )
        first, last = round(max(start, 0) * rate), round(min(end * rate, shape[1]))
    except (TypeError, ValueError, OverflowError):
        first = last = 0
    if first >= last:
        wanted = f"START:END in seconds, within {shape[1] / rate:g}"
        raise MaquetteError("MQ-2002", path="gap", wanted=wanted, value=repr(gap))
    at = np.arange(shape[1]).reshape(1, -1, *[1] * (len(shape) - 2))
    return (at >= first) & (at < last)


def pictures_in(image: Any, suffixes: frozenset[str]) -> list[Any]:
    """One picture, several, or those in a folder in the order of their names."""
    several = list(image) if isinstance(image, list | tuple) else [image]
    found: list[Any] = []
    for one in several:
        inside: list[Any] = sorted(Path(one).iterdir()) if isinstance(one, str | Path) and Path(one).is_dir() else [one]
        found += [path for path in inside if len(inside) == 1 or path.suffix.lower() in suffixes]
    if not found:
        raise MaquetteError("MQ-3002", str(image), what="picture", todo=f"they end in {', '.join(sorted(suffixes))}")
    return found


def _tensors(items: Sequence[np.ndarray], medium: Medium, what: str) -> Tensor:
    """Stored items [k, *shape] as `medium` sees them; raises MQ-2106 for one of another shape."""
    if strange := [item.shape for item in items if item.shape != medium.stored]:
        found, wanted = ("×".join(map(str, shape)) for shape in (strange[0], medium.stored))
        raise MaquetteError("MQ-2106", what, what=what, found=found, wanted=wanted)
    return medium.to_tensor(np.stack(items))


def _reader(pipeline: Pipeline, derive: bool) -> Medium:
    """The medium of what a person brings."""
    craft, space = pipeline.along.craft, pipeline.medium.space
    assert isinstance(space, Real), "what is given a picture makes one"
    return pipeline.medium.shaped(space if craft is None or derive else craft.brought(space))


def brought(pipeline: Pipeline, pictures: Sequence[np.ndarray], mask: Any, derive: bool, seed: int) -> Tensor:
    """What the model is given of stored items: see `derive` of `sample`."""
    craft, space = pipeline.along.craft, pipeline.medium.space
    assert isinstance(space, Real), "what is given a picture makes one"
    if craft is None and (mask is not None or derive):
        what = "mask" if mask is not None else "whole picture to take something from"
        raise MaquetteError("MQ-2138", "mask", kind=pipeline.model.config.kind(), what=what)
    x = _tensors(pictures, _reader(pipeline, derive), "image")
    if craft is None:
        return x
    if derive and mask is not None:
        what = "mask of a picture from which something is taken anyway"
        raise MaquetteError("MQ-2138", "mask", kind=pipeline.model.config.kind(), what=what)
    if derive:
        return craft.take(x, Seeds.for_samples(seed, len(x)).fork(GIVEN))
    return craft.bring(x, space, None if mask is None else _hidden(mask, x))


def _hidden(mask: Any, x: Tensor) -> Tensor:
    """`mask` [1, 1, *space] for samples [b, c, *space]; raises MQ-2106 where it does not spread over one."""
    holes = np.asarray(mask, bool)
    holes = holes.any(0, keepdims=True) if holes.ndim == x.ndim - 1 else holes
    try:
        return torch.from_numpy(np.broadcast_to(holes, (1, 1, *x.shape[2:])).copy())
    except ValueError:
        found, wanted = ("×".join(map(str, shape)) for shape in (holes.shape, x.shape[2:]))
        raise MaquetteError("MQ-2106", "mask", what="mask", found=found, wanted=wanted) from None


def _layout(request: Request, classes: Sequence[str]) -> tuple[int, list[str] | None]:
    """Columns of the sheet, and their titles where each column is a class."""
    if request.mix:
        return request.n, None
    if request.label == EACH:
        return len(classes), list(classes)
    if request.between:
        return request.between, None
    return max(COLUMNS, round(request.n**0.5)), None
