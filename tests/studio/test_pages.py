"""Every page in a real browser: narrow and wide, by keyboard, in both languages, and with names that are scripts."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from maquette.core.exit import Mark
from maquette.media import audio, image, music, points, text
from maquette.studio.pages import PAGES
from tests.server.served import painter, talker
from tests.studio.browser import PATIENCE, chromium, studio, watched

PAYLOADS = [
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg onload=window.hit=1>",
    "<svg><script>window.hit=1</script></svg>",
    '"><script>window.hit=1</script>',
    "'><img src=x onerror=window.hit=1>",
    "</title><script>window.hit=1</script>",
    "</textarea><script>window.hit=1</script>",
    "</script><script>window.hit=1</script>",
    "<iframe srcdoc='<script>parent.hit=1</script>'>",
    "<iframe src=javascript:parent.hit=1>",
    "<a href=javascript:window.hit=1 autofocus onfocus=window.hit=1>x</a>",
    "<body onload=window.hit=1>",
    "<details open ontoggle=window.hit=1>",
    "<input autofocus onfocus=window.hit=1>",
    "<video><source onerror=window.hit=1></video>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hit=1>",
    "<template><script>window.hit=1</script></template>",
    "javascript:window.hit=1",
    "{{constructor.constructor('window.hit=1')()}}",
    "${window.hit=1}",
    "`-window.hit=1-`",
    "'-window.hit=1-'",
    "\\u003cscript\\u003ewindow.hit=1\\u003c/script\\u003e",
    "&lt;script&gt;window.hit=1&lt;/script&gt;<b>",
    "<style>@import '//evil.example/x.css';</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example/'>",
    "<base href=//evil.example/>",
    "\u202e<script>window.hit=1</script>",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """A server with a model whose labels are scripts, one that writes, and jobs and files with the worst of names."""
    folder = tmp_path_factory.mktemp("studio")
    models = (
        painter(folder / "gan", "gan", tuple(PAYLOADS)),
        painter(folder / "diffusion", "diffusion", ()),
        talker(folder / "writer"),
    )
    with studio(folder / "data", models, workers=0) as (url, app):
        store, jobs = app.state.store, app.state.jobs
        for payload in PAYLOADS:
            store.put_file("", f"{payload}.zip", "fine-tune", [_zip({f"a/{_plain(payload)}.png": _png()})], ".zip")
            spec = {"word": "image/gan", "stem": "x", "model": payload, "label": payload, "prompt": payload}
            job = jobs.put("train", spec | {"metadata": {payload: payload}}, key="")
            claimed = jobs.claim("nobody")
            assert claimed is not None and claimed.id == job.id
            jobs.advance(job.id, 1, 0.5, {payload: payload}, [("message", payload, {payload: payload})])
            jobs.end(job.id, 1, "refused", "MQ-2002", payload)
        yield url, app


def _plain(payload: str) -> str:
    return "".join(c for c in payload if c not in "/\\:" and ord(c) >= 32)


def _png() -> bytes:
    return image.Image(8, 1).encode(np.zeros((8, 8, 1), np.uint8), Mark("a" * 64, 1))


def _zip(members: dict[str, bytes]) -> bytes:
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return buffer.getvalue()


@pytest.mark.parametrize(("locale", "scheme", "width"), [("en-GB", "light", 360), ("zh-CN", "dark", 360)])
def test_pages_are_whole_at_any_width(
    browser: Browser, served: tuple[str, Any], locale: str, scheme: Any, width: int
) -> None:
    size = {"width": width, "height": 740}
    with watched(browser, served[0], locale=locale, color_scheme=scheme, viewport=size) as seen:
        for name in PAGES:
            seen.goto(name)
            for wide in (width, 1600):
                seen.page.set_viewport_size({"width": wide, "height": 740})
                assert seen.page.evaluate("document.documentElement.scrollWidth") <= wide, (name, wide)
            seen.page.set_viewport_size(size)
            assert seen.page.get_attribute("html", "lang") == ("zh-CN" if locale == "zh-CN" else "en")
            assert seen.page.locator("h1").count() == 1
            dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 22)"
            assert dark == (scheme == "dark")
            assert seen.page.evaluate(NAMELESS) == [], name
            assert seen.page.evaluate("window.hit") is None
        assert seen.faults == []


NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, textarea, progress, iframe, nav, img")]
    .filter((node) => !node.closest("[hidden]"))
    .filter((node) => !node.hasAttribute("alt") && !node.getAttribute("aria-label") && !node.labels?.length)
    .filter((node) => !node.title && !node.textContent.trim()).map((node) => node.outerHTML)"""
