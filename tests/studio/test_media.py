"""Each medium made on its page: what is downloaded carries its mark, which the page reads and makes again."""

from pathlib import Path

from playwright.sync_api import expect

from tests.server.served import talker
from tests.server.test_media import bundle
from tests.studio.browser import PATIENCE, chromium, studio, watched
from tests.studio.test_pages import _png

ENDINGS = {"drum": ".wav", "tune": ".mid", "film": ".mp4", "restorer": ".png", "writer": ".md"}


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
            if page.locator("#max_tokens").is_visible():
                page.fill("#max_tokens", "5")
            page.click("#go")
            page.wait_for_selector("#gallery a[download], #fault:not([hidden])")
            assert not page.locator("#fault").is_visible(), (name, seen.text("#fault"))
            with page.expect_download() as coming:
                page.click("#gallery a[download]")
            assert coming.value.suggested_filename == f"{name}-3{ending}"
            coming.value.save_as(tmp_path / coming.value.suggested_filename)
            page.set_input_files("#marked", tmp_path / coming.value.suggested_filename)
            page.wait_for_selector("#told button")
            assert page.locator("#told dd").all_inner_texts()[:2] == [name, "3"]
            page.click("#told button")
            expect(page.locator("#told .note")).to_have_text("The same file, byte for byte.", timeout=PATIENCE)
        assert seen.faults == []
