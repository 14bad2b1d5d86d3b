"""What the server remembers: keys, the audit log, uploads, jobs, their events and films, in SQLite or PostgreSQL.

SQLite stands in the data folder (write-ahead log, `synchronous=FULL`): when a call returns, what it wrote survives a
loss of power. PostgreSQL is named by its address. The schema is made, or brought up to date, when a store is opened;
one made by a newer version is refused. Every row belongs to a tenant: the id of the key it was made with, "" where
the server runs without keys.

Bytes of uploaded files do not stand in the database but under `uploads/`, named by their SHA-256; the row comes after
the bytes, so a row is never without them.

    store = Store("sqlite:////srv/maquette/server.db")          # or Store("postgresql://…", folder="/srv/maquette")
    secret, key = store.add_key("laptop", ("infer", "train"))   # the secret is seen here and never again
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from maquette.core import files
from maquette.core.errors import MaquetteError

PATIENCE = 5.0
"""Seconds that a write waits for another's to end before it is refused as busy."""
ENDED = ("completed", "failed")
"""Of a film's status."""
MIGRATIONS = Path(__file__).parent / "migrations"
SCOPES = ("infer", "train", "admin")
LOCK = 0x6D617175
"""Of PostgreSQL's advisory locks: writers come one at a time, as they do in SQLite."""
MODELS, FOLDER = "models", "folder"
"""Facts: a word that is another one whenever the models of jobs are others, and which data folder belongs here."""

_METADATA = sa.MetaData()
_JSON = sa.JSON()


def _table(name: str, *columns: str, **types: Any) -> sa.Table:
    """A table as queries need it; the migrations say the rest."""
    return sa.Table(name, _METADATA, *(sa.Column(column, types.get(column)) for column in columns))


KEYS = _table("keys", "id", "name", "digest", "scopes", "created", "expires", "revoked")
AUDIT = _table("audit", "number", "time", "tenant", "action", "object", "status", "request")
FILES = _table("files", "number", "id", "tenant", "name", "purpose", "size", "sha256", "suffix", "created")
JOBS = _table(
    "jobs", "number", "id", "tenant", "kind", "spec", "state", "priority", "idempotency", "digest", "created",
    "started", "ended", "attempt", "failures", "orphaned", "reached", "owner", "beats", "wish", "not_before", "reason",
    "code", "progress", "result", "last_event", spec=_JSON, progress=_JSON, result=_JSON,
)  # fmt: skip
EVENTS = _table("events", "job", "number", "time", "level", "kind", "message", "data", data=_JSON)
FACTS = _table("facts", "name", "value")
FILMS = _table(
    "films", "number", "id", "tenant", "model", "body", "size", "seconds", "created", "status", "completed", "error",
    "server", body=_JSON, error=sa.JSON(none_as_null=True),
)  # fmt: skip