"""Controls that a reader of screens could not name."""


def test_no_name_and_no_text_is_ever_run(browser: Browser, served: tuple[str, Any]) -> None:
    url, app = served
    with watched(browser, url) as seen:
        page = seen.page
        page.on("dialog", lambda dialog: seen.faults.append("a dialogue") or dialog.dismiss())
        seen.goto("jobs")
        page.click("#older")
        expect(page.locator("#jobs > li")).to_have_count(len(PAYLOADS), timeout=PATIENCE)
        rows = seen.text("#jobs")
        assert all(payload.strip() in rows for payload in PAYLOADS if "\u202e" not in payload)
        newest = app.state.jobs.list("", limit=len(PAYLOADS))
        for job in newest[:3]:
            seen.goto(f"jobs?job={job.id}")
            page.locator("#one-events li").nth(2).wait_for()
            assert job.reason in page.locator("#one-why").text_content()
        seen.goto(f"train?job={newest[0].id}")
        page.locator("#run-log li").nth(2).wait_for(state="attached")
        seen.goto("data")
        assert page.locator("#files li").count() == len(PAYLOADS)
        for row in range(3):
            page.locator("#files li").nth(row).locator("button").first.click()
            page.wait_for_selector("#shown img")

        seen.goto("make?model=gan")
        assert page.locator("#label option").count() == len(PAYLOADS) + 2
        for payload in PAYLOADS[:2]:
            page.select_option("#label", payload)
            page.fill("#n", "1")
            page.click("#go")
            expect(page.locator("#gallery figcaption").first).to_contain_text(payload, timeout=PATIENCE)
        hostile = "".join(
            f'data: {{"choices":[{{"index":{i},"text":{_json(p)}}}]}}\n\n' for i, p in enumerate(PAYLOADS)
        )
        page.route(
            "**/v1/completions",
            lambda route: route.fulfill(body=hostile + "data: [DONE]\n\n", content_type="text/event-stream"),
        )
        page.select_option("#model", "writer")
        page.fill("#prompt", PAYLOADS[0])
        page.click("#go")
        expect(page.locator("#gallery .text")).to_have_count(len(PAYLOADS), timeout=PATIENCE)
        page.unroute("**/v1/completions")
        page.route("**/v1/completions", lambda route: route.fulfill(
            status=400, json={"error": {"message": PAYLOADS[1], "code": "x", "type": "x", "param": None}}))  # fmt: skip
        page.click("#go")
        page.wait_for_selector("#fault:not([hidden])")
        assert seen.text("#fault") == PAYLOADS[1]
        seen.goto("models")
        page.locator("summary").first.click()
        page.wait_for_selector("details .facts")
        page.wait_for_timeout(100)
        assert page.evaluate("window.hit") is None
        told = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
        assert [fault for fault in seen.faults if fault != told] == []


def _json(said: str) -> str:
    import json

    return json.dumps(said)


