"""What is tried at the doors of a server, and how each attempt is answered; docs/serve.md counts them.

python -m tests.server.attempts      write the table into docs/serve.md and its sibling
"""

import json
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.harness import put_between
from tests.server.zips import DAMAGED, HOSTILE
from tests.test_bundle import HARMS, edit

CANARY = "canary-4f1d"
"""In everything secret that tests send: it must never come back, nor stand in a log."""


# -- hosts and origins ------------------------------------------------------------------------------------------------

BAD_HOSTS = (
    "", "evil.example", "localhost.evil.example", "evil.localhost", "localhost.", "api.example.org.",
    "api.example.org:81",
    "127.0.0.1.nip.io", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "10.0.0.8:8000",
    "localhost:8000@evil.example", "localhost/evil", "localhost\tx", "localhost:port", "localhost:123456", "a" * 300,
    "[::1", "::1", "169.254.169.254", "xn--lcalhost-dib", "localhost,evil.example",
)  # fmt: skip
BAD_ORIGINS = (
    "null", "http://evil.example", "https://evil.example", "http://localhost:3000", "http://localhost", "file://",
    "http://localhost:8000.evil.example", "http://localhost:8000/", "https://localhost:8000@evil.example", "ws://localhost:8000",
    "localhost:8000", "http://127.0.0.1:8000", "chrome-extension://abc", "http://LOCALHOST:8000.evil", "",
)  # fmt: skip

# -- requests ---------------------------------------------------------------------------------------------------------

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

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


EDIT = "/v1/images/edits"
BOMB = bomb(20_000, 20_000)
GROUPS: dict[str, dict[str, tuple[dict[str, Any], int]]] = {
    "paths": {
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
    },
    "keys": {
        "no key": ({"path": "/v1/models", "key": None}, 401),
        "forged key": ({"path": "/v1/models", "key": "mq-0123456789ab-" + CANARY}, 401),
        "expired key": ({"path": "/v1/models", "key": "expired"}, 401),
        "revoked key": ({"path": "/v1/models", "key": "revoked"}, 401),
        "two keys": (
            {
                "path": "/v1/models",
                "headers": [("authorization", "Bearer a"), ("authorization", "Bearer b")],
                "key": None,
            },
            401,
        ),
        "another scheme": ({"path": "/v1/models", "key": None, "headers": {"authorization": f"Basic {CANARY}"}}, 401),
        "scope escape, metrics": ({"path": "/metrics"}, 403),
        "scope escape, inference": ({"path": "/v1/models", "key": "train"}, 403),
        "scope in the body": (post(body(scope="admin")), 400),
        "user of another": (post(body(user={"id": "admin"})), 400),
    },
    "content types": {
        "no content type": (post(body(), **{"content-type": ""}), 415),
        "plain text": (post(body(), **{"content-type": "text/plain"}), 415),
        "a form from a page": (post(b"model=writer", **{"content-type": "application/x-www-form-urlencoded"}), 415),
        "XML": (post(b"<a/>", **{"content-type": "application/xml"}), 415),
        "pickle": (post(b"\x80\x04.", **{"content-type": "application/octet-stream"}), 415),
        "compressed body": (post(b"\x1f\x8b", **{"content-encoding": "gzip"}), 415),
        "form where JSON is read": (form(WRITE, {"model": "writer"}), 415),
        "JSON where a form is read": (post(body()) | {"path": EDIT}, 415),
    },
    "bodies": {
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
    },
    "forms": {
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
    },
}
"""Group -> attempt -> what is sent, and the status that is the answer."""
ATTEMPTS = {name: one for group in GROUPS.values() for name, one in group.items()}

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
"""Lines, a body, and how the status begins: what no client would send."""


# -- bundles ----------------------------------------------------------------------------------------------------------


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda folder: edit(folder, change)


BUNDLES: dict[str, Callable[[Path], Any]] = HARMS | {
    "a class of Python's as the kind": edited(lambda tree: tree["model"].update(kind="os.system")),
    "a path as the kind": edited(lambda tree: tree["model"].update(kind="../../../tmp/evil")),
    "a target to be called": edited(lambda tree: tree["model"].update(_target_="os.system")),
    "a hook": edited(lambda tree: tree.update(hook="import os")),
    "a code of 10^9 numbers": edited(lambda tree: tree["model"].update(latent=10**9)),
    "a network of 900,000 layers": edited(lambda tree: tree["model"]["generator"].update(depth=900_000)),
    "another format": edited(lambda tree: tree.update(format=99)),
}
"""What is done to the folder of a bundle that a server is then given."""


# -- the table --------------------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
PAGES = {"en": ROOT / "docs" / "serve.md", "zh": ROOT / "docs" / "serve.zh.md"}
ASKED = {
    "paths": ("paths, ids, names of models", "路径、编号、模型名称"),
    "keys": ("keys and scopes", "密钥与权限"),
    "content types": ("content types", "内容类型"),
    "bodies": ("bodies of JSON", "JSON 正文"),
    "forms": ("forms and pictures", "表单与图片"),
}
REST = {
    ("bytes that are no HTTP, or two things at once", "不是 HTTP 或自相矛盾的字节"): [
        status.decode().ljust(3, "x") for _, _, status in RAW.values()
    ],
    ("Host headers", "Host 请求头"): ["403"] * len(BAD_HOSTS),
    ("Origins", "Origin 请求头"): ["403"] * len(BAD_ORIGINS),
    ("archives", "压缩包"): ["400"] * len(HOSTILE),
}
LATER = {
    ("archives that only unpacking shows", "解包时才能发现的压缩包"): (
        len(DAMAGED), "the job fails, nothing of it is written", "任务失败，不写入任何内容",
    ),
    ("bundles that a server is given", "交给服务器的模型包"): (
        len(BUNDLES), "the server does not start, or never loads the model: 500", "服务器不启动，或从不加载该模型：500",
    ),
}  # fmt: skip
HEADS = {"en": "| what is tried | attempts | answered |", "zh": "| 尝试的内容 | 次数 | 答复 |"}


def table(language: str) -> str:
    """The rows of a page."""
    chosen = {"en": 0, "zh": 1}[language]
    rows = {ASKED[name]: [str(status) for _, status in group.values()] for name, group in GROUPS.items()} | REST
    lines = [HEADS[language], "|---|---|---|"]
    lines += [f"| {names[chosen]} | {len(found)} | {_counted(found)} |" for names, found in rows.items()]
    lines += [f"| {names[chosen]} | {count} | {told[chosen]} |" for names, (count, *told) in LATER.items()]
    return "\n".join(lines)


def _counted(statuses: Iterable[str]) -> str:
    """`404 (22), 403`: the most frequent first."""
    counts = sorted(Counter(statuses).items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{status} ({count})" if count > 1 else status for status, count in counts)


if __name__ == "__main__":
    for language, page in PAGES.items():
        put_between(page, "doors", table(language))
