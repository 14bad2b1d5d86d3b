"""What no request gets past: hosts, origins, keys, scopes, sizes, paths and bodies; and what is written of it all."""

import asyncio
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
from maquette.server.doors import Lock, needs
from maquette.server.engine import Engine
from maquette.server.errors import answer
from maquette.server.hosts import check_host, check_origin, may_listen
from maquette.server.rates import Rates
from maquette.server.settings import Settings
from maquette.server.store import Store
from tests.server.attempts import ATTEMPTS, BAD_HOSTS, BAD_ORIGINS, BUNDLES, CANARY, PAGES, RAW, table
from tests.server.served import painter, talker
from tests.server.web import serving

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


def test_a_first_key_shuts_a_server_that_needed_none(tmp_path: Path) -> None:
    """Made by another process, as `maquette keys create` does; and what is void afterwards opens nothing again."""
    with serving(tmp_path, Engine([], device="cpu")) as (address, _), httpx2.Client(base_url=address) as client:
        described = client.get("/openapi.json").json()["paths"]["/metrics"]["get"]
        assert client.get("/metrics").status_code == 200 and described["security"] == []
        beside = Store(f"sqlite:///{tmp_path}/server.db", tmp_path)
        secret, row = beside.add_key("first", ("admin",))
        deadline = time.monotonic() + 20
        while client.get("/metrics").status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        keyed = {"authorization": f"Bearer {secret}"}
        assert [client.get("/metrics", headers=headers).status_code for headers in ({}, keyed)] == [401, 200]
        assert client.get("/openapi.json").json()["paths"]["/metrics"]["get"]["security"] == [{"key": []}]
        beside.revoke_key(row.id)
        assert [client.get("/metrics", headers=headers).status_code for headers in ({}, keyed)] == [401, 401]
        beside.close()


def test_a_database_that_does_not_answer_lets_nobody_in() -> None:
    class Broken:
        def has_keys(self) -> bool:
            raise MaquetteError("MQ-5180", reason="it does not answer")

    lock = Lock(Broken(), False)
    for _ in range(2):
        with pytest.raises(MaquetteError, match="MQ-5180"):
            asyncio.run(lock.closed())
    assert asyncio.run(Lock(Broken(), True).closed()), "where it is known that there was a key nobody needs to look"


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
    may_listen(host, (), keys=True)
    if host in LOOPBACK:
        may_listen(host, ("localhost:8000", "[::1]:8000", host), keys=False)
        return
    for listened, names in ((host, ()), ("127.0.0.1", ("localhost:8000", host))):
        with pytest.raises(MaquetteError, match="MQ-8010") as refused:
            may_listen(listened, names, keys=False)
        assert refused.value.exit_code == 8 and refused.value.values["host"] == host
        for way in ("leave out --host and --name", "maquette keys create", "--key-file", "SSH tunnel"):
            assert way in refused.value.render("en"), "every way out is named"


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_there_are_attempts_enough() -> None:
    assert len(ATTEMPTS) >= 60


@pytest.mark.parametrize("language", PAGES)
def test_the_page_counts_them(language: str) -> None:
    """`python -m tests.server.attempts` writes the table anew."""
    page = PAGES[language].read_text(encoding="utf-8")
    said = page.partition("<!-- doors -->\n")[2].partition("\n<!-- /doors -->")[0]
    assert said == table(language)


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


@pytest.mark.parametrize("name", RAW)
def test_what_no_client_would_send(guarded: Guarded, name: str) -> None:
    lines, data, status = RAW[name]
    told = guarded.raw(*lines, body=data)
    assert told.startswith(b"HTTP/1.1 " + status), told[:200]
    assert b"evil" not in told and len(told) < 2000
    assert guarded.ask("GET", "/healthz").status_code == 200


# -- what it is given -------------------------------------------------------------------------------------------------


def test_a_server_never_loads_a_hostile_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not start with it; or, where only the weights tell, it starts, and whoever asks for it is told nothing
    but its name, while its neighbour is served."""
    monkeypatch.chdir(tmp_path)
    good, kept = painter(tmp_path / "good", "small"), list[Path]()
    for number, (name, harm) in enumerate(BUNDLES.items()):
        folder = painter(tmp_path / CANARY / f"model{number}", "small")
        before = {path.name: path.read_bytes() for path in (folder / "bundle").iterdir()}
        harm(folder / "bundle")
        harmed = [path for path in (folder / "bundle").iterdir() if path.is_symlink() or not path.is_file()]
        assert harmed or before != {path.name: path.read_bytes() for path in (folder / "bundle").iterdir()}, name
        try:
            Engine([folder], device="cpu")
            kept.append(folder)
        except MaquetteError as bad:
            assert bad.exit_code in (2, 5, 7, 8), name
    assert len(BUNDLES) - len(kept) >= 15 and len(kept) >= 5
    with (
        serving(tmp_path / "data", Engine([good, *kept], device="cpu")) as (address, _),
        httpx2.Client(base_url=address, timeout=60) as client,
    ):
        for folder in (*kept, good):
            told = client.post("/v1/images/generations", json={"model": folder.name, "prompt": "", "seed": 1})
            assert told.status_code == (200 if folder is good else 500), (folder.name, told.text)
            assert CANARY not in told.text and (folder is good or told.json()["error"]["type"] == "server_error")
        assert "maquette_engine_models_loaded 1.0" in client.get("/metrics").text
    assert not list(tmp_path.rglob("unpickled"))


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
