"""The demonstrations of docs/defects: each runs, prints its contrast, and the page shows what they print."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def defects() -> ModuleType:
    spec = importlib.util.spec_from_file_location("defects", DOCS / "defects" / "show.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TRAINED = {
    1: [r"as printed: 0 of 8 modes", r"right, critic with spectral norm: 8 of 8 modes"],
    2: [r"as printed: 0 of 8 modes.*went 0\.000", r"right, .*: 8 of 8 modes.*went [1-9]"],
    3: [r"as printed: 0 of 8 modes", r"right, .*: 8 of 8 modes"],
    5: [
        r"KLDivLoss\(z, 0\): 0\.0, gradient \[-?0\.0, -?0\.0\]", r"^right: 8 of 8 modes", r"^none: 0 of 8 modes",
        r"F5 as printed: 0 of 8 modes.*sigma \d\.\de-(?:0[4-9]|[1-9]\d)",
    ],
    6: [
        r"3,077,200 parameters, one affine map but for \de-0[5-9]", r"that net .* 0 of 8 modes",
        r"right, a net that is told the time: loss 0\.[12]\d+, 8 of 8 modes",
    ],
}  # fmt: skip
"""Both sides of those that take training, by the whole of it."""
CONTRASTS = {
    4: [r"as printed: G\(z\) 8 x 3 x 32 x 32, D\(x\) 8 x 1 x 5 x 5$",
        r"right.*G\(z\) 8 x 3 x 64 x 64, D\(x\) 8 x 1 x 1 x 1"],
    7: [r"as printed: .*'float' object has no attribute 'backward'", r"right.* gradient of norm 0\.\d*[1-9]",
        r"take the loss from (?!0\.000)\d\.\d{3} to 0\.0"],
    8: [r"as printed.*196 x 256 x 1 x 1.*padded input size per channel: \(1 x 1\)", r"7, 7\): 4 x 1 x 1 x 1",
        r"right, .*: 4 x 1 x 28 x 28"],
    9: [r"as printed: TypeError: conv2d\(\) received an invalid combination", r"right.*: 1 x 1 x 3 x 3"],
    10: [r"as printed: .*backward through the graph a second time", r"right.*gradient is then None",
         r"own turn.*norm 0\.\d*[1-9]"],
    11: [r"d = 4: as printed 1\.7\d nats, right 2\.3", r"d = 256: as printed 0\.(?:19|20) nats, right 2\.3",
         r"as printed, 0\.366 each; right, with -inf, 0$"],
    12: [r"as printed.*: -35\.9, .*e\+56$", r"right, after 1,000 steps: (?:2\.99|3\.00)"],
    13: [r"as printed, two calls of one input: (\S+), (?!\1)", r"moves the critic as well: D\(x\) (\S+) -> (?!\1$)",
         r"right.*: (\S+) -> \1$"],
    14: [r"device, netD, batch_size, torch, netG, z$", r"cannot access local variable 'D_loss'",
         r"right: 0 names are missing; D 1\.3863 .* G 0\.6931"],
    15: [r"openai\.Completion.*: \w+: ", r"from stylegan2 import Generator: ModuleNotFoundError",
         r"from gan import .*Error", r"to have 100 channels, but got 3", r"\.numpy\(\).*requires grad",
         r"right, StyleGAN2.*2 x 3 x 16 x 16, spread [1-9]",
         r"diffusion is said to be adversarial: it has one player, model, and DCGAN 2", r"of these VAE alone encodes"],
}  # fmt: skip
"""Both sides of those that take none; of one that trains 30 steps besides, at any share."""


def missing(wanted: list[str], said: str) -> list[str]:
    return [words for words in wanted if not re.search(words, said, re.MULTILINE)]


def drawn(number: int, folder: Path) -> None:
    """One picture, on which there is something."""
    (picture,) = folder.iterdir()
    with Image.open(picture) as sheet:
        assert picture.name == f"{number}.png" and len(sheet.convert("RGB").getcolors(1 << 20) or ()) > 1


@pytest.mark.parametrize("number", sorted(TRAINED | CONTRASTS))
def test_each_prints_its_contrast_and_draws_it(number: int, defects: ModuleType, tmp_path: Path) -> None:
    """Cut short: what takes training shows no contrast then."""
    demonstration = defects.DEMONSTRATIONS[number]
    said = "\n".join(demonstration(defects.Show(tmp_path, 0.005)))
    assert demonstration.__doc__ and said and missing(CONTRASTS.get(number, []), said) == []
    drawn(number, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", sorted(TRAINED))
def test_both_sides_of_what_takes_training(number: int, defects: ModuleType, tmp_path: Path) -> None:
    said = "\n".join(defects.DEMONSTRATIONS[number](defects.Show(tmp_path)))
    assert missing(TRAINED[number], said) == [], said


@pytest.mark.parametrize("name", ["defects.md", "defects.zh.md"])
@pytest.mark.parametrize("number", sorted(TRAINED | CONTRASTS))
def test_the_page_shows_both_sides_and_the_picture(name: str, number: int) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith(f"| {number} |"))
    said = row.removesuffix(" |").rpartition(" | ")[2].replace("<br>", "\n")
    assert missing((TRAINED | CONTRASTS)[number], said) == []
    assert f"](sheets/defect-{number}.png)" in text and (DOCS / "sheets" / f"defect-{number}.png").is_file()


def test_what_is_printed_goes_into_its_row(defects: ModuleType) -> None:
    page = "| | a | b |\n|---|---|---|\n| 1 | one | old |\n| 11 | more | old |\n"
    assert defects.written(page, 1, ["new", "and newer"]).splitlines()[2:] == [
        "| 1 | one | new<br>and newer |", "| 11 | more | old |",
    ]  # fmt: skip


def test_the_command(defects: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    defects.main(["7", "12", "--out", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[0].startswith("7. loss += ")
    with pytest.raises(SystemExit):
        defects.main(["16", "--out", str(tmp_path)])
    assert "numbered 1 to 15" in capsys.readouterr().err
