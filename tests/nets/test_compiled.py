"""The compiled step against the network that it stands for: the same logits, the same tokens."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maquette.bundle import save_bundle
from maquette.core import devices
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Condition, Marks, Sampling, Tokens
from maquette.media import image, text
from maquette.models import gpt, pixelcnn
from maquette.nets import transformer
from maquette.pipeline import Request, load

compiled = pytest.importorskip("maquette.nets.compiled", reason="extra `fast` is not installed", exc_type=ImportError)

SPACE = Tokens((17,), 50, Marks(0, 1, 2))
TINY = transformer.Config(width=16, depth=2, heads=2)
GPT2 = {"positions": "learned", "norm": "layer", "mlp": "gelu", "bias": True, "qk_norm": False}
SHAPES = {
    "modern": (TINY, True, 0),
    "gpt-2": (dataclasses.replace(TINY, **GPT2), True, 0),
    "layer norms": (dataclasses.replace(TINY, norm="layer"), True, 0),
    "swiglu, untied, of two classes": (dataclasses.replace(TINY, mlp="swiglu"), False, 2),
}


def model(shape: str) -> gpt.GPT:
    torch.manual_seed(0)
    net, tied, classes = SHAPES[shape]
    made = gpt.Config(net=net, tied=tied).build(SPACE, classes).eval().requires_grad_(False)
    for weight in made.parameters():  # what starts at zero would hide what depends on it
        weight.add_(0.1 * torch.randn_like(weight))
    return made


def logits(made: gpt.GPT, x: torch.Tensor) -> torch.Tensor:
    """Of places 4 to 16, one after another, the first of them with all that stand before it."""
    vector = torch.linspace(-1, 1, len(x) * made.embed.width).view(len(x), -1) if made.embed.width else None
    predict = made.predictor(Condition(vector=vector))
    return torch.stack([predict(x, at) for at in range(4, 17)])


@pytest.mark.parametrize("n", [1, 3, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_computes_what_the_network_does(shape: str, n: int) -> None:
    x = torch.randint(3, 50, (n, 17), generator=torch.Generator().manual_seed(1))
    made = model(shape)
    whole = logits(made, x)
    made.compile_steps("fp32")
    assert torch.allclose(logits(made, x), whole, atol=1e-5)


ELSEWHERE = pytest.param("bf16", False, marks=pytest.mark.slow)
"""As on a processor that does not multiply bf16; on such a one the way of bf16 is this by itself."""


@pytest.mark.parametrize("n", [2, 16])
@pytest.mark.parametrize("shape", ["gpt-2", "swiglu, untied, of two classes"])  # the latter's MLP has an odd width
@pytest.mark.parametrize(("storage", "pairs"), [("bf16", compiled.PAIRS), ("int8", compiled.PAIRS), ELSEWHERE])
def test_it_computes_what_the_network_does_with_rounded_weights(
    storage, pairs: bool, shape: str, n: int, monkeypatch
) -> None:
    monkeypatch.setattr(compiled, "PAIRS", pairs)
    x = torch.randint(3, 50, (n, 17), generator=torch.Generator().manual_seed(1))
    made, rounded = model(shape), model(shape)
    if storage == "int8":
        devices.round_weights(rounded)
        devices.round_weights(made)
    else:
        for part in filter(None, (rounded.net.blocks, rounded.table, rounded.head)):
            for weight in part.parameters():
                if weight.ndim == 2:
                    weight.copy_(weight.bfloat16())
        made.table.load_state_dict(rounded.table.state_dict())
    made.compile_steps(storage)
    whole, quick = logits(rounded, x), logits(made, x)
    # the first of them comes from torch, whose weights bf16 leaves as they are, as do the keys of its places
    assert torch.allclose(quick[1:], whole[1:], atol=1e-4 if storage == "int8" else 3e-2)


def test_what_int8_leaves_is_a_fixed_point_within_half_a_step() -> None:
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    numbers, scale = devices.int8(weight)
    back = numbers * scale[:, None]
    assert ((back - weight).abs() <= scale[:, None] / 2 * 1.0001).all()
    assert torch.equal(devices.int8(back)[0], numbers) and numbers.abs().amax() == 127


def test_many_rows_take_the_other_way() -> None:
    x = torch.randint(3, 50, (33, 17), generator=torch.Generator().manual_seed(1))
    made = model("modern")
    whole = logits(made, x)
    made.compile_steps("int8")
    assert torch.equal(logits(made, x), whole)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, folder = model("modern"), tmp_path_factory.mktemp("gpt") / "bundle"
    medium = text.Config(tokenizer="byte", length=16)
    torch.manual_seed(0)
    made = gpt.Config(net=TINY).build(medium.build().space)
    for weight in made.parameters():
        weight.data.add_(0.1 * torch.randn_like(weight))
    save_bundle(folder, medium, made.config, [], made.state_dict(), {"name": "tiny"})
    return folder


def test_the_greedy_text_is_the_same(bundle: Path) -> None:
    request = Request(n=16, prompt=("a", "bcd", "ef"), sampling=Sampling(top_k=1))
    assert (load(bundle).generate(request) == load(bundle, compiled=True).generate(request)).all()


@pytest.mark.parametrize("storage", ["bf16", "int8"])
def test_drawing_with_few_bits_goes_through(bundle: Path, storage) -> None:
    pipeline = load(bundle, precision=storage, compiled=True)
    items = pipeline.generate(Request(n=2, prompt="ab"))
    assert items.shape == (2, 17) and (items[:, 1:3] == items[0, 1:3]).all()
    said = "".join(piece.text for piece in pipeline.stream(Request(prompt="ab")))
    assert said == pipeline.medium.words(items[0])


def test_what_cannot_be_compiled_says_so(tmp_path: Path) -> None:
    medium = image.Config(size=8)
    config = pixelcnn.Config.tiny() if hasattr(pixelcnn.Config, "tiny") else pixelcnn.Config()
    made = config.build(medium.build().space)
    save_bundle(tmp_path / "b", medium, config, [], made.state_dict(), {"name": "tiny"})
    with pytest.raises(MaquetteError, match="MQ-2108"):
        load(tmp_path / "b", compiled=True)


def test_a_precision_that_is_none_is_refused(bundle: Path) -> None:
    with pytest.raises(MaquetteError, match="fp32, bf16 or int8"):
        load(bundle, precision="fp8")


@pytest.mark.parametrize("storage", ["fp32", "bf16", "int8"])
def test_rows_do_not_depend_on_each_other(storage) -> None:
    x = torch.randint(3, 50, (16, 17), generator=torch.Generator().manual_seed(1))
    made = model("modern")
    made.compile_steps(storage)
    alone = model("modern")
    alone.compile_steps(storage)
    rng = Seeds.for_samples(0, 16)
    start = torch.where(torch.arange(17) < 2, x, -1)
    together = made.draw(made.predictor(Condition()), start, Sampling(), rng)
    for i in range(16):
        rows = Seeds.for_samples(i, 1)
        assert torch.equal(alone.draw(alone.predictor(Condition()), start[i : i + 1], Sampling(), rows)[0], together[i])


def test_torch_keeps_the_threads_it_was_given() -> None:
    """numba's pool is as large as the machine, and of OpenMP, which torch asks how many threads there are."""
    script = (
        "import torch\n"
        "before = torch.get_num_threads()\n"
        "import numba, maquette.nets.kernels\n"
        "numba.get_num_threads()\n"
        "assert (before, torch.get_num_threads()) == (1, 1), torch.get_num_threads()"
    )
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | threads)