@dataclass(frozen=True)
class KeyRow:
    """A key without its secret, of which only the SHA-256 is kept."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None
    revoked: float | None


@dataclass(frozen=True)
class FileRow:
    """An uploaded file: who sent it, what it was called, and where its bytes are by their SHA-256."""

    number: int
    id: str
    tenant: str
    name: str
    purpose: str
    size: int
    sha256: str
    suffix: str
    created: float


@dataclass(frozen=True)
class AuditRow:
    """Who did what to which object, and what came of it."""

    number: int
    time: float
    tenant: str
    action: str
    object: str
    status: int
    request: str


class Store:
    """One database and the folder of uploads beside it; may be used from any thread.

    Args:
        url: `sqlite:///FILE` or `postgresql://…`.
        folder: the data folder; of SQLite by default the one its file lies in.
        clock: the time of day in seconds.
        patience: seconds that a write waits for another's.

    Raises:
        MaquetteError: MQ-7180 a newer schema, MQ-5180 no database or no room, MQ-5181 a damaged one, MQ-2009 an address
            that is neither.
    """

    def __init__(
        self,
        url: str,
        folder: Path | str | None = None,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
    ):
        address = _address(url)
        self.lite = address.get_backend_name() == "sqlite"
        database = Path(address.database or "")
        self.folder = files.make_folder(folder or database.parent)
        self.uploads = self.folder / "uploads"
        self.clock = clock
        more = {"connect_args": {"timeout": patience}} if self.lite else {"pool_pre_ping": True}
        self._engine = sa.create_engine(address, pool_size=8, max_overflow=8, pool_timeout=patience, **more)
        if self.lite:
            event.listen(self._engine, "connect", _prepare)
            event.listen(self._engine, "begin", _begin)
        else:
            event.listen(self._engine, "connect", lambda connection, _: _hurry(connection, patience))
        try:
            with _told():
                self._migrate()
        except BaseException:
            self.close()
            raise
        if self.lite:
            with contextlib.suppress(OSError):
                os.chmod(database, 0o600)

    def close(self) -> None:
        self._engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads; raises MQ-4181, MQ-5180 or MQ-5181."""
        with _told(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that no other writer overlaps; durable when the block is left, undone when it raises."""
        with _told(), self._engine.execution_options(alone=True).begin() as connection:
            if not self.lite:
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            yield connection

    def _migrate(self) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
        with self.writing() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            if found is not None and found not in known:
                raise MaquetteError("MQ-7180", found=found, known=known[0])
            if found != known[0]:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    # -- facts --------------------------------------------------------------------------------------------------------

    def models_mark(self) -> str:
        """A word that is another one whenever the models of jobs are others: one row, by its primary key."""
        with self.reading() as connection:
            return _fact(connection, MODELS)

    def models_changed(self, connection: sa.Connection) -> None:
        """Have every server look at the models of jobs anew, from the end of this transaction on."""
        connection.execute(sa.update(FACTS).where(FACTS.c.name == MODELS).values(value=secrets.token_hex(12)))

    def check_folder(self) -> None:
        """Jobs find each other's files by names below the data folder, so all who run them must have the same one.

        The first who comes gives the folder its id, which stands in a file there and in the database.

        Raises:
            MaquetteError: MQ-5183 where the database belongs to another folder.
        """
        path = self.folder / "folder.id"
        with self.writing() as connection:
            known = _fact(connection, FOLDER)
            own = files.read_file(path).decode(errors="replace").strip() if path.exists() else ""
            if not known:
                known = own or secrets.token_hex(12)
                connection.execute(sa.update(FACTS).where(FACTS.c.name == FOLDER).values(value=known))
                if not own:
                    files.write_file(path, f"{known}\n".encode())
            elif own != known:
                raise MaquetteError("MQ-5183", str(self.folder), id=known, file=path.name)

    # -- keys ---------------------------------------------------------------------------------------------------------

    def add_key(self, name: str, scopes: Sequence[str], expires: float | None = None) -> tuple[str, KeyRow]:
        """A new key: its secret, which is kept nowhere, and its row.

        Args:
            scopes: of `SCOPES`.
            expires: time of day in seconds from which on it is void.
        """
        for scope in scopes:
            if scope not in SCOPES:
                raise MaquetteError("MQ-2002", path="scopes", wanted="of " + ", ".join(SCOPES), value=repr(scope))
        id = secrets.token_hex(6)
        secret = f"mq-{id}-{secrets.token_urlsafe(32)}"
        row = {"id": id, "name": name[:200], "scopes": ",".join(dict.fromkeys(scopes)), "created": self.clock(),
               "expires": expires, "revoked": None}  # fmt: skip
        with self.writing() as connection:
            connection.execute(sa.insert(KEYS).values(digest=files.digest(secret.encode()), **row))
            self._note(connection, "", "key.create", id, 200)
        return secret, _key(row)

    def key_of(self, secret: str) -> KeyRow | None:
        """The key with this secret, if it is one, not revoked and not expired; as quick for any wrong one."""
        given = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        parts = secret.split("-", 2)
        id = parts[1] if len(parts) == 3 and len(parts[1]) <= 64 and parts[1].isascii() and parts[1].isalnum() else ""
        with self.reading() as connection:
            row = connection.execute(sa.select(KEYS).where(KEYS.c.id == id)).mappings().first()
        right = hmac.compare_digest(given, row["digest"] if row else "0" * 64)
        if row is None or not right or row["revoked"] is not None:
            return None
        return None if row["expires"] is not None and row["expires"] <= self.clock() else _key(row)

    def live_key(self, id: str) -> KeyRow | None:
        """The key with this id, if it is not revoked and not expired."""
        with self.reading() as connection:
            row = connection.execute(sa.select(KEYS).where(KEYS.c.id == id)).mappings().first()
        if row is None or row["revoked"] is not None:
            return None
        return None if row["expires"] is not None and row["expires"] <= self.clock() else _key(row)

    def has_keys(self) -> bool:
        """Whether there ever was a key: rows of the revoked and expired ones stay."""
        with self.reading() as connection:
            return connection.execute(sa.select(KEYS.c.id).limit(1)).first() is not None

    def list_keys(self) -> list[KeyRow]:
        """All keys, oldest first, the revoked and expired ones too."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(KEYS).order_by(KEYS.c.created, KEYS.c.id)).mappings().all()
        return [_key(row) for row in rows]

    def revoke_key(self, id: str) -> KeyRow:
        """From now on the key opens nothing; raises MQ-2180 when there is none."""
        with self.writing() as connection:
            change = sa.update(KEYS).where(KEYS.c.id == id, KEYS.c.revoked.is_(None)).values(revoked=self.clock())
            if connection.execute(change).rowcount:
                self._note(connection, "", "key.revoke", id, 200)
            row = connection.execute(sa.select(KEYS).where(KEYS.c.id == id)).mappings().first()
        if row is None:
            raise MaquetteError("MQ-2180", what="key", id=id)
        return _key(row)

    # -- audit --------------------------------------------------------------------------------------------------------

    def audit(self, tenant: str, action: str, object: str, status: int, request: str = "") -> None:
        """A line about what was done; nothing that a client wrote belongs into it but ids."""
        with self.writing() as connection:
            self._note(connection, tenant, action, object, status, request)

    def _note(
        self, connection: sa.Connection, tenant: str, action: str, object: str, status: int, request: str = ""
    ) -> None:
        row = {"tenant": tenant, "action": action[:100], "object": object[:200], "status": status,
               "request": request[:100], "time": self.clock()}  # fmt: skip
        connection.execute(sa.insert(AUDIT).values(**row))

    def list_audit(self, key: str | None = None, limit: int = 100) -> list[AuditRow]:
        """The newest lines first: of what one key has done and what was done to it, or all."""
        asked = sa.select(AUDIT).order_by(AUDIT.c.number.desc()).limit(limit)
        if key is not None:
            asked = asked.where(sa.or_(AUDIT.c.tenant == key, AUDIT.c.object == key))
        with self.reading() as connection:
            return [AuditRow(**row) for row in connection.execute(asked).mappings()]

    def forget_audit(self, before: float) -> int:
        """Delete the lines from before a time of day; how many there were."""
        with self.writing() as connection:
            return connection.execute(sa.delete(AUDIT).where(AUDIT.c.time < before)).rowcount

    # -- files --------------------------------------------------------------------------------------------------------

    def put_file(
        self, tenant: str, name: str, purpose: str, blocks: Iterable[bytes], suffix: str = "", most: int = 1 << 30,
        look: Callable[[Path], object] | None = None, storage: int | None = None,
    ) -> FileRow:  # fmt: skip
        """Keep what comes in `blocks`; durable on return.

        Args:
            look: given the bytes as a file; what it raises, nothing is kept of.
            storage: bytes that all files of the tenant may take.

        Raises:
            MaquetteError: MQ-8001 more than `most` bytes, MQ-4182 more than `storage` together, MQ-5001 no room.
        """
        with contextlib.ExitStack() as stack:
            got = stack.enter_context(files.gathered(self.uploads, blocks, most))
            if look is not None:
                look(got.path)
            connection = stack.enter_context(self.writing())
            if storage is not None:
                _check_room(connection, tenant, got.size, storage)
            row = {"id": f"file-{secrets.token_hex(12)}", "tenant": tenant, "name": name[:300], "purpose": purpose,
                   "size": got.size, "sha256": got.sha256, "suffix": suffix, "created": self.clock()}  # fmt: skip
            # within the transaction, so that no deletion of the same bytes comes between
            files.replace_file(got.path, self.uploads / f"{got.sha256}{suffix}")
            connection.execute(sa.insert(FILES).values(**row))
        return self.get_file(tenant, row["id"])

    def check_room(self, tenant: str, size: int, storage: int) -> None:
        """Raises MQ-4182 when `size` bytes more are more than a tenant may have; for before they are sent."""
        with self.reading() as connection:
            _check_room(connection, tenant, size, storage)

    def get_file(self, tenant: str, id: str) -> FileRow:
        """Raises MQ-2180 where this tenant has none of that id, whoever else may have."""
        with self.reading() as connection:
            asked = sa.select(FILES).where(FILES.c.id == id, FILES.c.tenant == tenant)
            row = connection.execute(asked).mappings().first()
        if row is None:
            raise MaquetteError("MQ-2180", what="file", id=id)
        return FileRow(**row)

    def check_file(self, connection: sa.Connection, tenant: str, id: str) -> None:
        """Raises as `get_file`, within a transaction."""
        asked = sa.select(FILES.c.id).where(FILES.c.id == id, FILES.c.tenant == tenant)
        if connection.execute(asked).first() is None:
            raise MaquetteError("MQ-2180", what="file", id=id)

    def list_files(
        self, tenant: str, purpose: str | None = None, after: str | None = None, limit: int = 100, newest: bool = True
    ) -> list[FileRow]:
        """A page of a tenant's files; `after` is the id of the last one of the page before."""
        asked = sa.select(FILES).where(FILES.c.tenant == tenant).limit(limit)
        if purpose is not None:
            asked = asked.where(FILES.c.purpose == purpose)
        asked = asked.order_by(FILES.c.number.desc() if newest else FILES.c.number)
        if after is not None:
            last = self.get_file(tenant, after).number
            asked = asked.where(FILES.c.number < last if newest else FILES.c.number > last)
        with self.reading() as connection:
            return [FileRow(**row) for row in connection.execute(asked).mappings()]

    def delete_file(self, tenant: str, id: str, check: Callable[[sa.Connection], object] | None = None) -> FileRow:
        """Forget a file; its bytes go when no other row has the same.

        Args:
            check: within the transaction; what it raises, the file stays for.
        """
        row = self.get_file(tenant, id)
        with self.writing() as connection:
            if check is not None:
                check(connection)
            connection.execute(sa.delete(FILES).where(FILES.c.id == id, FILES.c.tenant == tenant))
        self._drop(self.file_path(row))  # once it is sure that the row has gone: a row is never without its bytes
        return row

    def clean(self, before: float) -> None:
        """Remove what killed servers have left among the uploads before a time of day: halves, bytes without row."""
        with self.reading() as connection:
            known = {
                f"{sha256}{suffix}" for sha256, suffix in connection.execute(sa.select(FILES.c.sha256, FILES.c.suffix))
            }
        for path in self.uploads.iterdir() if self.uploads.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if path.name not in known and path.stat().st_mtime < before:
                    self._drop(path)

    def _drop(self, path: Path) -> None:
        """Remove bytes that no row has; within a transaction, so that none comes to have them meanwhile."""
        with self.writing() as connection:
            rows = connection.execute(sa.select(FILES.c.suffix).where(FILES.c.sha256 == path.name[:64])).all()
            if path.name[64:] not in [suffix for (suffix,) in rows]:
                files.remove_file(path)

    def file_path(self, row: FileRow) -> Path:
        """Where the bytes of a file are; the name is their SHA-256 and one of our suffixes, nothing a client wrote."""
        return self.uploads / f"{row.sha256}{row.suffix}"


def _check_room(connection: sa.Connection, tenant: str, size: int, storage: int) -> None:
    kept = connection.execute(sa.select(sa.func.sum(FILES.c.size)).where(FILES.c.tenant == tenant)).scalar()
    needed = int(kept or 0) + size
    if needed > storage:
        raise MaquetteError("MQ-4182", "file", needed=f"{needed:,}", most=f"{storage:,}")


def _fact(connection: sa.Connection, name: str) -> str:
    return connection.execute(sa.select(FACTS.c.value).where(FACTS.c.name == name)).scalar() or ""


def _key(row: Any) -> KeyRow:
    scopes = tuple(scope for scope in row["scopes"].split(",") if scope)
    return KeyRow(row["id"], row["name"], scopes, row["created"], row["expires"], row["revoked"])


def _address(url: str) -> sa.URL:
    try:
        address = sa.make_url(url)
    except exc.ArgumentError:
        address = None
    name = address.get_backend_name() if address is not None else ""
    if address is None or name not in ("sqlite", "postgresql") or (name == "sqlite" and not address.database):
        todo = "use sqlite:///FILE or postgresql://USER@HOST/NAME"
        raise MaquetteError("MQ-2009", path="database", value="this address", reason="it is no such", todo=todo)
    return address.set(drivername="sqlite" if name == "sqlite" else "postgresql+psycopg")


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says so
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _hurry(connection: Any, patience: float) -> None:
    """No write of a server's waits for ever for another's, as none does in SQLite."""
    connection.execute(f"SET lock_timeout = {max(1, round(1000 * patience))}").close()
    connection.commit()


def _begin(connection: sa.Connection) -> None:
    alone = connection.get_execution_options().get("alone", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if alone else "BEGIN")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The database's refusals as sentences, without the address, the statement or its values."""
    try:
        yield
    except exc.IntegrityError:
        raise
    except (exc.OperationalError, exc.DatabaseError, exc.TimeoutError) as bad:
        said = str(getattr(bad, "orig", bad)).lower()
        if any(word in said for word in ("locked", "busy", "lock timeout")) or isinstance(bad, exc.TimeoutError):
            raise MaquetteError("MQ-4181") from bad
        for word in ("malformed", "not a database", "corrupt"):
            if word in said:
                raise MaquetteError("MQ-5181", reason=word) from bad
        known = ("disk is full", "readonly", "disk i/o error", "unable to open")
        reason = next((words for words in known if words in said), "it does not answer")
        raise MaquetteError("MQ-5180", reason=reason) from bad
    except ModuleNotFoundError as bad:
        raise MaquetteError("MQ-3010", package=bad.name or "psycopg", extra="postgres") from None
