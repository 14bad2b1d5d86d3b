"""A bundle is what it says, or is refused with a sentence; reading one never executes anything."""

import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from maquette.bundle import read_bundle, read_card, render_card, save_bundle
from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.media.base import MediumConfig
from maquette.models.base import ModelConfig

MEDIUM = MediumConfig.from_tree("points")
MODEL = ModelConfig.from_tree(
    {"kind": "vae", "encoder": {"kind": "mlp", "width": 8, "depth": 1},
     "decoder": {"kind": "mlp", "width": 8, "depth": 1}, "likelihood": "gaussian", "latent": 2, "label_width": 4}
)  # fmt: skip
CLASSES = ["one", "two"]


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return MODEL.build(MEDIUM.build().space, len(CLASSES)).state_dict()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "bundle", MEDIUM, MODEL, CLASSES, weights(), {"name": "test", "steps": 3})
    return tmp_path / "bundle"


def seal(folder: Path) -> None:
    """Rewrite the manifest to fit the files, as one who forges a bundle would."""
    listed = {p.name: files.describe_file(p) for p in folder.iterdir() if p.name != "MANIFEST.json"}
    (folder / "MANIFEST.json").write_text(json.dumps({"files": listed}))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    tree = json.loads((folder / "config.json").read_text())
    change(tree)
    (folder / "config.json").write_text(json.dumps(tree))
    seal(folder)


def reweigh(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = weights()
    change(tensors)
    files.put_tensors(folder / "model.safetensors", tensors)
    seal(folder)


# -- what is whole ----------------------------------------------------------------------------------------------------


def test_what_was_saved_is_read_back(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert (read.medium_config, read.model_config, read.classes) == (MEDIUM, MODEL, CLASSES)
    assert read.card == {"name": "test", "steps": 3} == read_card(bundle)
    assert read.digest == files.digest((bundle / "model.safetensors").read_bytes())
    assert all(torch.equal(read.weights[name], value) for name, value in weights().items())
    model = read.build()
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, read.weights[name]) for name, value in model.state_dict().items())


def test_reading_does_not_touch_the_global_generator(bundle: Path) -> None:
    state = torch.get_rng_state()
    read_bundle(bundle)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_card_for_people(bundle: Path) -> None:
    text = (bundle / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: maquette\ntags: [points, vae]\n---\n\n# test\n")
    assert "| steps | 3 |" in text and "**Labels** (2): one, two" in text
    config = {"card": {"scores": {"fid | small": 3.5}, "name": "a|b"}, "model": {"kind": "m"}, "medium": {"kind": "x"}}
    assert "| score | value |" in render_card(config | {"classes": []}, 5)


def test_a_card_of_nothing_is_empty(tmp_path: Path) -> None:
    assert read_card(tmp_path / "none") == {}


# -- what is not ------------------------------------------------------------------------------------------------------


def drop_first(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(iter(tensors))]


def poison(tensors: dict[str, torch.Tensor]) -> None:
    tensors[next(iter(tensors))].view(-1)[0] = torch.nan


def stretch(tensors: dict[str, torch.Tensor]) -> None:
    name = next(iter(tensors))
    tensors[name] = torch.zeros(3, 3)


def halve(tensors: dict[str, torch.Tensor]) -> None:
    name = next(iter(tensors))
    tensors[name] = tensors[name].half()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop_first, "the config has"),
        (lambda t: t.update(extra=torch.zeros(1)), "the weights has 'extra'"),
        (lambda t: t.update({"../../etc/passwd": torch.zeros(1)}), "../../etc/passwd"),
        (poison, "not finite"),
        (stretch, "[3, 3], the config implies"),
        (halve, "float16"),
    ],
)
def test_weights_that_do_not_fit_are_named(bundle: Path, change: Any, said: str) -> None:
    reweigh(bundle, change)
    with pytest.raises(MaquetteError, match="MQ-7001") as caught:
        read_bundle(bundle)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda t: t["model"].update(kind="nothing"), "MQ-2003"),
        (lambda t: t["model"].update(kind="../../../tmp/evil"), "MQ-2003"),
        (lambda t: t["model"].update(kind="os.system"), "MQ-2003"),
        (lambda t: t["model"].update(_target_="os.system"), "MQ-2001"),
        (lambda t: t["model"]["encoder"].update(_target_="os.system"), "MQ-2001"),
        (lambda t: t["medium"].update(kind=["points"]), "MQ-2003"),
        (lambda t: t["model"].update(latent=10**9), "MQ-8001"),
        (lambda t: t["model"].update(latent=10**6), "MQ-8001"),
        (lambda t: t["model"]["encoder"].update(width=900_000), "MQ-8001"),
        (lambda t: t["model"]["encoder"].update(depth=900_000), "MQ-8001"),
        (lambda t: t["model"].update(latent=-1), "MQ-2002"),
        (lambda t: t["model"].update(latent=[2] * 1000), "MQ-8001"),
        (lambda t: t.update(classes=["x"] * 3), "MQ-7001"),
        (lambda t: t.update(classes={"one": 1}), "MQ-2002"),
        (lambda t: t.update(classes=[1, 2]), "MQ-2002"),
        (lambda t: t.update(format=99), "MQ-7001"),
        (lambda t: t.update(card=[]), "MQ-2002"),
        (lambda t: t.update(hook="import os"), "MQ-2005"),
        (lambda t: t.pop("medium"), "MQ-2005"),
        (lambda t: t.update(model=None), "MQ-2002"),
    ],
)
def test_a_config_that_is_none_is_refused(bundle: Path, change: Any, code: str) -> None:
    edit(bundle, change)
    with pytest.raises(MaquetteError, match=code):
        read_bundle(bundle)


