"""Every button that does something to a job or a model, pressed in a real browser at one server.

Jobs that only have to go on and be stopped are run by a worker without torch.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from maquette.bundle import save_bundle
from maquette.media import text
from maquette.models.base import ModelConfig
from maquette.models.gpt2 import FORM
from maquette.server import plans
from maquette.server.jobs import Jobs
from maquette.server.store import Store
from tests.pipeline.talking import NET
from tests.server.life import FAKE, ROOT
from tests.server.served import painter
from tests.studio.browser import PATIENCE, WORKER, chromium, studio, watched

SLOW = {"word": "slow", "stem": "slow", "model": "slow"}
SOON: dict[str, Any] = {"timeout": PATIENCE}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """A server with a picture model of the operator's, one that is one's own, and one of the form of GPT-2."""
    folder = tmp_path_factory.mktemp("presses")
    store = Store(f"sqlite:///{folder}/server.db", folder)
    jobs = Jobs(store)
    job = jobs.put("train", {"word": "own", "stem": "own", "model": "own"}, key="")
    assert jobs.claim("nobody") is not None
    run = Path("models") / plans.run_name(job.id, job.spec)
    painter(folder / run, "gan")
    jobs.end(job.id, 1, "done", result={"folder": str(run), "model": run.name})
    store.close()
    models = (painter(folder / "given", "gan"), _gpt2(folder / "writer"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # workers find the package
        with studio(folder, models, command=FAKE) as (url, app):
            yield url, app


def _gpt2(folder: Path) -> Path:
    medium = text.Config(tokenizer="bpe", vocabulary="t h\nth e", length=16)
    config = ModelConfig.from_tree({"kind": "gpt", "net": NET | FORM, "embed_norm": False}, "model")
    torch.manual_seed(1)
    model = config.build(medium.build().space, 0)
    save_bundle(folder / "bundle", medium, config, [], model.state_dict(), {"name": "writer"})
    return folder


def _going(app: Any) -> str:
    """The id of a job that goes on for some seconds."""
    return app.state.jobs.put("train", SLOW, key="").id


def _answer(page: Page, yes: bool) -> None:
    page.once("dialog", lambda dialog: dialog.accept() if yes else dialog.dismiss())


def test_a_run_is_paused_goes_on_and_is_stopped(browser: Browser, served: tuple[str, Any]) -> None:
    url, app = served
    with watched(browser, url) as seen:
        page, jobs = seen.page, app.state.jobs
        page.goto(f"{url}/studio/train?job={(id := _going(app))}")
        seen.wait("#chart .curve")
        page.click("#run-pause")
        expect(page.locator("#run-state")).to_have_class(re.compile("paused"), **SOON)
        assert not page.locator("#run-pause").is_visible() and page.locator("#run-stop").is_visible()
        reached = jobs.get("", id).reached
        assert 0 < reached < 1
        page.click("#run-resume")
        expect(page.locator("#run-state")).to_have_class(re.compile("running"), **SOON)
        expect(page.locator("#run-pause")).to_be_visible(**SOON)
        page.wait_for_function("reached => document.getElementById('run-bar').value > reached", arg=reached)
        _answer(page, yes=False)
        page.click("#run-stop")
        assert jobs.get("", id).wish == "", "who is asked whether may say no"
        _answer(page, yes=True)
        page.click("#run-stop")
        expect(page.locator("#run-state")).to_have_class(re.compile("cancelled"), **SOON)
        assert jobs.get("", id).state == "cancelled"
        for button in ("pause", "resume", "stop"):
            assert not page.locator(f"#run-{button}").is_visible()
        steps = [event.data["step"] for event in jobs.events("", id, 0, 1000) if event.kind == "metrics"]
        assert steps == sorted(set(steps)) and steps[-1] > 12 * reached, "it went on where it was"
        assert seen.faults == []


def test_a_job_is_paused_goes_on_and_is_cancelled(browser: Browser, served: tuple[str, Any]) -> None:
    url, app = served
    with watched(browser, url) as seen:
        page = seen.page
        page.goto(f"{url}/studio/jobs?job={(id := _going(app))}")
        expect(page.locator("#one-state")).to_have_class(re.compile("running"), **SOON)
        for press, state in (("Pause", "paused"), ("Resume", "running"), ("Cancel", "cancelled")):
            _answer(page, yes=True)
            page.click(f"#one-actions button:text-is('{press}')")
            expect(page.locator("#one-state")).to_have_class(re.compile(state), **SOON)
        assert app.state.jobs.get("", id).state == "cancelled" and page.locator("#one-actions button").count() == 0
        expect(page.locator("#one-events li").last).to_contain_text("Cancelled", **SOON)
        page.click(f"#jobs a[data-job={id}]")
        page.wait_for_url(f"**/studio/jobs?job={id}")
        assert seen.faults == []


def test_a_model_is_scored_shared_exported_and_deleted(browser: Browser, served: tuple[str, Any]) -> None:
    url, app = served
    with watched(browser, url) as seen:
        page, (own, *_) = seen.page, [one for one in app.state.engine.served() if one.owner is not None]
        seen.goto("models")
        cards = {name: page.locator(f"article[aria-labelledby='model-{name}']") for name in (own.id, "given", "writer")}
        for word in ("Share with all keys", "Delete", "Export"):
            assert cards["given"].get_by_role("button", name=word).count() == 0, word
        mine = cards[own.id]
        mine.get_by_role("button", name="Share with all keys").click()
        expect(mine.locator(".chip", has_text="shared")).to_be_visible(**SOON)
        assert app.state.engine.find(own.id).shared
        mine.get_by_role("button", name="Share no more").click()
        expect(mine.get_by_role("button", name="Share with all keys")).to_be_visible(**SOON)
        assert not app.state.engine.find(own.id).shared

        mine.get_by_role("button", name="Score it").click()
        page.click("#say a")
        page.wait_for_url("**/studio/jobs?job=*")
        expect(page.locator("#one-title")).to_have_text(f"Scoring · {own.id}", **SOON)
        expect(page.locator("#one-state")).to_have_class(re.compile("succeeded"), **SOON)

        results = app.state.store.folder / app.state.jobs.list("")[0].result["folder"]
        results.mkdir(parents=True)
        score = {"name": "fid", "title": "Fréchet distance", "value": 12.5}
        (results / "report.json").write_text(json.dumps({"scores": [score]}))
        seen.goto("models")
        mine.locator("summary").click()
        expect(mine.locator("table")).to_have_text("Fréchet distance12.5", **SOON)
        _answer(page, yes=False)
        mine.get_by_role("button", name="Delete").click()
        assert app.state.engine.find(own.id)
        _answer(page, yes=True)
        mine.get_by_role("button", name="Delete").click()
        expect(mine).to_have_count(0, **SOON)
        assert own.id not in [one.id for one in app.state.engine.served()] and not own.folder.exists()

        app.state.supervisor.command = WORKER
        cards["writer"].get_by_role("button", name="Export").click()
        page.click("#say a")
        expect(page.locator("#one-state")).to_have_class(re.compile("succeeded"), **SOON)
        with page.expect_download() as coming:
            page.locator("#one-files li", has_text="results.zip").get_by_role("link").click()
        with zipfile.ZipFile(io.BytesIO(Path(coming.value.path()).read_bytes())) as archive:
            assert {"config.json", "model.safetensors", "vocab.json", "merges.txt"} <= set(archive.namelist())
            assert b"GPT2LMHeadModel" in archive.read("config.json")
        app.state.supervisor.command = FAKE
        refused = page.request.post(f"{url}/v1/jobs", data={"kind": "export", "model": "given"})
        assert (refused.status, refused.json()["error"]["code"]) == (400, "wrong_model")
        assert seen.faults == []
