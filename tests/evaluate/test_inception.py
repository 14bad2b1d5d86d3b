"""The standard Inception: its shape, its quirks, and foreign weights read in a child that can do nothing else."""

import io
import os
from pathlib import Path

import pytest
import torch

from maquette.core.errors import MaquetteError
from maquette.evaluate import importer
from maquette.evaluate.extractor import InceptionExtractor, choose_extractor
from maquette.evaluate.importer import INCEPTION, check, convert, read
from maquette.evaluate.inception import BlockE, InceptionV3, resize
from tests.evaluate.made import CPU, SMALL, digits


@pytest.fixture(scope="module")
def network() -> InceptionV3:
    torch.manual_seed(0)
    return InceptionV3().eval()


@pytest.fixture(scope="module")
def pth(network: InceptionV3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the right names, in the format of the well-known file."""
    path = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    torch.save(network.state_dict(), path)
    return path


# -- the network ------------------------------------------------------------------------------------------------------


def test_has_the_parameters_of_the_published_network(network: InceptionV3) -> None:
    """23,834,568 of Inception-v3 without its auxiliary head at 1,000 classes, and 8 more classes of 2,049."""
    assert sum(p.numel() for p in network.parameters()) == 23_834_568 + 8 * 2049


def test_gives_features_and_logits_without_bias(network: InceptionV3) -> None:
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        features, logits = network(x)
        coloured, _ = network(x.expand(-1, 3, -1, -1))
    assert features.shape == (1, 2048) and logits.shape == (1, 1008)
    torch.testing.assert_close(logits, torch.nn.functional.linear(features, network.fc.weight))
    assert torch.equal(features, coloured), "grey is repeated over the three colours"


def test_the_last_block_pools_by_maximum_and_averages_leave_out_the_padding() -> None:
    x = torch.zeros(1, 4, 5, 5)
    x[..., 0, 0] = 9.0
    assert BlockE(4, maximum=True).pool(x)[0, 0, 1, 1] == 9
    averaged = BlockE(4, maximum=False).pool(x)[0, 0]
    assert averaged[0, 0] == pytest.approx(9 / 4) and averaged[1, 1] == pytest.approx(1)


def test_resize_is_that_of_tensorflow_1() -> None:
    """Output pixel i stands at i * (input / output): [0, 3] at four pixels is 0, 1.5, 3, 3. Equal sizes stay."""
    row = torch.tensor([0.0, 3.0]).view(1, 1, 1, 2).expand(1, 1, 2, 2)
    assert resize(row, 4)[0, 0, 0].tolist() == [0, 1.5, 3, 3]
    x = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resize(x, 9), x)


# -- foreign weights --------------------------------------------------------------------------------------------------


def test_the_file_is_converted_and_then_used(
    network: InceptionV3, pth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAQUETTE_INCEPTION", str(tmp_path / "inception.safetensors"))
    kept = convert(INCEPTION, pth)
    assert kept == tmp_path / "inception.safetensors"
    found, digest = read(INCEPTION, kept)
    for name, weight in found.state_dict().items():
        assert torch.equal(weight, network.state_dict()[name]), name
    chosen = choose_extractor(digits(), SMALL.build(), CPU)
    assert isinstance(chosen, InceptionExtractor) and chosen.digest == digest and not chosen.labels
    assert "TensorFlow 1" in chosen.resize


class Harm:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    file, harm = tmp_path / "evil.pth", tmp_path / "harm"
    torch.save({"fc.weight": Harm(str(harm))}, file)
    with pytest.raises(MaquetteError) as refused:
        convert(INCEPTION, file, tmp_path / "out.safetensors")
    assert refused.value.code == "MQ-2082"
    assert not harm.exists() and not (tmp_path / "out.safetensors").exists()


def test_a_file_that_unfolds_beyond_the_network_is_refused(tmp_path: Path) -> None:
    """A few bytes can say they are a huge tensor of one repeated number."""
    file = tmp_path / "wide.pth"
    torch.save({"fc.weight": torch.zeros(1).expand(1 << 28)}, file)
    with pytest.raises(MaquetteError) as refused:
        convert(INCEPTION, file, tmp_path / "out.safetensors")
    assert refused.value.code == "MQ-2082" and "larger" in str(refused.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(MaquetteError) as refused:
        convert(INCEPTION, tmp_path / "none.pth")
    assert refused.value.code == "MQ-5004"


def test_tensors_of_another_network_are_refused(network: InceptionV3) -> None:
    good = dict(network.state_dict())
    check(INCEPTION, good, "good")
    check(INCEPTION, {k: v for k, v in good.items() if not k.endswith("num_batches_tracked")}, "without counters")
    spoilt = {
        "it lacks fc.bias": {k: v for k, v in good.items() if k != "fc.bias"},
        "it has extra": good | {"extra": torch.zeros(1)},
        "fc.bias is": good | {"fc.bias": torch.zeros(1000)},
        "torch.float64": good | {"fc.bias": torch.zeros(1008, dtype=torch.float64)},
        "is not finite": good | {"fc.bias": torch.full((1008,), float("nan"))},
    }
    for sentence, tensors in spoilt.items():
        with pytest.raises(MaquetteError) as refused:
            check(INCEPTION, tensors, "file")
        assert refused.value.code == "MQ-7020" and sentence in str(refused.value)


class Ended(Exception):
    pass


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("open", ("a", "w", os.O_WRONLY)),
        ("open", ("a", None, os.O_RDWR | os.O_CREAT)),
        ("socket.connect", (None, ("127.0.0.1", 80))),
        ("subprocess.Popen", ("sh", [], None, None)),
        ("os.system", ("true",)),
        ("os.posix_spawn", ()),
    ],
)
def test_the_child_ends_at_the_first_attempt(event: str, arguments: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(importer.os, "_exit", end)
    monkeypatch.setattr(importer.os, "write", lambda handle, data: io.BytesIO().write(data))
    with pytest.raises(Ended):
        importer._guard(event, arguments)
    importer._guard("open", ("a", "rb", os.O_RDONLY | os.O_CLOEXEC))
    importer._guard("import", ("torch",))
