"""Films in the making: what takes longer than a client waits. They outlive a restart.

A film is a JSON file in the data folder, written before its id is told, and its MP4 beside it when it is done. One that
was not done when the server ended is made again from its seed, which gives the same film.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server.errors import answer

ID = re.compile(r"video_[0-9a-f]{24}")
TOGETHER = 2
"""Films that are made at one time; the others are queued."""
WAITING = 16
"""Films of one key that may be queued or in the making."""

log = logging.getLogger("maquette.server")


@dataclass(frozen=True)
class Film:
    id: str
    owner: str
    model: str
    body: dict[str, Any]
    """What was asked, with its seed."""
    size: str
    seconds: str
    created: int
    status: str = "queued"
    completed: int | None = None
    error: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        return self.status in ("completed", "failed")


class Films:
    """Args:
    folder: of the data folder.
    make: the bytes of a film.
    most: how many of one key are kept.
    """

    def __init__(self, folder: Path, make: Callable[[Film], Awaitable[bytes]], most: int):
        self._folder, self._make, self._most = folder, make, most
        self._films: dict[str, Film] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(TOGETHER)

    async def start(self) -> None:
        """Read what is there, and go on with what was not done."""
        self._films = {film.id: film for film in await asyncio.to_thread(self._read)}
        for film in list(self._films.values()):
            if not film.over:
                self._go(replace(film, status="queued"))

    def _read(self) -> list[Film]:
        files.make_folder(self._folder)
        found = []
        for path in sorted(self._folder.glob("video_*.json")):
            try:
                found.append(Film(**files.read_json(path)))
            except (MaquetteError, TypeError):
                log.warning("a film's record cannot be read and is left aside: %s", path.name)
        known = {film.id for film in found}
        for path in self._folder.glob("video_*.mp4"):
            if path.stem not in known and not path.with_suffix(".json").exists():  # its film was deleted meanwhile
                files.remove_file(path)
        return sorted(found, key=lambda film: film.created)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def put(self, owner: str, model: str, body: dict[str, Any], size: str, seconds: str) -> Film:
        """A new film; durable on return.

        Raises:
            MaquetteError: MQ-4180 when this key has too many that are not done.
        """
        own = self.of(owner)
        if sum(not film.over for film in own) >= WAITING:
            raise MaquetteError("MQ-4180", most=WAITING, what="films in the making")
        film = Film(f"video_{secrets.token_hex(12)}", owner, model, body, size, seconds, int(time.time()))
        await self._keep(film)
        for old in [film for film in own if film.over][: max(0, len(own) + 1 - self._most)]:
            await self._forget(old)
        self._go(film)
        return film

    def of(self, owner: str) -> list[Film]:
        """The films of a key, oldest first."""
        return [film for film in self._films.values() if film.owner == owner]

    def get(self, owner: str, id: str) -> Film:
        """Raises MQ-2180 where this key has none of that id."""
        film = self._films.get(id) if ID.fullmatch(id) else None
        if film is None or film.owner != owner:
            raise MaquetteError("MQ-2180", what="video", id=id)
        return film

    def unfinished(self) -> set[str]:
        """The models of those that are queued or in the making."""
        return {film.model for film in self._films.values() if not film.over}

    async def expire(self, before: float) -> None:
        """Forget those that are over since before a time of day."""
        for film in [film for film in self._films.values() if film.over and (film.completed or film.created) < before]:
            await self._forget(film)

    async def content(self, film: Film) -> bytes:
        """The MP4; raises MQ-2181 when it is not done."""
        if film.status != "completed":
            raise MaquetteError("MQ-2181", what="video", state=film.status, reason="only a completed one has content")
        return await asyncio.to_thread(files.read_file, self._path(film, ".mp4"))

    async def delete(self, film: Film) -> None:
        """Stop it if need be, and forget it."""
        if task := self._tasks.pop(film.id, None):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._forget(film)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _go(self, film: Film) -> None:
        self._films[film.id] = film
        self._tasks[film.id] = asyncio.create_task(self._work(film))

    async def _work(self, film: Film) -> None:
        try:
            async with self._turn:
                self._films[film.id] = film = replace(film, status="in_progress")
                data = await self._patiently(film)
            await asyncio.to_thread(files.write_file, self._path(film, ".mp4"), data)
            await self._keep(replace(film, status="completed", completed=int(time.time())))
        except MaquetteError as mistake:
            told = answer(mistake).body["error"]
            await self._fail(film, told["code"], told["message"])
        except Exception as fault:
            log.error("%s %s", film.id, type(fault).__name__)
            await self._fail(film, "server_error", "this is a fault of the server")
        finally:
            self._tasks.pop(film.id, None)

    async def _fail(self, film: Film, code: str, message: str) -> None:
        """It has failed, for whoever waits for it, even where the disk is full and does not take that down."""
        self._films[film.id] = film = replace(film, status="failed", error={"code": code, "message": message})
        try:
            await self._keep(film)
        except MaquetteError as bad:
            log.error("%s: its record could not be written: %s", film.id, bad.code)

    async def _patiently(self, film: Film) -> bytes:
        """The bytes, however long the engine's queue is."""
        while True:
            try:
                return await self._make(film)
            except MaquetteError as busy:
                if (wait := getattr(busy, "retry_after", None)) is None:
                    raise
            await asyncio.sleep(wait)

    async def _keep(self, film: Film) -> None:
        await asyncio.to_thread(files.write_json, self._path(film, ".json"), asdict(film))
        self._films[film.id] = film

    async def _forget(self, film: Film) -> None:
        self._films.pop(film.id, None)
        for suffix in (".json", ".mp4"):
            path = self._path(film, suffix)
            if path.exists():
                await asyncio.to_thread(files.remove_file, path)

    def _path(self, film: Film, suffix: str) -> Path:
        return self._folder / f"{film.id}{suffix}"
