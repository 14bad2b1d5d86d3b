"""A model at a server that speaks as OpenAI's do: `maquette serve` on another machine, or any other.

The address and the model come from options or the environment (MAQUETTE_SERVER, MAQUETTE_MODEL), the key from the
environment alone (MAQUETTE_KEY, else OPENAI_API_KEY): it is sent to that address alone, follows no redirect, and stands
in no message, not even where the server says it back. What comes is read as what a stranger sends: so many bytes,
strict JSON, and of files nothing but what kind they are. A server that asks to come again later is asked once more.
"""

import base64
import binascii
import http.client
import json
import os
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from maquette.core import files
from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark, Ready, apart, taken

KEYS = ("MAQUETTE_KEY", "OPENAI_API_KEY")
SECONDS = 600.0
"""Until a server that says nothing is given up."""
MOST, LINE = 256 << 20, 1 << 20
"""Bytes of an answer, and of one event of a stream."""
PATIENCE = 60.0
"""Seconds after which at the latest a server may ask to come again."""
PAUSE = 0.5
"""Seconds between two looks at a film that is being made."""
SIGNS = {b"\x89PNG\r\n\x1a\n": ".png", b"RIFF": ".wav", b"MThd": ".mid"}
"""How files begin; an MP4 has its sign behind four bytes."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Remote:
    """A model at a server.

    Args:
        address: such as http://127.0.0.1:8000/v1; without a path, /v1. Beyond this machine a key goes by https alone.
        model: its name there; "" asks for the only one.

    Raises:
        MaquetteError: MQ-2190 for an address that is none, or a key that would be sent in clear.
    """

    def __init__(self, address: str, model: str = ""):
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.username
        if not good:
            raise MaquetteError(
                "MQ-2190", "--server", reason="it is no http:// or https:// address without a key in it"
            )
        self._key = next((key for name in KEYS if (key := os.environ.get(name))), "")
        if self._key and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise MaquetteError("MQ-2190", "--server", reason="the key would be sent in clear: use https://")
        self._parts, self._path = parts, parts.path.rstrip("/") or "/v1"
        self.model = model or self._only()

    def _listed(self) -> list[dict[str, Any]]:
        found = self._tree("GET", "/models").get("data")
        if not isinstance(found, list) or not all(isinstance(one, dict) and "id" in one for one in found):
            raise self._strange()
        return found

    def _only(self) -> str:
        names = [str(one["id"]) for one in self._listed()]
        if len(names) != 1:
            raise MaquetteError("MQ-2190", "--model", reason=f"it has {len(names)} models: name one by --model")
        return names[0]

    def about(self) -> dict[str, Any]:
        """What the server says of the model: in its list, which all servers have, else by itself."""
        for one in self._listed():
            if one["id"] == self.model:
                return one
        return self._tree("GET", f"/models/{quote(self.model, safe='')}")

    def complete(self, prompt: str, **more: Any) -> Iterator[str]:
        """How a text goes on, in pieces."""
        for event in self._events("/completions", {"prompt": prompt} | more):
            yield from (choice.get("text") or "" for choice in event.get("choices", []))

    def answer(self, messages: Sequence[dict[str, str]], **more: Any) -> Iterator[str]:
        """The next turn of a conversation, in pieces."""
        for event in self._events("/chat/completions", {"messages": list(messages)} | more):
            yield from ((choice.get("delta") or {}).get("content") or "" for choice in event.get("choices", []))

    def files(self, medium: str, prompt: str, n: int = 1, seed: int = 0, **more: Any) -> list[bytes]:
        """PNG, WAV, MIDI or MP4 files of what a model of `medium` makes, from `seed` on."""
        if medium in ("audio", "music"):
            return [self._sound(prompt, seed=seed + number, **more) for number in range(n)]
        if medium == "video":
            return [self._film(prompt, seed=seed + number, **more) for number in range(n)]
        return self._pictures(prompt, n=n, seed=seed, **more)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _sound(self, prompt: str, **more: Any) -> bytes:
        return self._bytes("POST", "/audio/speech", {"model": self.model, "input": prompt, "voice": "default"} | more)

    def _film(self, prompt: str, **more: Any) -> bytes:
        until = time.monotonic() + SECONDS
        film = self._tree("POST", "/videos", {"model": self.model, "prompt": prompt} | more)
        path = f"/videos/{quote(str(film.get('id')), safe='')}"
        while film.get("status") in ("queued", "in_progress") and time.monotonic() < until:
            time.sleep(PAUSE)
            film = self._tree("GET", path)
        if film.get("status") != "completed":
            raise MaquetteError("MQ-2191", reason=f"the film is {film.get('status')}")
        return self._bytes("GET", f"{path}/content")

    def _pictures(self, prompt: str, **more: Any) -> list[bytes]:
        tree = self._tree("POST", "/images/generations", {"model": self.model, "prompt": prompt} | more)
        try:
            return [base64.b64decode(one["b64_json"], validate=True) for one in tree["data"]]
        except (KeyError, TypeError, binascii.Error):
            raise self._strange() from None

    def _tree(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._read(self._bytes(method, path, body))

    def _bytes(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        link, response = self._asked(method, path, body)
        try:
            return response.read(MOST)
        except (OSError, http.client.HTTPException) as bad:
            raise self._silent(bad) from None
        finally:
            link.close()

    def _events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        link, response = self._asked("POST", path, {"model": self.model, "stream": True} | body)
        try:
            while line := response.readline(LINE):
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                yield self._read(data)
        except (OSError, http.client.HTTPException) as bad:
            raise self._silent(bad) from None
        finally:
            link.close()
        raise MaquetteError("MQ-2191", reason="the answer ends before its end")

    def _asked(
        self, method: str, path: str, body: dict[str, Any] | None, again: bool = True
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The answer to a request; one that is sent away for some seconds comes again, once."""
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        context = {"context": ssl.create_default_context()} if secure else {}
        link = kind(self._parts.hostname or "", self._parts.port, timeout=SECONDS, **context)  # type: ignore[arg-type]
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        try:
            data = None if body is None else json.dumps(body).encode()
            link.request(method, self._path + path, data, headers)
            response = link.getresponse()
            if response.status < 300:
                return link, response
            said, after = response.read(LINE), response.headers.get("Retry-After", "")
            seconds = float(after) if after.isascii() and after.isdigit() else None
            if again and response.status in (429, 503) and seconds is not None and seconds <= PATIENCE:
                link.close()
                time.sleep(seconds)
                return self._asked(method, path, body, again=False)
            raise self._refused(response.status, said, seconds)
        except (OSError, http.client.HTTPException) as bad:
            link.close()
            raise self._silent(bad) from None
        except BaseException:
            link.close()
            raise

    def _read(self, data: bytes) -> dict[str, Any]:
        try:
            tree = parse_json(data, "the answer")
        except MaquetteError:
            raise self._strange() from None
        if not isinstance(tree, dict):
            raise self._strange()
        if tree.get("error"):
            raise self._refused(0, data)
        return tree

    def _refused(self, status: int, data: bytes, seconds: float | None = None) -> MaquetteError:
        try:
            said = str(json.loads(data)["error"]["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            said = "it does not say why"
        said = said.replace(self._key, "…") if self._key else said
        later = "" if seconds is None else f"; it asks to come again after {seconds:g} s"
        return MaquetteError("MQ-2191", reason=f"{said} (status {status}){later}" if status else said)

    @staticmethod
    def _silent(bad: Exception) -> MaquetteError:
        if isinstance(bad, TimeoutError):
            return MaquetteError("MQ-2191", reason=f"it has said nothing for {SECONDS:g} s")
        return MaquetteError("MQ-2191", reason=getattr(bad, "strerror", None) or type(bad).__name__)

    @staticmethod
    def _strange() -> MaquetteError:
        return MaquetteError("MQ-2191", reason="the answer is not of OpenAI's shape")


class Talk:
    """A conversation with a model at a server: what `Conversation` is here.

    Args:
        more: fields of each request; answer i is drawn from `seed` + i.
    """

    def __init__(self, remote: Remote, seed: int | None = None, **more: Any):
        self._remote, self._seed, self._more = remote, seed, more
        self._said: list[dict[str, str]] = []
        self._answers = self.forgotten = 0

    def begin_anew(self) -> None:
        self._said.clear()

    def ask(self, question: str) -> Iterator[str]:
        """The answer in pieces; when the last has come, it belongs to what was said."""
        messages = [*self._said, {"role": "user", "content": question}]
        more = self._more | ({} if self._seed is None else {"seed": self._seed + self._answers})
        answer = ""
        for piece in self._remote.answer(messages, **more):
            answer += piece
            yield piece
        self._said = [*messages, {"role": "assistant", "content": answer}]
        self._answers += 1


def write(
    made: Sequence[bytes], out: Path | str, seed: int, overwrite: bool = False, numbered: bool = False
) -> list[Path]:
    """Files in the folder `out`, as the server marked them.

    Args:
        overwrite, numbered: see `sample`.

    Raises:
        MaquetteError: MQ-5006 where a file would be replaced by another, MQ-2191 for what is of no known kind.
    """
    came = Mark("", seed)  # theirs stands in the bytes
    things = [Ready(Path(out) / f"{seed + i:06d}{_suffix(data)}", data, came) for i, data in enumerate(made)]
    things = apart(things, Path(out)) if numbered and not overwrite else things
    if not overwrite and (path := taken(things)) is not None:
        raise MaquetteError("MQ-5006", str(path))
    for path, data, *_ in things:
        files.write_file(path, data)
    return [one.path for one in things]


def _suffix(data: bytes) -> str:
    found = ".mp4" if data[4:8] == b"ftyp" else next((SIGNS[sign] for sign in SIGNS if data.startswith(sign)), "")
    if not found:
        raise MaquetteError("MQ-2191", reason="what came is no PNG, WAV, MIDI or MP4 file")
    return found