class Evil:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self) -> Any:
        return os.system, ("touch unpickled",)


def replaced(data: bytes | Callable[[bytes], bytes], name: str = "model.safetensors") -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        (folder / name).write_bytes(data((folder / name).read_bytes()) if callable(data) else data)
        seal(folder)

    return harm


def linked(name: str) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return harm


def listing(entries: Any) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        (folder / "MANIFEST.json").write_text(json.dumps({"files": entries}))

    return harm


def twice_in_header(data: bytes) -> bytes:
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f'{{"a":{entry},"a":{entry}}}'.encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


HARMS: dict[str, Callable[[Path], Any]] = {
    "pickle renamed": replaced(pickle.dumps(Evil())),
    "empty weights": replaced(b""),
    "weights cut": replaced(lambda data: data[: len(data) // 2]),
    "weights cut inside the header": replaced(lambda data: data[:40]),
    "header of a petabyte": replaced(struct.pack("<Q", 1 << 50) + b"{}"),
    "offsets beyond the file": replaced(lambda data: data.replace(b'"data_offsets":[0,', b'"data_offsets":[9,')),
    "a name twice in the header": replaced(twice_in_header),
    "config is not JSON": replaced(b"{", "config.json"),
    "config holds a key twice": replaced(lambda d: b'{"format": 1, ' + d[1:], "config.json"),
    "config holds NaN": replaced(lambda d: d.replace(b'"latent": 2', b'"latent": NaN'), "config.json"),
    "config is not UTF-8": replaced(b"\xff\xfe{}", "config.json"),
    "config nests without end": replaced(b"[" * 100_000, "config.json"),
    "weights behind a link": linked("model.safetensors"),
    "config behind a link": linked("config.json"),
    "manifest behind a link": linked("MANIFEST.json"),
    "no manifest": lambda folder: (folder / "MANIFEST.json").unlink(),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "a file more in the manifest": lambda folder: ((folder / "evil.py").write_text("boom"), seal(folder)),
    "a path that leaves the folder": listing({"../config.json": {"bytes": 1, "sha256": ""}}),
    "an absolute path": listing({"/etc/passwd": {"bytes": 1, "sha256": ""}}),
    "a manifest without sizes": listing({"config.json": {}}),
    "a manifest that is a list": listing([]),
    "an edited config, manifest untouched": lambda folder: (folder / "config.json").write_text("{}"),
    "weights that are a folder": lambda folder: (
        (folder / "model.safetensors").unlink(),
        (folder / "model.safetensors").mkdir(),
    ),
    "weights that are a pipe": lambda folder: (
        (folder / "model.safetensors").unlink(),
        os.mkfifo(folder / "model.safetensors"),
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_or_hostile_folder_is_refused(bundle: Path, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parent)
    HARMS[harm](bundle)
    with pytest.raises(MaquetteError) as caught:
        read_bundle(bundle)
    assert caught.value.code in {"MQ-5003", "MQ-5004", "MQ-8001", "MQ-2005"}
    assert len(str(caught.value).splitlines()) <= 3 and not (bundle.parent / "unpickled").exists()


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MaquetteError, match="MQ-5004"):
        read_bundle(tmp_path / "none")


TRIPWIRE = """
import sys
from maquette.bundle import read_bundle
from maquette.core.errors import MaquetteError
folders = sys.argv[1:]
read_bundle(folders[0]).build()  # everything that is imported late is imported now
def trip(event, arguments):
    if event in ("exec", "compile", "pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn",
                 "socket.connect", "socket.bind", "socket.getaddrinfo", "ctypes.dlopen", "import"):
        print("TRIPPED", event, arguments, flush=True)
    if event == "open" and (arguments[2] or 0) & 3:
        print("WROTE", arguments, flush=True)
sys.addaudithook(trip)
for folder in folders:
    try:
        read_bundle(folder)
        print("read")
    except MaquetteError as bad:
        print(bad.code)
"""


def test_reading_neither_executes_nor_writes(bundle: Path, tmp_path: Path) -> None:
    """An audit hook sees no code compiled or run, nothing unpickled, no process, no socket, no file opened to write."""
    folders = [bundle]
    for i, harm in enumerate(("pickle renamed", "config holds a key twice", "a file more in the manifest")):
        folders.append(tmp_path / f"{i}")
        save_bundle(folders[-1], MEDIUM, MODEL, CLASSES, weights(), {})
        HARMS[harm](folders[-1])
    folders.append(tmp_path / "target")
    save_bundle(folders[-1], MEDIUM, MODEL, CLASSES, weights(), {})
    edit(folders[-1], lambda t: t["model"].update(_target_="os.system"))
    done = subprocess.run(
        [sys.executable, "-c", TRIPWIRE, *map(str, folders)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["read", "MQ-8001", "MQ-2005", "MQ-8001", "MQ-2001"], done.stderr
