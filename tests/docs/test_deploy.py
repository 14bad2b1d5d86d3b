"""What lies in `deploy/` is of one piece with the command line, the server's limits and nginx's own reader."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from maquette.cli.parser import parse
from maquette.server.settings import Settings
from tests.docs.commands import ROOT

DEPLOY = ROOT / "deploy"
UNIT, CONTAINER, NGINX = (
    (DEPLOY / name).read_text(encoding="utf-8") for name in ("maquette.service", "Containerfile", "nginx.conf")
)
LIMITS = Settings()


class Block(NamedTuple):
    """A block of nginx's: its directives by name, and the blocks within by their heads."""

    said: dict[str, list[list[str]]]
    inner: dict[str, "Block"]


def read(text: str) -> Block:
    """The blocks of a configuration; raises ValueError when a bracket has no other or a directive no end."""
    words = re.findall(r'"[^"]*"|[{};]|[^\s{};"]+', re.sub(r"#.*", "", text))
    stack, line = [Block({}, {})], list[str]()
    for word in words:
        if word == ";":
            stack[-1].said.setdefault(line[0], []).append(line[1:])
        elif word == "{":
            stack.append(stack[-1].inner.setdefault(" ".join(line), Block({}, {})))
        elif word == "}":
            stack.pop()
            if line or not stack:
                raise ValueError(f"before a bracket: {line}")
        line = [*line, word] if word not in ("{", "}", ";") else []
    if len(stack) != 1 or line:
        raise ValueError(f"it ends within something: {line}")
    return stack[0]


def unit(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.replace("\\\n", " "), re.MULTILINE)
    return value


def test_the_unit_starts_what_the_command_line_reads() -> None:
    program, *words = shlex.split(unit("ExecStart"))
    asked = parse(words)
    folder = f"/var/lib/{unit('StateDirectory')}"
    assert (Path(program).name, asked.verb, asked.data_folder) == ("maquette", "serve", folder)
    assert Path(asked.key_file).parent == Path(folder), "nothing else may be written"
    assert int(unit("TimeoutStopSec")) > LIMITS.drain_seconds + 5


def test_the_image_is_started_as_the_command_line_reads() -> None:
    comment = "\n".join(line.lstrip("# ") for line in CONTAINER.splitlines() if line.startswith("#"))
    (command,) = re.findall(r"^podman run .*$", comment.replace("\\\n", " "), re.MULTILINE)
    options, _, words = command.partition(" maquette ")
    asked = parse(shlex.split(words))
    assert (asked.verb, asked.data_folder) == ("serve", "/data") and ":/data" in options and "VOLUME /data" in CONTAINER
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", CONTAINER, re.MULTILINE)[0]) == ["maquette"]
    (inside,) = re.findall(r"^EXPOSE (\d+)$", CONTAINER, re.MULTILINE)
    assert f"127.0.0.1:{inside}:{inside}" in options and int(inside) == int(asked.port) == LIMITS.port
    assert asked.name == [f"localhost:{inside}"], "what a client on this machine calls it"
    (extras,) = re.findall(r"/src\[([a-z,]+)\]", CONTAINER)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= known.keys()


def bytes_of(size: str) -> int:
    return int(size[:-1]) * {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[size[-1]]


def test_nginx_passes_on_what_the_server_takes() -> None:
    outer = read(NGINX).inner["server"]
    passing = {head: block for head, block in outer.inner.items() if "proxy_pass" in block.said}
    assert passing.keys() == {"location /", "location = /v1/files"}
    for head, block in passing.items():
        told = {name: block.said.get(name, outer.said.get(name, [])) for name in (*outer.said, *block.said)}
        assert sorted(told["proxy_set_header"]) == [["Connection", '""'], ["Host", "$host"]], head
        assert told["proxy_http_version"] == [["1.1"]] and told["proxy_pass"] == [[f"http://127.0.0.1:{LIMITS.port}"]]
        assert told["proxy_buffering"] == told["proxy_request_buffering"] == [["off"]]
        assert float(told["proxy_read_timeout"][0][0].removesuffix("s")) > LIMITS.request_seconds
        most = LIMITS.dataset if "files" in head else LIMITS.upload
        assert most < bytes_of(told["client_max_body_size"][0][0]) < 1.1 * most, "the server says what is too large"
    assert outer.inner["location = /metrics"].said == {"deny": [["all"]]}
    assert outer.said["server_name"][0] == parse(shlex.split(unit("ExecStart"))[1:]).name


@pytest.mark.parametrize("text", ["server {", "a; }", "a { b }", "a"])
def test_half_a_configuration_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="bracket|ends"):
        read(text)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx")
def test_nginx_reads_it(tmp_path: Path) -> None:
    plain = re.sub(r"^ +ssl_certificate.*\n", "", NGINX.replace("443 ssl", "127.0.0.1:1443"), flags=re.MULTILINE)
    (tmp_path / "site.conf").write_text(plain)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {tmp_path}/{kind}; " for kind in kinds)
    inside = f"access_log off; {places} include {tmp_path}/site.conf;"
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ {inside} }}")
    command = ["nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "syntax is ok" in done.stderr, done.stderr
