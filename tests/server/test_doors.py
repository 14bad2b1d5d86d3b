"""What no request gets past: hosts, origins, keys, scopes, sizes, paths and bodies; and what is written of it all."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from maquette.core.errors import MaquetteError
from maquette.server import app as app_of
from maquette.server.app import check_scopes, create_app, scopes_of
from maquette.server.doors import needs
from maquette.server.engine import Engine
from maquette.server.errors import answer
from maquette.server.hosts import check_host, check_origin, may_listen
from maquette.server.rates import Rates
from maquette.server.settings import Settings
from maquette.server.store import Store
from tests.server.served import painter, talker
from tests.server.web import serving

CANARY = "canary-4f1d"
"""In everything secret that tests send: it must never come back, nor stand in a log."""
PUBLIC = {"/healthz", "/readyz", "/openapi.json"}


class Guarded:
    """A server that needs keys, and some of them."""

    def __init__(self, address: str, app: FastAPI, keys: dict[str, str]):
        self.address, self.app, self.keys = address, app, keys
        self.port = int(address.rpartition(":")[2])
        self.client = httpx2.Client(base_url=address, timeout=30)

    def ask(self, method: str, path: str, key: str | None = "infer", **more: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.keys.get(key, key)}"} if key is not None else {}
        return self.client.request(method, path, headers=headers | more.pop("headers", {}), **more)

    def raw(self, *lines: str | bytes, body: bytes = b"", wait: float = 10) -> bytes:
        """What comes back for the very bytes of a request."""
        data = b"\r\n".join(line if isinstance(line, bytes) else line.encode("latin-1") for line in lines)
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as link:
            link.sendall(data + b"\r\n\r\n" + body)
            return received(link)


def received(link: socket.socket) -> bytes:
    parts = []
    try:
        while part := link.recv(65536):
            parts.append(part)
    except (ConnectionResetError, TimeoutError):
        pass
    return b"".join(parts)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("models")
    return Engine([painter(folder / "painter", "gan"), talker(folder / "writer")], device="cpu", compiled=False)


@pytest.fixture(scope="module")
def guarded(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    store = Store(f"sqlite:///{folder}/server.db", folder)
    now = time.time()
    keys = {name: store.add_key(name, scopes, expires)[0] for name, scopes, expires in (
        ("infer", ("infer",), None), ("train", ("train",), None), ("admin", ("admin",), None),
        ("other", ("infer",), None), ("expired", ("infer", "train", "admin"), now - 1),
    )}  # fmt: skip
    secret, row = store.add_key("revoked", ("infer", "train", "admin"))
    store.revoke_key(row.id)
    keys["revoked"] = secret
    limits: dict[str, Any] = dict(
        keys=True, rate=0, strikes=100_000, head_seconds=2.0, body_seconds=2.0, read_seconds=3.0, idle_seconds=1
    )
    with serving(folder, engine, store=store, names=("api.example.org",), **limits) as (address, app):
        guarded = Guarded(address, app, keys)
        yield guarded
        guarded.client.close()


# -- keys and scopes --------------------------------------------------------------------------------------------------


def routes(app: FastAPI) -> list[tuple[str, str, str]]:
    """(method, path, scope) of all routes, with some id in the place of each."""
    return [
        (method, route.path.replace("{", "").replace("}", ""), scopes_of(route)[0])
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods)
    ]


def test_every_route_is_closed_to_all_but_those_who_may(guarded: Guarded) -> None:
    real = guarded.keys["infer"]
    false = [None, "wrong", real[:-1], real + "a", real.upper(), "mq--", "revoked", "expired", f"{CANARY} {real}"]
    table = routes(guarded.app)
    assert {path for _, path, scope in table if scope == "public"} == PUBLIC and len(table) >= 19
    for method, path, scope in table:
        for key in false:
            status = guarded.ask(method, path, key).status_code
            assert status == 200 if scope == "public" else status == 401, (method, path, key)
        for key in ("infer", "train", "admin"):
            status = guarded.ask(method, path, key).status_code
            assert (status == 403) == (scope not in ("public", key)), (method, path, key, status)
        assert guarded.ask(method, f"{path}?api_key={real}&key={real}", None).status_code in (200, 401)
        assert guarded.ask(method, path, None, headers={"cookie": f"key={real}"}).status_code in (200, 401)


def test_a_refused_key_is_told_in_the_audit_log(guarded: Guarded) -> None:
    answer = guarded.ask("GET", "/v1/models", f"mq-{CANARY}-x")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        rows = guarded.app.state.store.list_audit(limit=1000)
        if any(row.request == answer.headers["x-request-id"] for row in rows):
            break
        time.sleep(0.02)
    (row,) = [row for row in rows if row.request == answer.headers["x-request-id"]]
    assert (row.tenant, row.action, row.object, row.status) == ("", "denied", "/v1/models", 401)
    assert CANARY not in repr(rows)


def test_a_route_without_a_scope_is_not_served() -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter()

    @router.get("/open", dependencies=[Depends(needs("public"))])
    async def fine() -> None: ...

    app.router.routes.extend(router.routes)
    check_scopes(app)

    @app.get("/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(TypeError, match="/forgotten"):
        check_scopes(app)


def test_a_key_revoked_now_is_refused_now(guarded: Guarded) -> None:
    store = guarded.app.state.store
    secret, row = store.add_key("brief", ("infer",))
    assert guarded.ask("GET", "/v1/models", secret).status_code == 200
    store.revoke_key(row.id)
    assert guarded.ask("GET", "/v1/models", secret).status_code == 401


def test_others_have_films_of_their_own(guarded: Guarded) -> None:
    """A foreign id is answered as one that there never was."""
    films = guarded.app.state.films
    from maquette.server.films import Film, _row
    from maquette.server.store import FILMS

    own = guarded.ask("GET", "/v1/videos").json()
    assert own["data"] == []
    id = "video_" + "ab" * 12
    film = Film(id, "another key", "x", {"prompt": CANARY}, "8x8", "1", 0.0, "completed")
    with guarded.app.state.store.writing() as connection:
        connection.execute(sa.insert(FILMS).values(**_row(film)))
    try:
        for method, path in (
            ("GET", f"/v1/videos/{id}"),
            ("GET", f"/v1/videos/{id}/content"),
            ("DELETE", f"/v1/videos/{id}"),
        ):
            foreign, absent = (guarded.ask(method, path.replace(id, one)) for one in (id, "video_" + "cd" * 12))
            assert foreign.status_code == absent.status_code == 404 and foreign.json() == absent.json()
        assert guarded.ask("GET", "/v1/videos").json() == own
        assert guarded.ask("GET", f"/v1/videos?after={id}").status_code == 404
    finally:
        films._forget(film)


# -- hosts and origins ------------------------------------------------------------------------------------------------

GOOD_HOSTS = (
    "localhost",
    "localhost:8000",
    "127.0.0.1:8000",
    "[::1]:8000",
    "LOCALHOST:9",
    "api.example.org",
    "10.0.0.7:8000",
)
BAD_HOSTS = (
    "", "evil.example", "localhost.evil.example", "evil.localhost", "localhost.", "api.example.org.",
    "api.example.org:81",
    "127.0.0.1.nip.io", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "10.0.0.8:8000",
    "localhost:8000@evil.example", "localhost/evil", "localhost\tx", "localhost:port", "localhost:123456", "a" * 300,
    "[::1", "::1", "169.254.169.254", "xn--lcalhost-dib", "localhost,evil.example",
)  # fmt: skip


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_hosts_that_are_ours(host: str) -> None:
    assert check_host([host], ["api.example.org"], "10.0.0.7") == host.lower()


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_hosts_that_are_not(host: str) -> None:
    with pytest.raises(MaquetteError, match="MQ-2209"):
        check_host([host], ["api.example.org"], "10.0.0.7")


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
def test_a_host_is_said_once(hosts: list[str]) -> None:
    with pytest.raises(MaquetteError, match="MQ-2209"):
        check_host(hosts, [], "127.0.0.1")


BAD_ORIGINS = (
    "null", "http://evil.example", "https://evil.example", "http://localhost:3000", "http://localhost", "file://",
    "http://localhost:8000.evil.example", "http://localhost:8000/", "https://localhost:8000@evil.example", "ws://localhost:8000",
    "localhost:8000", "http://127.0.0.1:8000", "chrome-extension://abc", "http://LOCALHOST:8000.evil", "",
)  # fmt: skip


@pytest.mark.parametrize("origin", BAD_ORIGINS)
def test_origins_that_are_not_the_host(origin: str) -> None:
    with pytest.raises(MaquetteError, match="MQ-2209"):
        check_origin([origin], None, "localhost:8000")


def test_an_origin_that_is_the_host() -> None:
    check_origin([], None, "localhost:8000")
    check_origin(["http://localhost:8000"], "same-origin", "localhost:8000")
    check_origin(["https://api.example.org"], "none", "api.example.org")
    for site in ("cross-site", "same-site", ""):
        with pytest.raises(MaquetteError, match="MQ-2209"):
            check_origin([], site, "localhost:8000")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE"])
@pytest.mark.parametrize(
    "header",
    [
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"host": "localhost.", "x-forwarded-host": "localhost"},
        {"host": "evil.example", "x-forwarded-for": "127.0.0.1", "forwarded": "host=localhost"},
    ],
    ids=str,
)
def test_the_rule_holds_for_every_method(guarded: Guarded, method: str, header: dict[str, str]) -> None:
    """Open paths too: no page of another's learns that there is a server."""
    for path in ("/healthz", "/v1/models", "/v1/videos/x"):
        told = guarded.ask(method, path, headers=header)
        assert told.status_code == 403 and "access-control-allow-origin" not in told.headers
        assert method == "HEAD" or told.json()["error"]["code"] == "origin_not_allowed"


