"""Each medium made on its page: what is downloaded carries its mark, which the page reads and makes again."""

from pathlib import Path

from playwright.sync_api import expect

from tests.server.served import talker
from tests.server.test_media import bundle
from tests.studio.browser import PATIENCE, chromium, studio, watched
from tests.studio.test_pages import _png

ENDINGS = {"drum": ".wav", "tune": ".mid", "film": ".mp4", "restorer": ".png", "writer": ".md"}
SETTINGS = {
    "drum": {"label": "snare", "temperature": "0.5"},
    "tune": {"temperature": "0.7", "top_p": "0.8"},
    "film": {"label": "down", "steps": "2", "solver": "heun"},
    "restorer": {"steps": "2"},
    "writer": {"prompt": "花{", "max_tokens": "5", "temperature": "1.5"},
}


def test_every_medium_is_made_and_made_again(tmp_path: Path) -> None:
    models = tuple(talker(tmp_path / name, "lstm") if name == "writer" else bundle(tmp_path, name) for name in ENDINGS)
    picture = tmp_path / "given.png"
    picture.write_bytes(_png())
    with (
        chromium() as browser,
        studio(tmp_path / "data", models, workers=0) as (url, _),
        watched(browser, url) as seen,
    ):
        page = seen.page
        for name, ending in ENDINGS.items():
            seen.goto(f"make?model={name}")
            assert page.input_value("#model") == name
            page.fill("#n", "1")
            page.fill("#seed", "3")
            if page.locator("#image").is_visible():
                page.set_input_files("#image", picture)
            for field, value in SETTINGS[name].items():
                page.select_option(f"#{field}", value) if field in ("label", "solver") else page.fill(
                    f"#{field}", value
                )
            if name == "writer":
                page.check("#keep_prompt")
            page.click("#go")
            page.wait_for_selector("#gallery a[download], #fault:not([hidden])")
            assert not page.locator("#fault").is_visible(), (name, seen.text("#fault"))
            with page.expect_download() as coming:
                page.click("#gallery a[download]")
            assert coming.value.suggested_filename == f"{name}-3{ending}"
            coming.value.save_as(tmp_path / coming.value.suggested_filename)
            seen.goto("make")  # which knows nothing of what was asked
            page.set_input_files("#marked", tmp_path / coming.value.suggested_filename)
            page.wait_for_selector("#told button")
            told = page.locator("#told dd").all_inner_texts()
            assert told[:2] == [name, "3"] and set(SETTINGS[name].values()) <= set(told)
            if name == "restorer":
                page.click("#told button")
                expect(page.locator("#fault")).to_contain_text("picture", timeout=PATIENCE)
                assert told[-1] == "image" and page.locator("#image").is_visible()
                assert len(seen.faults) == 1 and "400" in seen.faults.pop(), "what the browser says of the refusal"
                page.set_input_files("#image", picture)
            page.click("#told button")
            expect(page.locator("#told .note")).to_have_text("The same file, byte for byte.", timeout=PATIENCE)
        assert seen.faults == []
