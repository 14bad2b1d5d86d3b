"""`maquette chat` and `maquette sample` with `--server`: the same words, pictures, sounds and films as a run on this
machine gives; and what a server of somebody else's is asked and may answer."""

import contextlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.server.engine import Engine
from maquette.server.store import Store
from maquette.verbs import remote
from maquette.verbs.remote import Remote
from tests.server.served import painter, talker
from tests.server.test_media import bundle
from tests.server.web import serving

KEY = "canary-key"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "painter": painter(folder / "painter", "gan"),
        "writer": talker(folder / "writer"),
        "answerer": talker(folder / "answerer", asks=True),
        **{name: bundle(folder, name) for name in ("drum", "tune", "film")},
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


@pytest.mark.parametrize("name", ["drum", "tune", "film"])
def test_files_from_a_server(
    name: str, address: str, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.02)
    monkeypatch.setenv("MAQUETTE_SERVER", address)
    monkeypatch.setenv("MAQUETTE_MODEL", name)
    words = ["-n", "2", "--seed", "4", "--temperature", "0.8", "--out"]
    assert main(["sample", *words, str(tmp_path / "there")]) == 0
    assert main(["sample", str(models[name]), "--device", "cpu", *words, str(tmp_path / "here")]) == 0
    here = sorted(path for path in (tmp_path / "here").iterdir() if path.suffix != ".jsonl")
    assert [path.stem for path in here] == ["000004", "000005"]
    for path in here:
        assert (tmp_path / "there" / path.name).read_bytes() == path.read_bytes()


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
    with pytest.raises(MaquetteError, match="6 models"):
        Remote(address)
    monkeypatch.setenv("MAQUETTE_KEY", KEY)
    with pytest.raises(MaquetteError, match="status 401") as refused:
        Remote(address, "writer").about()
    assert KEY not in str(refused.value)


# -- a server of somebody else's --------------------------------------------------------------------------------------


class Foreign:
    """A server that knows OpenAI's shapes and no field of ours; it answers what it was told to, in order.

    Attributes:
        answers: (status, headers, body) of the next requests for words; a body of None never comes.
        asked: (path, key, body) of each request.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.over = threading.Event()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        foreign = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, {}, {"object": "list", "data": [{"id": "org/large", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                foreign.asked.append((self.path, self.headers["Authorization"], body))
                status, headers, said = foreign.answers.pop(0)
                if said is None:
                    foreign.over.wait(60)
                else:
                    self.answer(status, headers, said)

            def answer(self, status: int, headers: dict[str, str], said: Any) -> None:
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(data))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            self.over.set()
            server.shutdown()
            thread.join()
            server.server_close()


CHUNKS = b"".join(
    b"data: " + json.dumps({"choices": [{"index": 0, "text": text, "delta": {"content": text}}]}).encode() + b"\n\n"
    for text in ("well", ", hello")
)
GOOD = (200, {"Content-Type": "text/event-stream"}, b": hi\n\n" + CHUNKS + b"data: [DONE]\n\n")


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    found = Foreign()
    with found.serving() as address:
        monkeypatch.setenv("MAQUETTE_SERVER", address)
        monkeypatch.delenv("MAQUETTE_KEY", raising=False)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield found


def _refusal(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "x", "param": None, "code": "y"}}


def test_a_foreign_server_is_asked_for_no_more_than_was_said(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign.answers += [GOOD, GOOD]
    assert main(["sample", "--prompt", "Hi", "--max-tokens", "5", "--stop", "x"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n"))
    assert main(["chat", "--temperature", "0.5"]) == 0
    assert capsys.readouterr().out == "well, hello\n" * 2
    common = {"model": "org/large", "stream": True}
    assert foreign.asked == [
        ("/v1/completions", f"Bearer {KEY}", common | {"prompt": "Hi", "max_tokens": 5, "stop": ["x"], "seed": 0}),
        (
            "/v1/chat/completions",
            f"Bearer {KEY}",
            common | {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5},
        ),
    ]


def test_what_a_foreign_server_refuses_is_told_without_the_key(
    foreign: Foreign, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign.answers += [
        (401, {}, _refusal(f"Incorrect API key provided: {KEY}.")),
        (500, {}, b"<html>"),
        (302, {}, b""),
    ]
    for said in ("Incorrect API key provided: …. (status 401)", "it does not say why (status 500)", "(status 302)"):
        assert main(["sample", "--prompt", "x"]) == 2
        out, err = capsys.readouterr()
        assert said in err and KEY not in out + err


def test_a_server_that_asks_to_come_again_is_asked_once_more(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", waited.append)
    busy = _refusal("slow down")
    foreign.answers += [(429, {"Retry-After": "3"}, busy), GOOD]
    assert main(["sample", "--prompt", "x"]) == 0
    assert (capsys.readouterr().out, waited) == ("well, hello\n", [3.0])
    foreign.answers += [(429, {"Retry-After": "3"}, busy), (429, {"Retry-After": "4"}, busy)]
    assert main(["sample", "--prompt", "x"]) == 2
    assert "slow down (status 429); it asks to come again after 4 s" in capsys.readouterr().err
    foreign.answers += [(429, {"Retry-After": "3600"}, busy), (429, {}, busy)]
    assert main(["sample", "--prompt", "x"]) == 2
    assert "come again after 3600 s" in capsys.readouterr().err
    assert main(["sample", "--prompt", "x"]) == 2
    assert waited == [3.0, 3.0] and foreign.answers == []


def test_a_server_that_says_nothing_is_given_up(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "SECONDS", 0.2)
    foreign.answers += [(200, {}, None)]
    assert main(["sample", "--prompt", "x"]) == 2
    assert "it has said nothing for 0.2 s" in capsys.readouterr().err
    foreign.answers += [(200, {"Content-Type": "text/event-stream"}, CHUNKS)]
    assert main(["sample", "--prompt", "x"]) == 2
    assert "the answer ends before its end" in capsys.readouterr().err
