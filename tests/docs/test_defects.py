"""The demonstrations of docs/defects: each runs, prints its contrast, and the page shows what they print."""

import importlib.util
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


CONTRASTS = {
    1: ["as printed: 0 of 8 modes"],
    2: ["its weights went 0.000", "right: in as many steps its weights went"],
    3: ["as printed: 0 of 8 modes"],
    4: ["G(z) 8 x 3 x 32 x 32, D(x) 8 x 1 x 5 x 5", "G(z) 8 x 3 x 64 x 64, D(x) 8 x 1 x 1 x 1"],
    5: ["KLDivLoss(z, 0): 0.0", "F5 as printed"],
    6: ["3,077,200 parameters, one affine map", "right, a net that is told the time"],
    7: ["'float' object has no attribute 'backward'", "gradient of norm"],
    8: ["Calculated padded input size per channel: (1 x 1)", "4 x 1 x 1 x 1", "4 x 1 x 28 x 28"],
    9: ["received an invalid combination of arguments", "1 x 1 x 3 x 3"],
    10: ["backward through the graph a second time", "gradient is then None"],
    11: ["d = 256: as printed 0.20 nats, right 2.36"],
    12: ["-35.9", "2.999"],
    13: ["moves the generator alone"],
    14: ["device, netD, batch_size, torch, netG, z", "cannot access local variable 'D_loss'"],
    15: ["recipe wavenet"],
}


@pytest.mark.parametrize("number", CONTRASTS)
def test_each_prints_its_contrast(number: int, defects: ModuleType, tmp_path: Path) -> None:
    demonstration = defects.DEMONSTRATIONS[number]
    said = "\n".join(demonstration(defects.Show(tmp_path, 0.005)))
    assert demonstration.__doc__ and [words for words in CONTRASTS[number] if words not in said] == []
    for picture in tmp_path.iterdir():
        with Image.open(picture) as drawn:
            assert drawn.height == defects.SIDE + 20


def test_the_command(defects: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    defects.main(["7", "12", "--out", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[0].startswith("7. loss += ")
    with pytest.raises(SystemExit):
        defects.main(["16", "--out", str(tmp_path)])
    assert "numbered 1 to 15" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["defects.md", "defects.zh.md"])
def test_the_page_has_all_of_them(name: str, defects: ModuleType) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert [n for n in defects.DEMONSTRATIONS if f"\n| {n} |" not in text] == []
