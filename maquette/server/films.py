"""Films in the making: what takes longer than a client waits. They outlive a restart.

A film is a row of the database, written before its id is told, and an MP4 in the data folder when it is done; so every
server of the database tells how it stands. The row names the server that makes it. One that ends leaves what it has not
made to the others, and one that dies lets go of a lock; then a server that has the model makes the film anew from its
seed, which gives the same film.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server.errors import answer
from maquette.server.presence import Presence
from maquette.server.store import ENDED, FILMS, Store

ID = re.compile(r"video_[0-9a-f]{24}")
TOGETHER = 2
"""Films that are made at one time; the others are queued."""
WAITING = 16
"""Films of one key that may be queued or in the making."""
EVERY = 5.0
"""Seconds between two looks for films that were deleted elsewhere, or that nobody makes any more."""

log = logging.getLogger("maquette.server")


@dataclass(frozen=True)
class Film:
    id: str
    tenant: str
    model: str
    body: dict[str, Any]
    """What was asked, with its seed."""
    size: str
    seconds: str
    created: float
    status: str = "queued"
    completed: float | None = None
    error: dict[str, Any] | None = None
    server: str = ""
    """Who makes it; "" where nobody does."""
    number: int = 0
    """Grows with every film."""

    @property
    def over(self) -> bool:
        return self.status in ENDED


class Films:
    """For one event loop.

    Args:
        make: the bytes of a film.
        most: how many of one key are kept.
        able: whether this server has a film's model.
    """

    def __init__(
        self,
        store: Store,
        make: Callable[[Film], Awaitable[bytes]],
        most: int,
        able: Callable[[Film], bool] = lambda film: True,
    ):
        self._store, self._make, self._most, self._able = store, make, most, able
        self._folder = store.folder / "videos"
        self._presence = Presence(store.folder / "owners")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(TOGETHER)
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Go on with what nobody makes, at once and whenever there is something of that kind."""
        await asyncio.to_thread(self._prepare)
        await self.look()
        await asyncio.to_thread(self._presence.sweep)  # of the dead nothing is told of in the rows any more
        self._looking = asyncio.create_task(self._look_often())

    async def close(self) -> None:
        """Stop; what is not made is left to the other servers, or to the next one."""
        tasks = [*self._tasks.values(), *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = await asyncio.to_thread(self._leave)
        await asyncio.to_thread(self._presence.leave, not left)

    async def look(self) -> None:
        """Make what nobody makes any more, and stop making what was deleted at another server."""
        begun = set(self._tasks)  # before the rows are read: one that comes meanwhile is not among them
        unfinished = await asyncio.to_thread(self._select, FILMS.c.status.not_in(ENDED))
        for id in begun - {film.id for film in unfinished if film.server == self._presence.id}:
            await self._stop(id)
        for film in unfinished:
            if film.server != self._presence.id and (not film.server or await asyncio.to_thread(self._dead, film)):
                taker = self._presence.id if self._able(film) else ""
                if taker != film.server and await asyncio.to_thread(self._pass, film, taker) and taker:
                    self._go(replace(film, status="queued", server=taker))

    async def put(self, tenant: str, model: str, body: dict[str, Any], size: str, seconds: str) -> Film:
        """A new film; durable on return.

        Raises:
            MaquetteError: MQ-4180 when this key has too many that are not done.
        """
        now, id = self._store.clock(), f"video_{secrets.token_hex(12)}"
        film = Film(id, tenant, model, body, size, seconds, now, server=self._presence.id)
        await asyncio.to_thread(self._insert, film)
        self._go(film)
        return film

    async def of(self, tenant: str) -> Sequence[Film]:
        """The films of a key, oldest first."""
        return await asyncio.to_thread(self._select, FILMS.c.tenant == tenant)

    async def get(self, tenant: str, id: str) -> Film:
        """Raises MQ-2180 where this key has none of that id."""
        asked = (FILMS.c.tenant == tenant, FILMS.c.id == id)
        found = await asyncio.to_thread(self._select, *asked) if ID.fullmatch(id) else []
        if not found:
            raise MaquetteError("MQ-2180", what="video", id=id)
        return found[0]

    async def expire(self, before: float) -> None:
        """Forget those that are over since before a time of day."""
        when = sa.func.coalesce(FILMS.c.completed, FILMS.c.created)
        for film in await asyncio.to_thread(self._select, FILMS.c.status.in_(ENDED), when < before):
            await asyncio.to_thread(self._forget, film)

    async def content(self, film: Film) -> bytes:
        """The MP4; raises MQ-2181 when it is not done, MQ-5182 when it lies in another server's data folder."""
        if film.status != "completed":
            raise MaquetteError("MQ-2181", what="video", state=film.status, reason="only a completed one has content")
        if not await asyncio.to_thread(self._path(film.id).exists):
            raise MaquetteError("MQ-5182", what="video")
        return await asyncio.to_thread(files.read_file, self._path(film.id))

    async def delete(self, film: Film) -> None:
        """Forget it, and stop it if need be; another server that makes it stops when it looks."""
        await asyncio.to_thread(self._forget, film)
        await self._stop(film.id)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _go(self, film: Film) -> None:
        self._tasks[film.id] = asyncio.create_task(self._work(film))

    async def _stop(self, id: str) -> None:
        if task := self._tasks.pop(id, None):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self, film: Film) -> None:
        try:
            async with self._turn:
                if not await self._becomes(film, status="in_progress"):
                    return
                data = await self._patiently(film)
            await asyncio.to_thread(files.write_file, self._path(film.id), data)
            if not await self._becomes(film, status="completed", completed=self._store.clock()):
                await asyncio.to_thread(self._clean, film.id)  # it was deleted meanwhile
        except MaquetteError as mistake:
            told = answer(mistake).body["error"]
            await self._fail(film, told["code"], told["message"])
        except Exception as fault:
            log.error("%s %s", film.id, type(fault).__name__)
            await self._fail(film, "server_error", "this is a fault of the server")
        finally:
            self._tasks.pop(film.id, None)

    async def _fail(self, film: Film, code: str, message: str) -> None:
        await self._becomes(film, status="failed", error={"code": code, "message": message})

    async def _becomes(self, film: Film, **values: Any) -> bool:
        """Whether the film was still this server's to change, as soon as the database says so."""
        while True:
            try:
                return await asyncio.to_thread(self._change, film, values)
            except MaquetteError as bad:
                log.error("%s: how it stands could not be written: %s", film.id, bad.code)
            await asyncio.sleep(EVERY)

    async def _patiently(self, film: Film) -> bytes:
        """The bytes, however long the engine's queue is."""
        while True:
            try:
                return await self._make(film)
            except MaquetteError as busy:
                if (wait := getattr(busy, "retry_after", None)) is None:
                    raise
            await asyncio.sleep(wait)

    async def _look_often(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.look()
            except MaquetteError as bad:  # the store is full, locked or away: the next look finds the same
                log.warning("films: %s", bad.code)
            except Exception:
                log.exception("films: a fault of ours")

    # -- in other threads ---------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        files.make_folder(self._folder)
        self._presence.enter()
        self._read_records()
        found = list(self._folder.glob("video_*.mp4"))  # before the rows are read: rows come first, and go first
        known = {film.id for film in self._select()}
        for path in found:
            if path.stem not in known:  # its film was deleted while it was made
                files.remove_file(path)

    def _read_records(self) -> None:
        """Films that an earlier version has kept as a file each become rows."""
        for path in sorted(self._folder.glob("video_*.json")):
            try:
                tree = files.read_json(path)
                times = {name: float(tree.pop(name)) for name in ("created", "completed") if tree.get(name) is not None}
                film = Film(**{"tenant": tree.pop("owner"), **tree, **times})
            except (MaquetteError, TypeError, ValueError, KeyError):
                log.warning("a film's record cannot be read and is left aside: %s", path.name)
                continue
            with self._store.writing() as connection:
                if connection.execute(sa.select(FILMS.c.id).where(FILMS.c.id == film.id)).first() is None:
                    connection.execute(sa.insert(FILMS).values(**_row(film)))
            files.remove_file(path)

    def _select(self, *where: Any) -> list[Film]:
        with self._store.reading() as connection:
            rows = connection.execute(sa.select(FILMS).where(*where).order_by(FILMS.c.number)).mappings()
            return [Film(**row) for row in rows]

    def _insert(self, film: Film) -> None:
        own = sa.select(FILMS.c.id, FILMS.c.status).where(FILMS.c.tenant == film.tenant).order_by(FILMS.c.number)
        with self._store.writing() as connection:
            rows = connection.execute(own).all()
            over = [id for id, status in rows if status in ENDED]
            if len(rows) - len(over) >= WAITING:
                raise MaquetteError("MQ-4180", most=WAITING, what="films in the making")
            old = over[: max(0, len(rows) + 1 - self._most)]
            connection.execute(sa.delete(FILMS).where(FILMS.c.id.in_(old)))
            connection.execute(sa.insert(FILMS).values(**_row(film)))
        for id in old:
            self._clean(id)

    def _change(self, film: Film, values: dict[str, Any]) -> bool:
        mine = (FILMS.c.id == film.id, FILMS.c.server == self._presence.id, FILMS.c.status.not_in(ENDED))
        with self._store.writing() as connection:
            return connection.execute(sa.update(FILMS).where(*mine).values(**values)).rowcount == 1

    def _dead(self, film: Film) -> bool:
        return self._presence.dead(film.server)

    def _pass(self, film: Film, taker: str) -> bool:
        """Whether what its server has left is `taker`'s from now on, and no other was quicker."""
        left = (FILMS.c.id == film.id, FILMS.c.server == film.server, FILMS.c.status.not_in(ENDED))
        with self._store.writing() as connection:
            change = sa.update(FILMS).where(*left).values(server=taker, status="queued")
            return connection.execute(change).rowcount == 1

    def _leave(self) -> bool:
        """Whether the database knows that nobody makes what was this server's."""
        mine = (FILMS.c.server == self._presence.id, FILMS.c.status.not_in(ENDED))
        try:
            with self._store.writing() as connection:
                connection.execute(sa.update(FILMS).where(*mine).values(server="", status="queued"))
        except MaquetteError as bad:
            log.warning("films: %s", bad.code)
            return False
        return True

    def _forget(self, film: Film) -> None:
        with self._store.writing() as connection:
            connection.execute(sa.delete(FILMS).where(FILMS.c.id == film.id))
        self._clean(film.id)

    def _clean(self, id: str) -> None:
        """Remove the MP4 of a film that is no more."""
        if not self._select(FILMS.c.id == id) and self._path(id).exists():
            files.remove_file(self._path(id))

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}.mp4"


def _row(film: Film) -> dict[str, Any]:
    return {name: value for name, value in asdict(film).items() if name != "number"}
