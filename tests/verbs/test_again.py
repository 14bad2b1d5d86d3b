"""`maquette sample --like FILE`: what was made with a label, guidance, steps or words comes again, bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest

from maquette.bundle import save_bundle
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.media import audio, marks, points, series
from maquette.media.base import MediumConfig
from maquette.models.base import ModelConfig
from maquette.pipeline import load
from maquette.request import Request
from maquette.verbs.sample import sample
from tests.server.served import painter, talker
from tests.server.test_media import FLOW, GAN, KINDS, bundle

KINDS_HERE: dict[str, tuple[MediumConfig, dict[str, Any]]] = {
    "point": (points.Config(), FLOW | {"net": {"kind": "mlp", "width": 16}}),
    "series": (series.Config(columns=("a",), length=16, horizon=0), GAN),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    found = {name: bundle(folder, name) for name in KINDS if name != "reader"}
    for name, (medium, tree) in KINDS_HERE.items():
        config = ModelConfig.from_tree(tree, "model")
        model = config.build(medium.build().space, 2).eval()
        save_bundle(folder / name, medium, config, ["up", "down"], model.state_dict(), {"name": name})
        found[name] = folder / name
    return found | {
        "picture": painter(folder / "picture", "diffusion"),
        "writer": talker(folder / "writer", classes=("花", "月")),
    }


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("picture", {"label": "b", "guidance": 2.5, "sampling": {"steps": 3, "solver": "heun"}}),
        ("picture", {"label": "each", "guidance": 3, "guidance_interval": [0.5, 4.0]}),
        ("drum", {"label": "snare", "sampling": {"temperature": 0.5}}),
        ("film", {"label": ("down", "up"), "sampling": {"steps": 2}}),
        ("tune", {"sampling": {"temperature": 0.7, "top_k": 5}}),
        ("point", {"label": 1, "guidance": 1.5}),
        ("series", {"label": "down", "sampling": {"temperature": 0.5}}),
        ("writer", {"prompt": ["春{", "花}"], "label": "月", "stop": ["日"], "max_tokens": 9, "keep_prompt": True}),
    ],
    ids=str,
)
def test_the_same_bits_come_again(models: dict[str, Path], tmp_path: Path, name: str, asked: dict[str, Any]) -> None:
    pipeline = load(models[name], "cpu")
    made = sample(pipeline, out=tmp_path / "made", n=3, seed=7, **asked).paths
    assert len({path.read_bytes() for path in made}) > 1
    for path in made[1:]:
        (again,) = sample(pipeline, out=tmp_path / "again", like=path).paths
        assert again.name == path.name and again.read_bytes() == path.read_bytes()
    (plain,) = sample(pipeline, out=tmp_path / "plain", n=1, seed=8, prompt=asked.get("prompt")).paths
    assert plain.read_bytes() != made[1].read_bytes(), "what was asked for made a difference"


def test_by_the_command_line_and_with_a_change(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = str(models["picture"]), tmp_path / "made"
    words = ["--label", "c", "--guidance", "2", "--steps", "3", "--seed", "5", "-n", "2"]
    assert main(["sample", run, "--device", "cpu", *words, "--out", str(out)]) == 0
    file = out / "000006.png"
    again = ["sample", run, "--device", "cpu", "--like", str(file), "--out"]
    assert main([*again, str(tmp_path / "again")]) == 0
    assert "000006.png is the same file, byte for byte" in capsys.readouterr().err
    assert main([*again, str(tmp_path / "other"), "--label", "a"]) == 0
    assert "is not the same file" in capsys.readouterr().err
    (other,) = (tmp_path / "other").glob("*.png")
    changed = dict(marks.origin(file.read_bytes(), "").asked) | {"label": "a"}
    assert dict(marks.origin(other.read_bytes(), "").asked) == changed == {"label": "a", "guidance": 2, "steps": 3}


def test_words_are_in_a_file_only_when_that_is_asked_for(models: dict[str, Path], tmp_path: Path) -> None:
    pipeline, words = load(models["writer"], "cpu"), {"prompt": "春眠", "stop": ["曉"], "max_tokens": 4}
    (file,) = sample(pipeline, out=tmp_path / "made", n=1, seed=7, **words).paths
    front = file.read_text("utf-8").partition("\n---\n")[0]
    assert not any(json.dumps(word)[1:-1] in front for word in ("春眠", "曉"))
    assert marks.origin(file.read_bytes(), "").asked == {"max_tokens": 4, "without": ["prompt", "stop"]}
    with pytest.raises(MaquetteError, match="--prompt, --stop") as bad:
        sample(pipeline, like=file)
    assert bad.value.code == "MQ-3024"
    (again,) = sample(pipeline, out=tmp_path / "again", like=file, prompt="春眠", stop=["曉"]).paths
    assert again.read_bytes() == file.read_bytes()


def test_pictures_that_were_given_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    pipeline = load(models["restorer"], "cpu")
    (given,) = sample(models["picture"], out=tmp_path / "given", n=1, device="cpu").paths
    (file,) = sample(pipeline, out=tmp_path / "made", seed=3, image=str(given)).paths
    with pytest.raises(MaquetteError, match="--image"):
        sample(pipeline, like=file)
    (again,) = sample(pipeline, out=tmp_path / "again", like=file, image=str(given)).paths
    assert again.read_bytes() == file.read_bytes()


def test_files_that_are_not_made_again(models: dict[str, Path], tmp_path: Path) -> None:
    pipeline = load(models["drum"], "cpu")
    (plain, other, newer, strange, hostile) = (tmp_path / name for name in "abcde")
    medium, item = audio.Config(rate=1000, samples=64).build(), pipeline.generate(Request())[0]
    plain.write_bytes(b"nothing")
    other.write_bytes(medium.encode(item, Mark("a" * 64, 1)))
    newer.write_bytes(medium.encode(item, Mark(pipeline.digest, 1, asked={"swing": 2})))
    strange.write_bytes(medium.encode(item, Mark(pipeline.digest, 1, asked={"without": "all"})))
    hostile.write_bytes(medium.encode(item, Mark(pipeline.digest, 1, asked={"image": "/etc/passwd"})))
    between = sample(pipeline, out=tmp_path / "between", n=2, between=2).paths[0]
    told = {plain: "MQ-3021", other: "MQ-3023", newer: "MQ-3022", strange: "MQ-3022", hostile: "MQ-3022"}
    for path, code in (told | {between: "MQ-3025"}).items():
        with pytest.raises(MaquetteError) as bad:
            sample(pipeline, like=path)
        assert bad.value.code == code, path
    wrong = tmp_path / "f"
    wrong.write_bytes(medium.encode(item, Mark(pipeline.digest, 1, asked={"guidance": "much"})))
    with pytest.raises(MaquetteError, match="guidance"):
        sample(pipeline, like=wrong)
