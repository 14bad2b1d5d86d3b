"""A real server on a port of its own, in a thread, with small untrained models."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from maquette.server import guard
from maquette.server.app import create_app
from maquette.server.engine import Engine
from maquette.server.settings import Settings
from maquette.server.store import Store


@contextlib.contextmanager
def serving(folder: Path, engine: Engine, **more: Any) -> Iterator[tuple[str, FastAPI]]:
    """The address of a server, and its application; it has ended when the block is left.

    Args:
        more: fields of `Settings`, and what `create_app` takes besides.
    """
    parts = {name: more.pop(name) for name in ("rules", "allow", "supervisor", "store", "pages") if name in more}
    store = parts.pop("store", None) or Store(f"sqlite:///{folder}/server.db", folder)
    settings = replace(Settings(data_folder=str(folder), drain_seconds=2.0), **more)
    app = create_app(settings, engine, store, **parts)
    server = guard.server(app, settings)
    app.state.server = server
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until = time.monotonic() + 30
        while not server.started and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", app
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
        store.close()
        assert not thread.is_alive(), "the server did not end"
