"""Uploaded pictures -> what a request is given of them. Strangers' files: they are opened in processes of their own."""

import asyncio
from typing import Any, NamedTuple

import numpy as np
import torch

from maquette.bundle import Outline
from maquette.core.errors import MaquetteError
from maquette.core.types import Real
from maquette.media.base import Medium
from maquette.server.decoders import Decoders
from maquette.server.schemas import Edit


class Brought(NamedTuple):
    """Files of a form."""

    image: bytes
    mask: bytes | None


def one_of(files: dict[str, list[bytes]], *names: str) -> list[bytes | None]:
    """At most one file of each name; raises MQ-2202 for several, and where the first is missing."""
    for name in names:
        if len(files.get(name, [])) > 1:
            raise MaquetteError("MQ-2202", path=name, wanted="one file", more="")
    found = [files[name][0] if files.get(name) else None for name in names]
    if found[0] is None:
        raise MaquetteError("MQ-2202", path=names[0], wanted="it is needed", more="")
    return found


async def read(decoders: Decoders, data: bytes, medium: Medium, field: str) -> np.ndarray:
    """The item of a picture file; raises as `Decoders.square`."""
    size, _, channels = medium.stored
    return await decoders.square(data, field, size, channels)


async def edited(decoders: Decoders, brought: Brought, edit: Edit, outline: Outline) -> dict[str, Any]:
    """The fields of a request that begins from a picture, as `maquette sample --image` has them.

    Raises:
        MaquetteError: MQ-2138 when the model does something else with pictures, and as `read`.
    """
    medium = outline.medium_config.build()
    space = medium.space
    assert isinstance(space, Real) and len(space.shape) == 3, "of pictures"
    if outline.along.beside(space).image is not None:
        return {"given": await _given(decoders, brought, edit, outline, medium)}
    fields: dict[str, Any] = {
        name: value for name in ("factor", "colour") if (value := getattr(edit, name)) is not None
    }
    if edit.blur is not None:
        fields["blur"] = float(edit.blur)
    if edit.factor is not None:
        medium = outline.medium_config.smaller(edit.factor).build()
    fields["image"] = await read(decoders, brought.image, medium, "image")
    ways = fields.keys() - {"image"} or (edit.strength is not None and edit.strength < 1)
    mask = await _mask(decoders, brought, space.shape[-1], clear=not ways)
    return fields if mask is None else fields | {"mask": mask}


async def _given(decoders: Decoders, brought: Brought, edit: Edit, outline: Outline, medium: Medium) -> torch.Tensor:
    """The picture in the space of what the model learnt to begin from."""
    kind, craft, space = outline.model_config.kind(), outline.along.craft, medium.space
    assert isinstance(space, Real)
    for what in ("factor", "blur", "colour", "strength"):
        if getattr(edit, what):
            raise MaquetteError("MQ-2138", what, kind=kind, what=what)
    reader = medium.shaped(outline.along.beside(space).image or space if craft is None else craft.brought(space))
    x = reader.to_tensor((await read(decoders, brought.image, reader, "image"))[None])
    hidden = await _mask(decoders, brought, space.shape[-1], clear=craft is not None)
    if craft is None and hidden is not None:
        raise MaquetteError("MQ-2138", "mask", kind=kind, what="mask")
    if craft is None:
        return x
    return await asyncio.to_thread(craft.bring, x, space, None if hidden is None else torch.from_numpy(hidden)[None])


async def _mask(decoders: Decoders, brought: Brought, size: int, clear: bool) -> np.ndarray | None:
    """Where the picture is to be made anew, booleans [1, size, size]: where the mask is clear, or white if nothing in
    it is; without a mask where the picture itself is clear, if that counts."""
    if brought.mask is None:
        holes = await decoders.transparent(brought.image, "image", size) if clear else None
    else:
        holes = await decoders.transparent(brought.mask, "mask", size)
        if holes is None:
            holes = (await decoders.square(brought.mask, "mask", size, 1))[:, :, 0] > 127
    return None if holes is None else np.ascontiguousarray(holes[None])
