"""Keys, the audit log and files in the store: what is kept, what opens nothing, what tenants cannot see."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from maquette.core.errors import MaquetteError
from maquette.server.store import FILES, KEYS, LOCK, Store


@pytest.fixture
def store(database: str, tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(database, tmp_path)) as store:
        yield store


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Store]:
    """For what only SQLite can be, since it is files of ours."""
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/server.db")) as store:
        yield store


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


def test_a_secret_is_written_nowhere(lite: Store) -> None:
    secret, _ = lite.add_key("laptop", ("infer",))
    for path in lite.folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()
    assert (lite.folder / "server.db").stat().st_mode & 0o077 == 0


def test_a_row_holds_a_secret_s_digest_alone(store: Store) -> None:
    secret, _ = store.add_key("laptop", ("infer",))
    with store.reading() as connection:
        (row,) = connection.execute(sa.select(KEYS)).mappings()
    assert len(row["digest"]) == 64 and not any(part in str(row) for part in (secret, secret.split("-", 2)[2]))


def test_a_key_expires_and_is_still_one_that_there_was(store: Store) -> None:
    assert not store.has_keys()
    store.clock = lambda: 1000.0
    secret, row = store.add_key("brief", ("infer",), expires=1010.0)
    assert row.created == 1000.0 and store.key_of(secret) == store.live_key(row.id) == row
    store.clock = lambda: 1010.0
    assert store.key_of(secret) is store.live_key(row.id) is None and store.has_keys() and store.list_keys() == [row]


def test_the_audit_log_is_read_newest_first(store: Store) -> None:
    for number in range(3):
        store.audit("a" if number else "b", "files.create", f"file-{number}", 200, f"req-{number}")
    assert [row.object for row in store.list_audit()] == ["file-2", "file-1", "file-0"]
    assert [row.object for row in store.list_audit("b")] == ["file-0"]
    _, key = store.add_key("x", ("infer",))
    store.audit(key.id, "files.create", "file-3", 200)
    store.revoke_key(key.id)
    assert [row.action for row in store.list_audit(key.id)] == ["key.revoke", "files.create", "key.create"]
    assert store.forget_audit(store.clock() + 1) == 6 and store.list_audit() == []


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


def test_a_tenant_may_keep_so_many_bytes(store: Store) -> None:
    for tenant in "ab":
        for content in (b"x" * 600, b"y" * 400):
            store.put_file(tenant, "a.txt", "evals", [content], ".txt", storage=1000)
    for size, storage in ((1, 1000), (0, 999)):
        with pytest.raises(MaquetteError, match="MQ-4182"):
            store.check_room("a", size, storage)
    kept = {path.name for path in store.uploads.iterdir()}
    with pytest.raises(MaquetteError, match="MQ-4182"):
        store.put_file("a", "a.txt", "evals", [b"z"], ".txt", storage=1000)
    assert {path.name for path in store.uploads.iterdir()} == kept and len(store.list_files("a")) == 2
    store.check_room("a", 0, 1000)


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


def test_a_newer_schema_is_refused(store: Store, database: str, tmp_path: Path) -> None:
    with store.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(MaquetteError, match="MQ-7180"):
        Store(database, tmp_path)


def test_a_schema_is_made_whole_or_not_at_all(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import command

    real = command.upgrade

    def dies(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "upgrade", dies)
    with pytest.raises(KeyboardInterrupt):
        Store(database, tmp_path)
    bare = sa.create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    assert sa.inspect(bare).get_table_names() == []
    bare.dispose()
    monkeypatch.undo()
    with contextlib.closing(Store(database, tmp_path)) as store:
        store.add_key("works", ("infer",))


@contextlib.contextmanager
def written_to(database: str, tmp_path: Path) -> Iterator[None]:
    """Another process is in the midst of a write."""
    if database.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(tmp_path / "server.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
    else:
        import psycopg

        with psycopg.connect(database) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            yield


def test_a_locked_store_is_busy_and_says_so(database: str, tmp_path: Path) -> None:
    with contextlib.closing(Store(database, tmp_path, patience=0.05)) as store:
        with written_to(database, tmp_path):
            with pytest.raises(MaquetteError, match="MQ-4181"):
                store.put_file("a", "x", "fine-tune", [b"x"])
            assert store.list_files("a") == []  # readers are not held up
        store.put_file("a", "x", "fine-tune", [b"x"])


def test_a_full_disk_refuses_and_keeps_what_was_there(lite: Store) -> None:
    kept = lite.put_file("a", "kept", "fine-tune", [b"x"])
    with lite.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    sa.event.listen(lite._engine, "begin", lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(MaquetteError, match="MQ-5180.*disk is full"):
        for number in range(200):
            lite.put_file("a", "name" * 50, "fine-tune", [bytes([number])])
    assert lite.get_file("a", kept.id) == kept
    with lite.reading() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(FILES)).scalar()
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert rows == len(lite.list_files("a", limit=1000))


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