# -- addresses to listen at -------------------------------------------------------------------------------------------

LOOPBACK = ("127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]")
BEYOND = (
    "0.0.0.0", "::", "[::]", "10.0.0.1", "192.168.1.5", "172.16.0.1", "169.254.1.1", "8.8.8.8", "fe80::1", "fd00::1",
    "2001:db8::1", "::ffff:10.0.0.1", "example.org", "localhost.evil.example", "my-machine", "", "*",
    "255.255.255.255", "127.0.0.1.",
)  # fmt: skip


@pytest.mark.parametrize("host", [*LOOPBACK, *BEYOND])
def test_where_a_server_may_listen(host: str) -> None:
    may_listen(host, keys=True)
    if host in LOOPBACK:
        may_listen(host, keys=False)
        return
    with pytest.raises(MaquetteError, match="MQ-8010") as refused:
        may_listen(host, keys=False)
    assert refused.value.exit_code == 8
    for way in ("leave out --host", "maquette keys create", "--key-file", "SSH tunnel"):
        assert way in refused.value.render("en"), "every way out is named"


# -- what is sent -----------------------------------------------------------------------------------------------------

JSON = {"content-type": "application/json"}
WRITE = "/v1/completions"


def body(**more: Any) -> bytes:
    return json.dumps({"model": "writer", "prompt": CANARY} | more).encode()


