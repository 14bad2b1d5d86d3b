"""Models of the Hugging Face libraries as bundles, and back."""

from collections.abc import Sequence
from pathlib import Path

from maquette import __version__
from maquette.bundle import find_bundle, read_bundle, save_bundle
from maquette.core import files
from maquette.core.config import override
from maquette.core.errors import MaquetteError
from maquette.media.base import MediumConfig
from maquette.models.base import ModelConfig
from maquette.models.foreign import HUB
from maquette.train.begin import begin, kind_of
from maquette.verbs.train import free_folder

PARTS = ("medium", "model")


def import_model(source: Path | str, out: Path | str | None = None, overrides: Sequence[str] = ()) -> Path:
    """A bundle of a model in a folder of the Hugging Face libraries, or of hf:NAME on their hub; returns its folder.

    Args:
        out: by default `bundles/NAME`, numbered when that is taken.
        overrides: `key=value` for fields of `medium` and `model`, such as medium.length=256; model.kind chooses in
            which form it is taken over (default: one of our own where there is one).

    Raises:
        MaquetteError: what `train.begin.begin` raises, MQ-7001 for overrides that its weights do not fit, MQ-5005 when
            `out` is there already.
    """
    named = Path(str(source).removeprefix(HUB)).absolute().name
    target = free_folder(Path("bundles"), named) if out is None else Path(out)
    if target.exists():
        raise MaquetteError("MQ-5005", str(target))
    found = begin(source, kind_of(overrides))
    tree = override({"medium": found.medium.to_tree(), "model": found.model.to_tree()}, list(overrides))
    if other := sorted(tree.keys() - set(PARTS)):
        raise MaquetteError("MQ-2001", path="a bundle", key=other[0], near=f"valid: {', '.join(PARTS)}")
    medium, config = MediumConfig.from_tree(tree["medium"], "medium"), ModelConfig.from_tree(tree["model"], "model")
    beside = found.along.beside(medium.build().space)
    model = config.fitted(found.coding.build(medium).space, len(found.classes), beside)
    found.give(model, found.classes)
    card = {"name": found.name, "licence": "not stated", "maquette": __version__} | found.origin
    save_bundle(target, medium, config, found.classes, model.state_dict(), card, found.coding, found.along)
    return target


def export_model(source: Path | str, out: Path | str | None = None) -> Path:
    """The model of a run or a bundle in the format by which the Hugging Face libraries open it; returns its folder.

    Args:
        out: by default `exported/NAME`, numbered when that is taken.

    Raises:
        MaquetteError: MQ-7041 for a model that they do not have, MQ-5005 when `out` is there already.
    """
    target = free_folder(Path("exported"), Path(source).absolute().name) if out is None else Path(out)
    if target.exists():
        raise MaquetteError("MQ-5005", str(target))
    bundle = read_bundle(find_bundle(source))
    model, medium = bundle.build(), bundle.medium_config.build()
    files.commit_folder(target, lambda folder: model.export(folder, medium))
    return target
