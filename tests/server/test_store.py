"""Keys, the audit log and files in the store: what is kept, what opens nothing, what tenants cannot see."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from maquette.core.errors import MaquetteError
from maquette.server.store import FILES, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path}/server.db")


def test_a_key_opens_until_it_is_revoked(store: Store) -> None:
    secret, key = store.add_key("laptop", ("infer", "train"))
    assert store.key_of(secret) == key and key.scopes == ("infer", "train") and key.id in secret
    for wrong in ("", "mq-", secret[:-1], secret + "x", f"mq-{key.id}-", key.id, "mq-é-x", "\ud800", "x" * 10_000):
        assert store.key_of(wrong) is None
    assert store.revoke_key(key.id).revoked is not None
    assert store.key_of(secret) is None
    with pytest.raises(MaquetteError, match="MQ-2180"):
        store.revoke_key("nobody")
    with pytest.raises(MaquetteError, match="MQ-2002"):
        store.add_key("x", ("everything",))


def test_a_secret_is_written_nowhere(store: Store) -> None:
    secret, _ = store.add_key("laptop", ("infer",))
    for path in store.folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()
    assert (store.folder / "server.db").stat().st_mode & 0o077 == 0


def test_a_key_expires(tmp_path: Path) -> None:
    now = [1000.0]
    store = Store(f"sqlite:///{tmp_path}/server.db", clock=lambda: now[0])
    secret, _ = store.add_key("brief", ("infer",), expires=1010.0)
    assert store.key_of(secret) is not None
    now[0] = 1010.0
    assert store.key_of(secret) is None


def test_the_audit_log_is_read_newest_first(store: Store) -> None:
    for number in range(3):
        store.audit("a" if number else "b", "files.create", f"file-{number}", 200, f"req-{number}")
    assert [row.object for row in store.list_audit()] == ["file-2", "file-1", "file-0"]
    assert [row.object for row in store.list_audit("b")] == ["file-0"]


def test_bytes_are_kept_once_and_go_with_their_last_row(store: Store) -> None:
    one = store.put_file("a", "one.txt", "fine-tune", [b"ab", b"c"], ".txt")
    two = store.put_file("b", "two.txt", "fine-tune", [b"abc"], ".txt")
    assert store.file_path(one) == store.file_path(two) and store.file_path(one).read_bytes() == b"abc"
    store.delete_file("a", one.id)
    assert store.file_path(two).exists()
    store.delete_file("b", two.id)
    assert list(store.uploads.iterdir()) == []


def test_what_is_too_large_leaves_nothing(store: Store) -> None:
    with pytest.raises(MaquetteError, match="MQ-8001"):
        store.put_file("a", "big", "fine-tune", (b"x" * 1000 for _ in range(10)), most=5000)
    assert list(store.uploads.iterdir()) == [] and store.list_files("a") == []


def test_a_tenant_sees_its_own_files_alone(store: Store) -> None:
    mine = [store.put_file("a", f"{i}.txt", "fine-tune", [bytes([i])], ".txt") for i in range(5)]
    for call in (store.get_file, store.delete_file):
        with pytest.raises(MaquetteError, match="MQ-2180"):
            call("b", mine[0].id)
    assert store.list_files("b") == [] and store.list_files("a", purpose="other") == []
    first = store.list_files("a", limit=2)
    second = store.list_files("a", after=first[-1].id, limit=2)
    assert [row.id for row in first + second] == [row.id for row in reversed(mine[1:])]
    assert [row.id for row in store.list_files("a", newest=False)] == [row.id for row in mine]


def test_a_newer_schema_is_refused(store: Store, tmp_path: Path) -> None:
    with store.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(MaquetteError, match="MQ-7180"):
        Store(f"sqlite:///{tmp_path}/server.db")


def test_a_schema_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import command

    real = command.upgrade

    def dies(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "upgrade", dies)
    with pytest.raises(KeyboardInterrupt):
        Store(f"sqlite:///{tmp_path}/server.db")
    with sqlite3.connect(tmp_path / "server.db") as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    monkeypatch.undo()
    Store(f"sqlite:///{tmp_path}/server.db").add_key("works", ("infer",))


def test_a_locked_store_is_busy_and_says_so(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/server.db", patience=0.05)
    with sqlite3.connect(tmp_path / "server.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(MaquetteError, match="MQ-4181"):
            store.put_file("a", "x", "fine-tune", [b"x"])
        assert store.list_files("a") == []  # readers are not held up
        other.execute("ROLLBACK")
    store.put_file("a", "x", "fine-tune", [b"x"])


def test_a_full_disk_refuses_and_keeps_what_was_there(store: Store) -> None:
    kept = store.put_file("a", "kept", "fine-tune", [b"x"])
    with store.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    sa.event.listen(store._engine, "begin", lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(MaquetteError, match="MQ-5180.*disk is full"):
        for number in range(200):
            store.put_file("a", "name" * 50, "fine-tune", [bytes([number])])
    assert store.get_file("a", kept.id) == kept
    with store.reading() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(FILES)).scalar()
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert rows == len(store.list_files("a", limit=1000))


@pytest.mark.parametrize(
    "content", [b"this is no database, however long it may be" * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_damaged_store_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "server.db").write_bytes(content)
    with pytest.raises(MaquetteError, match="MQ-518[01]"):
        Store(f"sqlite:///{tmp_path}/server.db")
    assert (tmp_path / "server.db").read_bytes() == content


@pytest.mark.parametrize("url", ["", "x", "mysql://root@localhost/x", "sqlite://", "postgresql"])
def test_an_address_of_neither_database_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(MaquetteError, match="MQ-2009"):
        Store(url, tmp_path)
