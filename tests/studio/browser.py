"""A real Chromium at a real server with the studio; what a page complains of, or asks of another host, is kept."""

import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, sync_playwright

from maquette.server.engine import Engine
from maquette.server.jobs import Jobs
from maquette.server.store import Store
from maquette.server.supervisor import Supervisor
from maquette.studio.pages import router
from tests.server.web import serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WORKER = (sys.executable, "-m", "maquette.server.worker")
PATIENCE = 120_000
"""Milliseconds that anything may take on a busy machine."""


@dataclass
class Watched:
    """A page, and all that should not have happened on it."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)

    def goto(self, name: str) -> None:
        self.page.goto(f"{self.url}/studio/{name}")
        self.page.wait_for_load_state("networkidle")

    def wait(self, selector: str, **how: Any) -> None:
        """Until `selector` is there; at once an error when the page tells of a mistake."""
        mistakes = ".note.bad:not([hidden])"
        self.page.locator(f"{selector}, {mistakes}").first.wait_for(**how)
        assert self.page.locator(mistakes).count() == 0, self.text(mistakes)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Headless Chromium of the system's; skips the test where there is none."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser on the PATH: none of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def studio(
    folder: Path, models: tuple[Path, ...] = (), jobs: bool = True, workers: int = 1, command: Sequence[str] = WORKER,
    **more: Any,
) -> Iterator[tuple[str, Any]]:  # fmt: skip
    """The address of a server with pages, and its application; jobs are run by `command`."""
    store = Store(f"sqlite:///{folder}/server.db", folder)
    supervisor = Supervisor(Jobs(store), workers=workers, device="cpu", tick=0.1, command=command) if jobs else None
    engine = Engine(models, device="cpu")
    with serving(folder, engine, store=store, supervisor=supervisor, pages=router, **more) as (url, app):
        yield url, app


@contextlib.contextmanager
def watched(browser: Browser, url: str, **context: Any) -> Iterator[Watched]:
    """A page in a context of its own."""
    options = {"viewport": {"width": 1100, "height": 900}, "locale": "en-GB", "accept_downloads": True} | context
    with contextlib.closing(browser.new_context(**options)) as opened:
        opened.set_default_timeout(PATIENCE)
        page = opened.new_page()
        found = Watched(page, url)
        page.on("console", lambda said: found.faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: found.faults.append(str(error)))
        page.on("request", lambda asked: _note_host(found, asked.url))
        yield found


def _note_host(found: Watched, address: str) -> None:
    if not address.startswith((f"{found.url}/", "blob:", "data:")):
        found.faults.append(f"a request to {address}")


def drop(page: Page, selector: str, *paths: Path) -> None:
    """Drop files or folders of this machine on a part of the page, as a hand does."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **place})


def drawn(folder: Path, count: int = 12, size: int = 20) -> Path:
    """A folder of pictures of two kinds, and one file that is none."""
    for number in range(count):
        kind = ("boxes", "discs")[number % 2]
        picture = Image.new("RGB", (size, size), (230, 230, 220 + number))
        shape = ImageDraw.Draw(picture).rectangle if number % 2 else ImageDraw.Draw(picture).ellipse
        shape((2 + number % 4, 3, size - 5, size - 3 - number % 5), fill=(20 * number % 255, 90, 160))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture.save(folder / kind / f"{kind}-{number}.png")
    (folder / "boxes" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    return folder