def test_a_person_with_a_key_gets_in_and_out(browser: Browser, tmp_path: Path) -> None:
    with studio(tmp_path / "data", (painter(tmp_path / "gan", "gan"),), workers=0, keys=True) as (url, app):
        secret, row = app.state.store.add_key("me", ("infer", "train"))
        with watched(browser, url) as seen:
            page = seen.page
            page.goto(f"{url}/studio/jobs")
            page.wait_for_url("**/studio/sign-in")
            assert page.evaluate("document.activeElement.id") == "key"
            page.fill("#key", "not a key")
            page.keyboard.press("Enter")
            page.wait_for_selector("#mistake")
            page.fill("#key", secret)
            page.keyboard.press("Enter")
            page.wait_for_url("**/studio/make")
            assert secret not in page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})")
            page.fill("#n", "1")
            page.click("#go")
            page.wait_for_selector("#gallery a[download]")
            seen.goto("data")
            page.set_input_files("#file", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n3,4\n"})
            page.click("#chosen button.main")
            page.wait_for_selector("#files li")
            assert [file.tenant for file in app.state.store.list_files(row.id)] == [row.id]
            page.wait_for_selector("#findings progress")
            assert [job.kind for job in app.state.jobs.list(row.id)] == ["check"]
            page.click("text=Sign out")
            page.wait_for_url("**/studio/sign-in")
            seen.goto("make")
            assert page.url.endswith("/studio/sign-in")
            assert [fault for fault in seen.faults if "401" not in fault] == []


def test_models_are_compared_as_they_are(browser: Browser, served: tuple[str, Any]) -> None:
    url, app = served
    with watched(browser, url) as seen:
        seen.goto("compare")
        page = seen.page
        page.wait_for_selector("#ones input")
        assert page.locator("#amount").is_visible()
        page.select_option("#what", "models")
        assert not page.locator("#amount").is_visible() and page.input_value("#medium") == "image"
        assert sorted(page.locator("#ones label").all_inner_texts()) == ["diffusion", "gan"]
        page.click("#start button.main")
        page.wait_for_selector("text=Choose at least two.")
        for name in ("diffusion", "gan"):
            page.check(f"#ones input[value={name}]")
        page.select_option("#set", "digits")
        page.fill("#n", "64")
        page.click("#start button.main")
        expect(page.locator("#jobs li").first).to_contain_text("gan, diffusion")
        (job,) = [job for job in app.state.jobs.list("") if job.kind == "compare" and "models" in job.spec]
        assert sorted(job.spec.pop("models")) == ["diffusion", "gan"]
        assert job.spec == {"dataset": "digits", "n": 64}
        app.state.jobs.cancel("", job.id)


def test_a_report_runs_nothing_in_its_frame(browser: Browser, served: tuple[str, Any]) -> None:
    url, app = served
    job = app.state.jobs.put("compare", {"words": ["a"], "recipes": ["a", "b"], "seeds": [0]}, key="")
    app.state.jobs.claim("nobody")
    results = app.state.store.folder / "jobs" / job.id / "results"
    results.mkdir(parents=True)
    body = "<style>p{color:red}</style><p id=p>ranked</p><script>parent.hit=1;document.title='hit'</script>"
    (results / "report.html").write_text(f"<!doctype html><title>r</title>{body}<img src=http://evil.example/x.png>")
    app.state.jobs.end(job.id, 1, "done", result={"folder": f"jobs/{job.id}/results"})
    with watched(browser, url) as seen:
        seen.goto("compare")
        seen.page.click("text=Open the report")
        frame = seen.page.frame_locator("#report")
        assert frame.locator("#p").inner_text() == "ranked"
        assert frame.locator("#p").evaluate("node => getComputedStyle(node).color") == "rgb(255, 0, 0)"
        assert frame.locator("title").text_content() == "r" and seen.page.evaluate("window.hit") is None
        answer = seen.page.request.get(f"{url}/studio/report/{job.id}")
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert all("evil.example" in fault or "script" in fault for fault in seen.faults)


def test_the_keyboard_is_enough(browser: Browser, served: tuple[str, Any]) -> None:
    with watched(browser, served[0]) as seen:
        page = seen.page
        seen.goto("make?model=diffusion")
        focused = "document.activeElement"
        page.keyboard.press("Tab")
        assert page.evaluate(f"{focused}.className") == "skip"
        assert page.evaluate(f"{focused}.getBoundingClientRect().left") >= 0, "it is seen when it has the focus"
        page.keyboard.press("Enter")
        assert page.evaluate(f"{focused}.id") == "main"
        met = []
        for _ in range(40):
            page.keyboard.press("Tab")
            met.append(page.evaluate(f"{focused}.id"))
            if met[-1] not in ("model", "label", "solver"):
                ring = page.evaluate(
                    f"parseFloat(getComputedStyle({focused}.closest('.button') ?? {focused}).outlineWidth)"
                )
                assert ring >= 2, met[-1]
            if met[-1] == "go":
                break
        assert met[:3] == ["model", "n", "seed"] and met[-1] == "go"
        page.fill("#n", "1")
        page.focus("#go")
        page.keyboard.press("Enter")
        page.wait_for_selector("#gallery a[download]")
        assert page.get_attribute("#say", "aria-live") == "polite" and "1 made" in seen.text("#say")
        page.focus(".languages a[lang=zh]")
        page.keyboard.press("Enter")
        page.wait_for_url("**/studio/make")
        assert page.get_attribute("html", "lang") == "zh-CN" and "生成" in seen.text("h1")
        seen.goto("jobs")
        assert "任务" in seen.text("h1"), "the choice is kept"
        assert seen.faults == []


def test_a_zip_made_in_the_browser_is_one_and_marks_of_all_media_are_found(
    browser: Browser, served: tuple[str, Any]
) -> None:
    asked = {"label": "}", "guidance": 2.5, "stop": ["{", "花"]}
    mark = Mark("0123456789abcdef" * 4, 41, "Me {", asked=asked)
    files = {
        "png": _png(),
        "wav": audio.Config(rate=8000, samples=800).build().encode(np.zeros((800, 1), np.int16), mark),
        "txt": text.Config().build().encode("a", mark),
        "csv": points.Config().build().encode(np.zeros(2, np.float32), mark),
        "mid": music.Config(steps=4, voices=1, onsets=False).build().encode(np.full((4, 1), 60, np.int16), mark),
    }
    with watched(browser, served[0]) as seen:
        seen.goto("make")
        packed = seen.page.evaluate(
            """async (texts) => {
                const { pack, look } = await import("/studio/static/zip.js");
                const entries = Object.entries(texts).map(([path, text]) => ({ path, file: new Blob([text]) }));
                const zip = await pack(entries, () => {});
                const read = async ({ path, open }) => [path, await (await open()).text()];
                const again = await Promise.all((await look(zip)).map(read));
                return { bytes: [...new Uint8Array(await zip.arrayBuffer())], again: Object.fromEntries(again) };
            }""",
            texts := {"a/one.txt": "1", "猫/二.txt": "é" * 3000, "empty.txt": ""},
        )
        assert packed["again"] == texts
        with zipfile.ZipFile(io.BytesIO(bytes(packed["bytes"]))) as archive:
            assert archive.testzip() is None
            assert {name: archive.read(name).decode() for name in archive.namelist()} == texts
        for kind, data in files.items():
            found = seen.page.evaluate(
                """async (bytes) => (await import("/studio/static/mark.js")).findMark(new Uint8Array(bytes))""",
                list(data),
            )
            wanted = ("a" * 16, 1) if kind == "png" else ("0123456789abcdef", 41)
            assert found is not None and (found["digest"], found["seed"]) == wanted, kind
            assert found["asked"] == ({} if kind == "png" else asked), kind
        assert (
            seen.page.evaluate("""async () => (await import("/studio/static/mark.js")).findMark(new Uint8Array(9))""")
            is None
        )