def post(content: bytes | str, **headers: str) -> dict[str, Any]:
    return {"method": "POST", "path": WRITE, "content": content, "headers": JSON | headers}


def form(path: str, files: dict[str, Any], **fields: str) -> dict[str, Any]:
    return {"method": "POST", "path": path, "files": files, "data": fields}


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims so many pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


EDIT = "/v1/images/edits"
BOMB = bomb(20_000, 20_000)
ATTEMPTS: dict[str, tuple[dict[str, Any], int]] = {
    # paths
    "traversal": ({"path": "/v1/models/../../etc/passwd"}, 404),
    "traversal, escaped": ({"path": "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd"}, 404),
    "traversal, twice escaped": ({"path": "/v1/models/%252e%252e%252fetc"}, 404),
    "traversal, overlong": ({"path": "/v1/models/%c0%ae%c0%ae/etc"}, 404),
    "traversal, Windows": ({"path": "/v1/models/..%5c..%5cwindows"}, 404),
    "drive": ({"path": "/v1/models/C:%5cwindows"}, 404),
    "NUL": ({"path": "/v1/models/painter%00.png"}, 404),
    "line break": ({"path": "/v1/models/a%0d%0aset-cookie:%20x"}, 404),
    "absolute name": ({"path": "/v1/models//etc/passwd"}, 404),
    "id with a slash": ({"path": "/v1/videos/video_%2f..%2fserver.db"}, 404),
    "another's id": ({"path": "/v1/videos/video_" + "0" * 24}, 404),
    "content of the database": ({"path": "/v1/videos/server.db/content"}, 404),
    "documentation pages": ({"path": "/docs"}, 404),
    "redirect by a slash": ({"path": "/v1/models/"}, 404),
    "deep path": ({"path": "/v1/" + "a/" * 900}, 404),
    "long path": ({"path": "/" + "a" * 5000}, 413),
    "long query": ({"path": "/v1/models?" + "a" * 5000}, 413),
    "unknown method": ({"method": "BREW", "path": "/v1/models"}, 405),
    "delete of a model": ({"method": "DELETE", "path": "/v1/models/painter"}, 403),
    "model by path": (post(body(model="../painter")), 404),
    "model by absolute path": (post(body(model="/etc/passwd")), 404),
    "model by address": (post(body(model="http://169.254.169.254/")), 404),
    "model by hub name": (post(body(model="hf:someone/model")), 404),
    "model by class": (post(body(model="os.system")), 404),
    # keys
    "no key": ({"path": "/v1/models", "key": None}, 401),
    "forged key": ({"path": "/v1/models", "key": "mq-0123456789ab-" + CANARY}, 401),
    "expired key": ({"path": "/v1/models", "key": "expired"}, 401),
    "revoked key": ({"path": "/v1/models", "key": "revoked"}, 401),
    "two keys": (
        {"path": "/v1/models", "headers": [("authorization", "Bearer a"), ("authorization", "Bearer b")], "key": None},
        401,
    ),
    "another scheme": ({"path": "/v1/models", "key": None, "headers": {"authorization": f"Basic {CANARY}"}}, 401),
    "scope escape, metrics": ({"path": "/metrics"}, 403),
    "scope escape, inference": ({"path": "/v1/models", "key": "train"}, 403),
    "scope in the body": (post(body(scope="admin")), 400),
    "user of another": (post(body(user={"id": "admin"})), 400),
    # content types
    "no content type": (post(body(), **{"content-type": ""}), 415),
    "plain text": (post(body(), **{"content-type": "text/plain"}), 415),
    "a form from a page": (post(b"model=writer", **{"content-type": "application/x-www-form-urlencoded"}), 415),
    "XML": (post(b"<a/>", **{"content-type": "application/xml"}), 415),
    "pickle": (post(b"\x80\x04.", **{"content-type": "application/octet-stream"}), 415),
    "compressed body": (post(b"\x1f\x8b", **{"content-encoding": "gzip"}), 415),
    "form where JSON is read": (form(WRITE, {"model": "writer"}), 415),
    "JSON where a form is read": (post(body()) | {"path": EDIT}, 415),
    # bodies
    "empty": (post(b""), 400),
    "no JSON": (post(CANARY), 400),
    "a list": (post(f'["{CANARY}"]'), 400),
    "NaN": (post(f'{{"model": "writer", "prompt": "{CANARY}", "temperature": NaN}}'), 400),
    "Infinity": (post('{"model": "writer", "n": Infinity}'), 400),
    "1e999": (post('{"model": "writer", "temperature": 1e999}'), 400),
    "10^30": (post(body(n=10**30)), 400),
    "5,000 digits": (post('{"model": "writer", "n": ' + "9" * 5000 + "}"), 400),
    "n of 10^9": (post(body(n=10**9)), 400),
    "n times prompts": (post(body(prompt=["a"] * 64, n=64)), 400),
    "n below 1": (post(body(n=0)), 400),
    "n as text": (post(body(n="1")), 400),
    "n as truth": (post(body(n=True)), 400),
    "n as fraction": (post(body(n=1.5)), 400),
    "duplicate keys": (post('{"model": "writer", "model": "painter", "prompt": "a"}'), 400),
    "half a character": (post('{"model": "writer", "prompt": "\\ud800"}'), 400),
    "invalid UTF-8": (post(b'{"model": "writer", "prompt": "\xff\xfe"}'), 400),
    "depth of 100,000": (post('{"a":' * 100_000 + "1" + "}" * 100_000), 400),
    "depth of arrays": (post('{"prompt":' + "[" * 5000 + "]" * 5000 + "}"), 400),
    "many values": (post('{"prompt": [' + "1," * 200_000 + "1]}"), 413),
    "prompt of 10^7 characters": (post(body(prompt="a" * 10**7)), 413),
    "prompt of 500,000 characters": (post(body(prompt="a" * 500_000)), 400),
    "unknown field": (post(body(trust_remote_code=True)), 400),
    "path as a field": (post(body(path="/etc/passwd")), 400),
    "file address as a prompt list": (post(body(prompt=[{"url": "file:///etc/passwd"}])), 400),
    "token ids": (post(body(prompt=[1, 2, 3])), 400),
    "seed below 0": (post(body(seed=-1)), 400),
    "negative zero tokens": (post('{"model": "writer", "prompt": "a", "max_tokens": -0}'), 400),
    "17 stop strings": (post(body(stop=["a"] * 17)), 400),
    "empty stop string": (post(body(stop=[""])), 400),
    "stop string of 10^5": (post(body(stop="a" * 100_000)), 400),
    "class as a solver": (
        {
            "method": "POST",
            "path": "/v1/images/generations",
            "headers": JSON,
            "content": json.dumps({"model": "painter", "prompt": "", "solver": "os.system", "steps": 3}),
        },
        400,
    ),
    "10^9 steps": (
        {
            "method": "POST",
            "path": "/v1/images/generations",
            "headers": JSON,
            "content": json.dumps({"model": "painter", "prompt": "", "steps": 10**9}),
        },
        400,
    ),
    # forms
    "picture of 400 megapixels": (form(EDIT, {"image": ("a.png", BOMB)}, model="painter", strength="0.5"), 400),
    "picture of 36 megapixels": (
        form(EDIT, {"image": ("a.png", bomb(6000, 6000))}, model="painter", strength="0.5"),
        413,
    ),
    "text as a picture": (form(EDIT, {"image": ("a.png", CANARY.encode())}, model="painter", strength="0.5"), 400),
    "SVG": (form(EDIT, {"image": ("a.svg", b"<svg onload='x'/>")}, model="painter", strength="0.5"), 400),
    "no picture": (form(EDIT, {"mask": ("a.png", BOMB)}, model="painter"), 400),
    "20 pictures": (form(EDIT, [("image", ("a.png", b"x"))] * 20, model="painter"), 413),  # type: ignore[arg-type]
    "unknown file": (form(EDIT, {"weights": ("a.pt", b"\x80\x04")}, model="painter"), 400),
    "file name that climbs": (form(EDIT, {"image": ("../../a.png", b"x")}, model="painter"), 400),
    "1,000 fields": (form(EDIT, {"image": ("a.png", b"x")}, **{f"f{n}": "1" for n in range(1000)}), 413),
    "NaN in a form": (form(EDIT, {"image": ("a.png", b"x")}, model="painter", guidance="nan"), 400),
    "inf in a form": (form(EDIT, {"image": ("a.png", b"x")}, model="painter", blur="inf"), 400),
    "form without a boundary": (post(b"x", **{"content-type": "multipart/form-data"}) | {"path": EDIT}, 400),
    "form cut short": (
        post(
            b'--b\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\nx',
            **{"content-type": "multipart/form-data; boundary=b"},
        )
        | {"path": EDIT},
        400,
    ),
    "field of a megabyte": (form(EDIT, {"image": ("a.png", b"x")}, prompt="a" * (1 << 20)), 413),
    "32 MB and more": (form(EDIT, {"image": ("a.png", bytes(33 << 20))}, model="painter"), 413),
    "query of the wrong type": ({"path": "/v1/videos?limit=1e9"}, 400),
    "query out of range": ({"path": "/v1/videos?limit=101"}, 400),
    "cursor that is none": ({"path": "/v1/videos?after=../x"}, 404),
}


