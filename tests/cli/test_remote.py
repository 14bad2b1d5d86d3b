"""`maquette chat` and `maquette sample` with `--server`: the same words and pictures as a run on this machine gives."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.server.engine import Engine
from maquette.server.store import Store
from maquette.verbs.remote import Remote
from tests.server.served import painter, talker
from tests.server.web import serving

KEY = "canary-key"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "painter": painter(folder / "painter", "gan"),
        "writer": talker(folder / "writer"),
        "answerer": talker(folder / "answerer", asks=True),
    }


@pytest.fixture(scope="module")
def address(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("data")
    store = Store(f"sqlite:///{folder}/server.db", folder)
    secret, _ = store.add_key("test", ("infer",))
    engine = Engine(list(models.values()), device="cpu", compiled=False)
    with serving(folder, engine, store=store, keys=True) as (address, _), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAQUETTE_KEY", secret)
        yield address


def test_a_text_from_a_server(address: str, models: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--prompt", "春", "--seed", "3", "--max-tokens", "8", "--top-k", "5"]
    assert main(["sample", "--server", f"{address}/v1", "--model", "writer", *words]) == 0
    there = capsys.readouterr().out
    assert main(["sample", str(models["writer"]), "--device", "cpu", *words]) == 0
    assert "春" + there == capsys.readouterr().out


def test_pictures_from_a_server(address: str, models: dict[str, Path], tmp_path: Path) -> None:
    words = ["-n", "2", "--seed", "4", "--label", "b", "--out"]
    assert main(["sample", "--server", address, "--model", "painter", *words, str(tmp_path / "there")]) == 0
    assert main(["sample", str(models["painter"]), "--device", "cpu", *words, str(tmp_path / "here")]) == 0
    for name in ("000004.png", "000005.png"):
        assert Image.open(tmp_path / "there" / name).tobytes() == Image.open(tmp_path / "here" / name).tobytes()


def test_a_conversation_with_a_server(
    address: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for where in (["--server", f"{address}/v1", "--model", "answerer"], [str(models["answerer"]), "--device", "cpu"]):
        monkeypatch.setattr("sys.stdin", io.StringIO("春\n花\n/new\n月\n/quit\n"))
        assert main(["chat", *where, "--seed", "2", "--max-tokens", "4"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and said[0].count("\n") >= 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sample"], "MQ-2105"),
        (["sample", "run", "--server", "http://127.0.0.1:1"], "MQ-2105"),
        (["sample", "run", "--model", "x"], "MQ-2105"),
        (["sample", "--server", "ftp://127.0.0.1"], "MQ-2190"),
        (["sample", "--server", f"http://user:{KEY}@127.0.0.1"], "MQ-2190"),
        (["sample", "--server", "http://192.0.2.1/v1"], "in clear"),
        (["sample", "--server", "http://127.0.0.1:1", "--grid", "a.png"], "--grid"),
        (["sample", "--server", "http://127.0.0.1:1"], "MQ-2191"),
        (["chat", "--server", "http://127.0.0.1:1", "--model", "x"], "MQ-2191"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAQUETTE_KEY", KEY)
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n"))
    code = main(words)
    out, err = capsys.readouterr()
    assert said in err and KEY not in out + err and "Traceback" not in err and (code == 2 or words[0] == "chat")


def test_a_mistake_of_the_server_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MaquetteError, match="nearest: 'writer'"):
        Remote(address, "writr").about()
    with pytest.raises(MaquetteError, match="3 models"):
        Remote(address)
    monkeypatch.setenv("MAQUETTE_KEY", KEY)
    with pytest.raises(MaquetteError, match="status 401") as refused:
        Remote(address, "writer").about()
    assert KEY not in str(refused.value)
