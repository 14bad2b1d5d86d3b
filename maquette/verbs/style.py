"""A picture in the manner of another: style transfer by optimisation, with features of our own or of VGG-19."""

from pathlib import Path

import torch

from maquette.core import devices, files
from maquette.core import exit as exits
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.data.source import open_data
from maquette.evaluate.domain import train_or_load
from maquette.evaluate.importer import import_vgg
from maquette.evaluate.vgg import read_vgg
from maquette.media import image
from maquette.media.base import Medium
from maquette.solvers.style import Features, Losses, stylise
from maquette.train.run import Run
from maquette.verbs.evaluate import speaker

EVERY = 50
"""Steps from one line to the next."""


def style(
    content: Path | str,
    manner: Path | str,
    features: Path | str,
    out: Path | str = "styled.png",
    strength: float = 1e3,
    steps: int = 200,
    size: int = 128,
    device: str = "auto",
    visible: str = "",
    quiet: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write `content` in the manner of the picture `manner`, and return where it lies.

    Args:
        features: a run, whose data the small classifier of `evaluate` is trained on (once) and whose size and colours
            the picture gets; or torchvision's vgg19-dcbb9e9d.pth, or that file converted to safetensors.
        strength: of the manner against the content.
        size: of the picture's side, with VGG-19.
        overwrite: whether another picture that is called so may be replaced; the same one may always be made again.

    Raises:
        MaquetteError: MQ-5004 no such picture, MQ-5004 or MQ-5011 no such run, MQ-3001 an unreadable picture, and what
            the importer says; MQ-5006 where another picture is called so.
    """
    say, place = speaker(quiet), devices.pick_device(device)
    out = Path(out)
    if out.suffix.lower() != ".png":
        raise MaquetteError("MQ-2002", path="out", wanted="a file name that ends in .png", value=repr(str(out)))
    for path in (content, manner):  # before the classifier is trained, which takes a while
        if not Path(path).is_file():
            raise MaquetteError("MQ-5004", str(path))
    medium, maps, digest = _features(Path(features), size, place, quiet)
    mark, told = Mark(digest, 0), [files.digest(Path(path).read_bytes()) for path in (content, manner)]
    asked = files.digest(repr((*told, strength, steps, visible)).encode())[:16]
    if not overwrite:  # before it is made, which takes a while
        exits.require_free([out], [mark], asked)
    one, other = (medium.to_tensor(medium.read(Path(path))[None]).to(place) for path in (content, manner))

    def tell(step: int, found: Losses) -> None:
        if step % EVERY == 0 or step == steps:
            say(f"step {step}  content {float(found.content):.4g}, style {float(found.style):.4g}")

    made = medium.from_tensor(stylise(one, other, maps, strength, steps, say=tell).cpu())
    return exits.emit(list(made), [out.stem], medium, out.parent, [mark], visible, overwrite=overwrite, request=asked)[
        0
    ]


def _features(path: Path, size: int, device: torch.device, quiet: bool) -> tuple[Medium, Features, str]:
    """The medium of the pictures, what gives their maps, and the SHA-256 of its weights."""
    if path.is_file():
        network, digest = read_vgg(import_vgg(path) if path.suffix != ".safetensors" else path)
        return image.Config(size=size, channels=3).build(), network.to(device), digest
    recipe = Run.open(path).recipe
    medium = recipe.medium.build()
    if not isinstance(medium, image.Image):
        raise MaquetteError("MQ-2104", str(path), task="say how pictures look")
    network, digest = train_or_load(open_data(recipe.data, medium), medium, device, 0, speaker(quiet))
    return medium, network.to(device).maps, digest