def test_there_are_attempts_enough() -> None:
    assert len(ATTEMPTS) >= 60


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_is_refused(guarded: Guarded, name: str, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    asked, status = dict(ATTEMPTS[name][0]), ATTEMPTS[name][1]
    caplog.set_level(logging.DEBUG)
    headers = asked.pop("headers", {})
    if isinstance(headers, dict):
        told = guarded.ask(asked.pop("method", "GET"), asked.pop("path"), headers=headers, **asked)
    else:
        told = guarded.client.request("GET", asked["path"], headers=headers)
    assert told.status_code == status, told.text
    error = told.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"} and len(told.content) <= 1000
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]  # the test's client
    written = told.text + str(told.headers) + "".join(ours) + "".join(capfd.readouterr())
    for secret in (CANARY, *guarded.keys.values(), "passwd", "os.system", "169.254", "Traceback", "cwindows"):
        assert secret not in written
    assert told.headers["x-request-id"].startswith("req_")


RAW: dict[str, tuple[list[str | bytes], bytes, bytes]] = {
    "no HTTP": (["hello"], b"", b"400"),
    "two lengths": (
        ["POST /v1/completions HTTP/1.1", "host: localhost", "content-length: 5", "content-length: 6"],
        b"",
        b"400",
    ),
    "length and chunks": (
        [
            "POST /v1/completions HTTP/1.1",
            "host: localhost",
            "content-type: application/json",
            "content-length: 3",
            "transfer-encoding: chunked",
        ],
        b"0\r\n\r\n",
        b"400",
    ),
    "length of letters": (["POST /v1/completions HTTP/1.1", "host: localhost", "content-length: abc"], b"", b"400"),
    "length below 0": (["POST /v1/completions HTTP/1.1", "host: localhost", "content-length: -5"], b"", b"400"),
    "length of 10^30": (
        ["POST /v1/completions HTTP/1.1", "host: localhost", "content-length: 1" + "0" * 30],
        b"",
        b"4",
    ),
    "two hosts": (["GET /healthz HTTP/1.1", "host: localhost", "host: evil.example"], b"", b"400"),
    "no host": (["GET /healthz HTTP/1.1"], b"", b"400"),
    "no host, HTTP/1.0": (["GET /healthz HTTP/1.0"], b"", b"403"),
    "whole address": (
        ["GET http://evil.example/healthz HTTP/1.1", "host: localhost", "connection: close"],
        b"",
        b"404",
    ),
    "100 kB of headers": (["GET /healthz HTTP/1.1", "host: localhost", "x: " + "a" * 100_000], b"", b"431"),
    "folded header": (["GET /healthz HTTP/1.1", "host: localhost", "x: a", " b: c", "connection: close"], b"", b"200"),
    "traversal as it is": (["GET /v1/models/../../etc/passwd HTTP/1.1", "host: localhost"], b"", b"404"),
    "chunked without end": (
        [
            "POST /v1/completions HTTP/1.1",
            "host: localhost",
            "content-type: application/json",
            "transfer-encoding: chunked",
            "connection: close",
        ],
        (b"100000\r\n" + b"a" * 0x100000 + b"\r\n") * 2 + b"0\r\n\r\n",
        b"4",
    ),
    "WebSocket": (
        [
            "GET /v1/models HTTP/1.1",
            "host: localhost",
            "connection: upgrade, close",
            "upgrade: websocket",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version: 13",
        ],
        b"",
        b"401",
    ),
    "CONNECT": (["CONNECT evil.example:443 HTTP/1.1", "host: localhost", "connection: close"], b"", b"404"),
}


