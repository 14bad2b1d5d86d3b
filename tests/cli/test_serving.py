"""`maquette serve` and `maquette keys` without a server: what they refuse, and keys from birth to their end."""

import socket
import sys
from pathlib import Path

import pytest

from maquette.cli.main import main
from maquette.server.store import Store
from tests.server.served import painter


def test_the_missing_extra_is_named_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("maquette.server", "fastapi"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", "runs/none"]) == 3
    said = capsys.readouterr().err
    assert "pip install 'maquette[serve]'" in said and len(said.splitlines()) <= 3


def test_beyond_this_machine_only_with_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["serve", str(painter(tmp_path / "painter", "gan")), "--data-folder", str(tmp_path / "data")]
    for far in (["--host", "0.0.0.0"], ["--name", "localhost:8000", "--name", "api.example.org"]):
        assert main([*words, *far]) == 8
        said = capsys.readouterr().err
        assert far[-1] in said
        assert all(way in said for way in ("leave out --host and --name", "maquette keys create", "--key-file"))


def test_an_address_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["serve", str(painter(tmp_path / "painter", "gan")), "--data-folder", str(tmp_path / "data")]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main([*words, "--port", str(taken.getsockname()[1]), "--workers", "0", "--device", "cpu"]) == 4
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--memory", "much"], "MQ-2002"),
        (["--port", "70000"], "MQ-2002"),
        (["--database", "mysql://x"], "MQ-2009"),
        (["--rules", "none.yaml"], "MQ-5004"),
    ],
)
def test_options_that_are_wrong(
    tmp_path: Path, words: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(painter(tmp_path / "painter", "gan"))
    assert main(["serve", run, "--data-folder", str(tmp_path / "data"), *words]) in (2, 5)
    assert code in capsys.readouterr().err


def test_rules_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("violence: bomb\n")
    assert main(["serve", "runs/none", "--data-folder", str(tmp_path / "data"), "--rules", str(path)]) == 2
    assert "MQ-2218" in capsys.readouterr().err


def test_a_key_is_made_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data-folder", str(tmp_path)]
    assert main(["keys", "create", "laptop", "--scopes", "infer,train", "--days", "90", *data]) == 0
    out, err = capsys.readouterr()
    secret, id = out.strip(), err.split()[1].rstrip(",")
    with_store = Store(f"sqlite:///{tmp_path}/server.db")
    row = with_store.key_of(secret)
    assert row is not None and (row.id, row.name, row.scopes) == (id, "laptop", ("infer", "train"))
    assert row.expires is not None and 89 < (row.expires - row.created) / 86_400 < 91
    assert main(["keys", "list", *data]) == 0
    out, _ = capsys.readouterr()
    assert id in out and "laptop" in out and "infer,train" in out and "expires" in out and secret not in out
    assert main(["keys", "revoke", id, *data]) == 0 and with_store.key_of(secret) is None
    assert main(["keys", "list", *data]) == 0 and "revoked" in capsys.readouterr().out
    with_store.close()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["crate", "x"], "MQ-2111"),
        (["create"], "MQ-2110"),
        (["list", "x"], "MQ-2110"),
        (["create", "x", "--scopes", "root"], "MQ-2002"),
        (["revoke", "0123456789ab"], "MQ-2180"),
    ],
)
def test_keys_that_cannot_be(tmp_path: Path, words: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", *words, "--data-folder", str(tmp_path)]) == 2
    assert code in capsys.readouterr().err
