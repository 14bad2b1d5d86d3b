"""From a folder that is dropped to a sample that is downloaded, and made again from its own mark, in a real browser."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from maquette.media.marks import read_mark
from tests.studio.browser import PATIENCE, chromium, drawn, drop, studio, watched

ROOT = Path(__file__).parents[2]


def test_from_a_folder_to_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # workers find the package
    pictures = drawn(tmp_path / "shapes")
    with chromium() as browser, studio(tmp_path / "data") as (url, app), watched(browser, url) as seen:
        page = seen.page

        seen.goto("data")
        drop(page, "#drop", pictures)
        seen.wait("#preview .tile img")
        assert seen.text("#summary").startswith("13 files in 2 folders")
        assert page.input_value("#name") == "shapes"
        page.click("#chosen button.main")
        seen.wait("#findings .verdict")
        findings = seen.text("#findings")
        assert "shapes.zip: There is something to mend" in findings
        assert "12 of 13 files can be read" in findings and "boxes/broken.png" in findings
        assert "shapes.zip" in seen.text("#files")

        page.click("#findings a.main")
        seen.wait("#recipe optgroup", state="attached")
        expect(page.locator("#set")).to_have_value(re.compile("^file-"), timeout=PATIENCE)
        page.select_option("#recipe", "image/vae-mlp")
        assert "VAE" in seen.text("#about")
        page.fill("#amount", "40")
        page.select_option("#unit", "steps")
        page.fill("#suffix", "shapes")
        page.click("summary:has-text('More settings')")
        page.fill("#settings", "medium.size=16\ntrain.batch=4\ntrain.sample_every=0.25\ndata.max_bad=0.1")
        page.click("#start button.main")
        seen.wait("#chart polyline")
        seen.wait("#sheet img")
        seen.wait("#run-state.succeeded")
        assert "model.loss, training" in seen.text("#chart .legend")
        assert page.evaluate("document.querySelector('#sheet img').naturalWidth") > 0
        assert int(page.get_attribute("#sheet-at", "max") or 0) >= 3

        page.click("#run-make")
        seen.wait("#model option", state="attached")
        model = page.input_value("#model")
        assert model.startswith("vae-mlp-shapes")
        page.fill("#n", "2")
        page.fill("#seed", "7")
        page.click("#go")
        expect(page.locator("#gallery a[download]")).to_have_count(2, timeout=PATIENCE)
        with page.expect_download() as coming:
            page.locator("#gallery .tile", has_text="seed 8").locator("a[download]").click()
        sample = tmp_path / coming.value.suggested_filename
        coming.value.save_as(sample)
        mark = read_mark(sample.read_bytes())
        served = app.state.engine.find(model)
        assert mark is not None and mark["ProduceID"] == f"{served.digest[:16]}-8"

        page.set_input_files("#marked", sample)
        page.click("#told button")
        seen.wait("#told .note")
        assert seen.text("#told .note") == "The same file, byte for byte."
        assert seen.faults == []