@pytest.mark.parametrize("name", RAW)
def test_what_no_client_would_send(guarded: Guarded, name: str) -> None:
    lines, data, status = RAW[name]
    told = guarded.raw(*lines, body=data)
    assert told.startswith(b"HTTP/1.1 " + status), told[:200]
    assert b"evil" not in told and len(told) < 2000
    assert guarded.ask("GET", "/healthz").status_code == 200


# -- answers ----------------------------------------------------------------------------------------------------------


def test_every_answer_has_its_headers(guarded: Guarded) -> None:
    for path, key in (
        ("/healthz", None),
        ("/v1/models", "infer"),
        ("/v1/models", None),
        ("/nowhere", None),
        ("/metrics", "admin"),
    ):
        headers = guarded.ask("GET", path, key).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"] and headers["x-frame-options"] == "DENY"
        assert "server" not in headers and "set-cookie" not in headers
    refused = guarded.ask("GET", "/v1/models", None).headers
    assert refused["www-authenticate"] == "Bearer"
    assert guarded.ask("DELETE", "/healthz").headers["allow"] == "GET"


def test_a_mistake_is_told_in_the_language_of_who_asks(guarded: Guarded) -> None:
    told = guarded.ask("GET", "/v1/models", None, headers={"accept-language": "zh-CN,zh;q=0.9"})
    assert "密钥" in told.json()["error"]["message"]


