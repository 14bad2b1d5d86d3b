"""What was made stays: the same request may be repeated, and another never takes the place of what lies there."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from maquette.bundle import save_bundle
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.media import audio, image, music, points, video
from maquette.media.base import MediumConfig
from maquette.models.base import ModelConfig
from maquette.verbs import remote
from maquette.verbs.sample import sample
from tests.pipeline.talking import saved

GAN = {"kind": "gan", "latent": 8} | {part: {"kind": "mlp", "width": 16} for part in ("generator", "critic")}
GPT = {"kind": "gpt", "net": {"width": 16, "depth": 1, "heads": 2}}
MEDIA: dict[str, tuple[MediumConfig, dict[str, Any]]] = {
    "image": (image.Config(size=8, channels=1), GAN),
    "audio": (audio.Config(rate=1000, samples=64), GAN),
    "video": (video.Config(size=8, frames=4, rate=8, channels=1), GAN),
    "music": (music.Config(voices=2, steps=4, per_quarter=1), GPT),
    "points": (points.Config(), GAN),
}
CLIPS = {"audio": "heard.wav", "video": "seen.mp4", "music": "played.wav"}


def untrained(folder: Path, kind: str, seed: int) -> Path:
    """A bundle that makes samples of a medium, other ones for each seed."""
    if kind == "text":
        return saved(folder / f"{kind}{seed}", "lstm" if seed == 1 else "gpt")
    medium, tree = MEDIA[kind]
    config = ModelConfig.from_tree(tree, "model")
    torch.manual_seed(seed)
    model = config.build(medium.build().space, 0).eval()
    with torch.no_grad():
        for weight in model.parameters():  # what starts at zero would make all alike
            weight.add_(0.1 * torch.randn_like(weight))
    save_bundle(folder / f"{kind}{seed}", medium, config, [], model.state_dict(), {"name": kind})
    return folder / f"{kind}{seed}"


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "made.jsonl"}


@pytest.mark.parametrize("kind", [*MEDIA, "text"])
def test_nothing_that_was_made_is_lost(kind: str, tmp_path: Path, monkeypatch, capsys) -> None:
    """By another model and with other settings, for each medium, sheet and clip; the same request may be repeated."""
    monkeypatch.chdir(tmp_path)
    models = [untrained(tmp_path, kind, seed) for seed in (1, 2)]
    files = ["--out", "made", "--grid", "made/sheet.png", *(["--clip", f"made/{CLIPS[kind]}"] if kind in CLIPS else [])]
    words = ["-n", "2", *(["--max-tokens", "9"] if kind == "text" else [])]
    assert main(["sample", str(models[0]), *words, *files]) == 0
    first = held(tmp_path / "made")
    assert len(first) == 3 + (kind in CLIPS)
    assert main(["sample", str(models[0]), *words, *files]) == 0 and held(tmp_path / "made") == first
    others = [["sample", str(models[0]), *words, "--temperature", "0.5"], ["sample", str(models[1]), *words]]
    capsys.readouterr()
    for other in others:
        for place in (files[:2], files[2:4], files[4:]):
            assert not place or main([*other, *place]) == 5
        said = capsys.readouterr().err
        assert "MQ-5006" in said and "--overwrite" in said and "made/" in said and held(tmp_path / "made") == first
    assert main(["sample", str(models[0]), *words, "--seed", "2", "--out", "made"]) == 0, "more of them is no conflict"
    assert first.items() < held(tmp_path / "made").items()
    assert main([*others[0], *files, "--overwrite"]) == 0 and held(tmp_path / "made")["sheet.png"] != first["sheet.png"]


def test_a_folder_that_nobody_named_is_numbered(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = (str(untrained(tmp_path, "image", seed)) for seed in (1, 2))
    for model, folder in ((one, "samples"), (two, "samples-2"), (one, "samples"), (two, "samples-2")):
        assert main(["sample", model, "-n", "2"]) == 0
        assert capsys.readouterr().out.split() == [f"{folder}/000000.png", f"{folder}/000001.png"]
    assert main(["sample", two, "-n", "2", "--overwrite"]) == 0
    assert capsys.readouterr().out.startswith("samples/000000.png")


def test_what_the_record_tells_is_told_before_anything_is_drawn(tmp_path: Path, monkeypatch) -> None:
    one, two = (untrained(tmp_path, "image", seed) for seed in (1, 2))
    sample(one, out=tmp_path / "made", n=2)
    monkeypatch.setattr("maquette.pipeline.Pipeline.generate", lambda *_: pytest.fail("it was drawn in vain"))
    for source, more in ((two, {}), (one, {"sampling": {"temperature": 0.5}}), (one, {"visible": "made"})):
        with pytest.raises(MaquetteError, match="MQ-5006"):
            sample(source, out=tmp_path / "made", n=1, **more)  # type: ignore[arg-type]
    mine = tmp_path / "made" / "sheet.png"
    mine.write_bytes(b"of the user")
    with pytest.raises(MaquetteError, match="MQ-5006"):
        sample(one, grid=mine, n=1)
    assert mine.read_bytes() == b"of the user"


def test_a_file_that_was_changed_by_hand_is_kept(tmp_path: Path) -> None:
    """Its record says that the same request made it, its bytes do not."""
    one = untrained(tmp_path, "image", 1)
    path = sample(one, out=tmp_path / "made", n=1).paths[0]
    with Image.open(path) as picture:
        picture.rotate(90).save(path)
    changed = path.read_bytes()
    with pytest.raises(MaquetteError, match="MQ-5006"):
        sample(one, out=tmp_path / "made", n=2)
    assert path.read_bytes() == changed and not (tmp_path / "made" / "000001.png").exists(), "all of them or none"


def test_pictures_of_a_server_take_no_place_either(tmp_path: Path) -> None:
    png: Any = [b"\x89PNG\r\n\x1a\n" + bytes([number]) for number in range(3)]
    assert remote.write(png[:2], tmp_path / "made", 0) == remote.write(png[:2], tmp_path / "made", 0)
    with pytest.raises(MaquetteError, match="MQ-5006"):
        remote.write(png[2:], tmp_path / "made", 0)
    assert remote.write(png[2:], tmp_path / "made", 0, numbered=True) == [tmp_path / "made-2" / "000000.png"]
    assert remote.write(png[2:], tmp_path / "made", 0, overwrite=True)[0].read_bytes() == png[2]
