"""The page `from-folder-to-api` does what it says: its commands are run as they stand there, on a small folder."""

import base64
import io
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.cli.main import main
from maquette.cli.parser import parse
from maquette.server.engine import Engine
from tests.server.web import serving

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
PAGE, SIBLING = GUIDES / "from-folder-to-api.md", GUIDES / "from-folder-to-api.zh.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_both_pages_give_the_same_commands() -> None:
    for language in ("sh", "python"):
        assert blocks(PAGE, language) == blocks(SIBLING, language) != []


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    lines = [shlex.split(line) for block in blocks(PAGE, "sh") for line in block.splitlines()]
    check, train, serve = (line[1:] for line in lines if line[0] == "maquette")
    assert main(check) == 0
    assert main([*(word.replace("8min", "2steps") for word in train), "--quiet", "train.batch=4"]) == 0
    asked = parse(serve)
    engine = Engine(getattr(asked, "RUN|BUNDLE"), device="cpu")
    with serving(tmp_path / "data", engine) as (address, _):
        port = address.rpartition(":")[2]
        models, pictures = (
            json.loads(subprocess.run([word.replace(asked.port, port) for word in line], capture_output=True).stdout)
            for line in lines
            if line[0] == "curl"
        )
        assert [one["id"] for one in models["data"]] == ["mine"]
        (script,) = blocks(PAGE, "python")
        exec(compile(script.replace(asked.port, port), str(PAGE), "exec"), {})
    drawn = Image.open(io.BytesIO(base64.b64decode(pictures["data"][0]["b64_json"])))
    assert main(["sample", "runs/mine", "-n", "4", "--seed", "1", "--device", "cpu", "--out", "made"]) == 0
    assert drawn.tobytes() == Image.open("made/000001.png").tobytes()
    for number in range(4):
        assert Image.open(f"{number}.png").tobytes() == Image.open(f"made/{number + 1:06d}.png").tobytes()