def test_a_fault_of_ours_says_only_an_id(engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(item: Any) -> bool:
        raise ValueError(f"the hook says {item}: {CANARY}")

    with serving(
        tmp_path, engine.__class__([s.folder for s in engine.served()], device="cpu", compiled=False), allow=broken
    ) as (
        address,
        _,
    ):
        for stream in (False, True):
            sent = {"model": "writer", "prompt": CANARY, "max_tokens": 3, "stream": stream}
            told = httpx2.post(f"{address}/v1/completions", json=sent)
            id = told.headers["x-request-id"]
            assert CANARY not in told.text and id in told.text and "server_error" in told.text
            assert told.status_code == 500 and "[DONE]" not in told.text
        drawn = httpx2.post(f"{address}/v1/images/generations", json={"model": "painter", "prompt": ""})
        assert drawn.status_code == 500
    assert id in caplog.text and "ValueError" in caplog.text and CANARY not in caplog.text


def test_metrics_tell_routes_and_no_ids(guarded: Guarded) -> None:
    guarded.ask("GET", f"/v1/models/{CANARY}")
    text = guarded.ask("GET", "/metrics", "admin").text
    assert 'maquette_requests_total{method="GET",route="/v1/models/{model}",status="404"}' in text
    assert "maquette_engine_models 2.0" in text and CANARY not in text


def test_a_catalogue_sentence_never_echoes() -> None:
    told = answer(MaquetteError("MQ-2002", path="n", wanted="a number", value=CANARY))
    assert told.body["error"]["param"] == "n" and CANARY not in str(told)
    odd = answer(MaquetteError("MQ-2002", path=f"{CANARY}/x", wanted="a number", value="1"))
    assert odd.body["error"]["param"] is None and CANARY not in str(odd)
    assert answer(MaquetteError("MQ-4181")).headers["Retry-After"] == "1"


# -- how often, how long ----------------------------------------------------------------------------------------------


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    rates = Rates(60, clock=lambda: now[0])
    assert [rates.take("a") for _ in range(61)] == [0] * 60 + [1] and rates.take("b") == 0
    now[0] = 1.0
    assert [rates.take("a"), rates.take("a")] == [0, 1]
    assert all(Rates(0).take("a") == 0 for _ in range(1000))


def test_a_key_may_ask_so_often(engine: Engine, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/server.db", tmp_path)
    keys = [store.add_key(name, ("infer",))[0] for name in "ab"]
    models = engine.__class__([s.folder for s in engine.served()], device="cpu", compiled=False)
    with serving(tmp_path, models, store=store, keys=True, rate=5, strikes=3) as (address, _):
        asked = [httpx2.get(f"{address}/v1/models", headers={"authorization": f"Bearer {keys[0]}"}) for _ in range(7)]
        assert [one.status_code for one in asked] == [200] * 5 + [429] * 2
        assert (
            asked[-1].json()["error"]["code"] == "rate_limit_exceeded"
            and 1 <= int(asked[-1].headers["retry-after"]) <= 12
        )
        assert httpx2.get(f"{address}/v1/models", headers={"authorization": f"Bearer {keys[1]}"}).status_code == 200
        tries = [
            httpx2.get(f"{address}/v1/models", headers={"authorization": "Bearer x"}).status_code for _ in range(5)
        ]
        assert tries == [401] * 3 + [429] * 2, "whoever guesses keys must wait"


def test_slow_clients_are_cut(guarded: Guarded) -> None:
    """Half a request, half a body, and nothing at all: each is told so within seconds, and others are served."""
    begun = [
        b"",
        b"GET /heal",
        b"GET /healthz HTTP/1.1\r\nhost: loc",
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer " + guarded.keys["infer"].encode() + b"\r\ncontent-length: 100\r\n\r\n{",
    ]
    links = [socket.create_connection(("127.0.0.1", guarded.port), timeout=15) for _ in range(12)]
    for number, link in enumerate(links):
        link.sendall(begun[number % len(begun)])
    assert all(guarded.ask("GET", "/healthz").status_code == 200 for _ in range(20))
    told = [received(link) for link in links]
    for link in links:
        link.close()
    assert all(one.startswith(b"HTTP/1.1 408") and b'"timeout"' in one for one in told)


def test_a_reader_that_sleeps_is_cut(guarded: Guarded) -> None:
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.connect(("127.0.0.1", guarded.port))
    head = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n"
    connections = guarded.app.state.server.server_state.connections
    link.sendall(head * 400)  # more than the kernel holds for a reader
    mine, deadline = set[Any](), time.monotonic() + 30
    while not mine and time.monotonic() < deadline:
        mine = {one for one in list(connections) if one.client and one.client[1] == link.getsockname()[1]}
    while mine & connections and time.monotonic() < deadline:
        time.sleep(0.05)
    link.close()
    assert mine and not mine & connections, "a reader that never reads kept its connection"


def test_settings_are_checked() -> None:
    with pytest.raises(MaquetteError, match="port"):
        Settings(port=70_000)
    assert Settings.from_tree({"names": ["a"]}).names == ("a",)
    assert create_app.__kwdefaults__ is None


def test_the_audit_log_takes_rows_again_once_it_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit while the database is slow is left out; what comes later is not."""
    slow, rows = threading.Event(), []

    def audit(*row: object) -> None:
        slow.wait(20)
        rows.append(row)

    monkeypatch.setattr(app_of, "BACKLOG", 2)
    store = Store(f"sqlite:///{tmp_path}/server.db")
    monkeypatch.setattr(store, "audit", audit)
    auditing = app_of.Auditing(store)
    for number in range(5):
        auditing.submit((number,))
    slow.set()
    while len(rows) < 2:
        time.sleep(0.01)
    auditing._writer.submit(int).result(20)  # the room of both is free again
    auditing.submit((9,))
    auditing.close()
    store.close()
    assert rows == [(0,), (1,), (9,)]
