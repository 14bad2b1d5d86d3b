"""Keys of a server: made, listed and revoked at its database, whether it runs or not."""

import os
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from maquette.core.errors import MaquetteError

if TYPE_CHECKING:
    from maquette.server.store import AuditRow, KeyRow, Store

DAY = 86_400
DATABASE = "MAQUETTE_DATABASE"
"""The environment variable for an address with a password, which a command line would show to everybody."""


def create(
    name: str,
    scopes: Sequence[str],
    days: int | None = None,
    data_folder: str = "server-data",
    database: str | None = None,
) -> tuple[str, "KeyRow"]:
    """A new key: its secret, which nothing can tell again, and what is kept of it.

    Raises:
        MaquetteError: MQ-2002 for a scope that there is not, MQ-3010 without the extra `serve`, and as `Store`.
    """
    with closing(opened(data_folder, database)) as store:
        return store.add_key(name, tuple(scopes), None if days is None else time.time() + days * DAY)


def listed(data_folder: str = "server-data", database: str | None = None) -> list["KeyRow"]:
    """All keys, the revoked and expired ones too."""
    with closing(opened(data_folder, database)) as store:
        return store.list_keys()


def revoke(id: str, data_folder: str = "server-data", database: str | None = None) -> "KeyRow":
    """From now on the key opens nothing; raises MQ-2180 when there is none."""
    with closing(opened(data_folder, database)) as store:
        return store.revoke_key(id)


def audited(
    id: str | None = None, last: int = 100, data_folder: str = "server-data", database: str | None = None
) -> list["AuditRow"]:
    """The last lines of the audit log, oldest first: who was refused, who made, changed or deleted what.

    Args:
        id: of a key: what was done with it, and to it.
    """
    with closing(opened(data_folder, database)) as store:
        return store.list_audit(id, last)[::-1]


def opened(data_folder: str, database: str | None) -> "Store":
    """The server's store."""
    try:
        from maquette.server.store import Store
    except ModuleNotFoundError as missing:
        raise MaquetteError("MQ-3010", package=missing.name, extra="serve") from None
    folder = Path(data_folder).resolve()
    url = database or os.environ.get(DATABASE) or f"sqlite:///{folder}/server.db"
    return Store(url, folder)


def alive(row: "KeyRow", now: float) -> bool:
    return row.revoked is None and (row.expires is None or row.expires > now)


def table(rows: Sequence["KeyRow"]) -> list[str]:
    """A line for each key; none holds a secret."""
    now = time.time()
    return [
        f"{row.id:<14} {row.name:<20} {','.join(row.scopes):<18} {_day(row.created)}  {_state(row, now)}"
        for row in rows
    ]


def lines(rows: Sequence["AuditRow"]) -> list[str]:
    """A line for each line of the audit log: when, key, status, what, to what, and the id of the request."""
    return [
        f"{_day(row.time, '%Y-%m-%d %H:%M:%S')}  {row.tenant or '-':<12}  {row.status}  {row.action:<16} "
        f"{row.object:<34} {row.request}".rstrip()
        for row in rows
    ]


def _state(row: "KeyRow", now: float) -> str:
    if row.revoked is not None:
        return f"revoked {_day(row.revoked)}"
    if row.expires is None:
        return "never expires"
    return f"{'expires' if row.expires > now else 'expired'} {_day(row.expires)}"


def _day(seconds: float, form: str = "%Y-%m-%d") -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)
