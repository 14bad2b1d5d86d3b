"""That a server is alive, for others that share its data folder: a lock which the kernel lets go of when it dies."""

import contextlib
import secrets
import time
from pathlib import Path

from maquette.core import files
from maquette.core.errors import MaquetteError

OLD = 86_400.0
"""Seconds after which what the dead have left is removed; younger ones may still be missed by what was theirs."""


class Presence:
    """One of a server's.

    Args:
        folder: where the locks of all are.
    """

    def __init__(self, folder: Path):
        self.id = secrets.token_hex(8)
        self._folder, self._lock = folder, contextlib.ExitStack()

    def enter(self) -> None:
        """From now on this server is seen to be alive."""
        self._lock.enter_context(files.lock(self._folder / self.id))

    def sweep(self) -> None:
        """Remove what the dead have left long ago."""
        for folder in self._folder.iterdir():
            with contextlib.suppress(MaquetteError, OSError):
                if time.time() - folder.stat().st_mtime > OLD and self.dead(folder.name):
                    files.remove_folder(folder)

    def leave(self, something: bool = False) -> None:
        """It has ended.

        Args:
            something: whether it has left work under its id, by which others must find that it is dead.
        """
        self._lock.close()
        if not something:
            with contextlib.suppress(MaquetteError):
                files.remove_folder(self._folder / self.id)

    def dead(self, id: str) -> bool:
        """Whether the lock of that server is free; of one that never had its lock here, nothing is known."""
        folder = self._folder / id
        if not id.isalnum() or not folder.is_dir():
            return False
        try:
            with files.lock(folder):
                return True
        except MaquetteError:
            return False
