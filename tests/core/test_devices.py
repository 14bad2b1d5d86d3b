"""Where and how numbers are computed."""

import platform
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from maquette.core import devices
from maquette.core.errors import MaquetteError


def test_auto_finds_some_device_and_cpu_is_always_there() -> None:
    assert devices.pick_device("cpu") == torch.device("cpu") and devices.pick_device().type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["cuda:99", "meta", "toaster", "", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(MaquetteError, match="MQ-2009.*\n.*use auto or cpu"):
        devices.pick_device(name)


def test_memory_is_what_the_process_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a container, of a unit in a slice, of neither; control groups of both versions."""
    whole = devices.memory(torch.device("cpu"))
    assert 1 << 28 < whole < 1 << 50

    def granted(groups: str, **bounds: str) -> list[int]:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        files = {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{path}": said for path, said in bounds.items()}
        for path, said in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(said)
        return sorted(devices._granted(root))

    assert granted("0::/\n", **{"memory.max": "5\n"}) == [5]
    unit = {"a.slice/memory.max": "9\n", "a.slice/b.service/memory.max": "7\n", "memory.max": "max\n"}
    assert granted("0::/a.slice/b.service\n", **unit) == [7, 9]
    old = {"memory/docker/memory.limit_in_bytes": "4\n", "memory/memory.limit_in_bytes": "8\n"}
    assert granted("3:cpu:/x\n2:memory:/docker\n", **old) == [4, 8]
    assert granted("") == [] == list(devices._granted(tmp_path / "none"))
    monkeypatch.setattr(devices, "_granted", lambda: iter([whole // 3, whole * 2]))
    assert devices.memory(torch.device("cpu")) == whole // 3


def test_placing_keeps_names_and_objects() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(2))
    model(torch.randn(1, 3, 8, 8))
    before, names = list(model.parameters()), list(model.state_dict())
    devices.place(model, torch.device("cpu"), "channels_last")
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True)) and names == list(model.state_dict())
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    x = devices.arrange(torch.randn(2, 3, 8, 8), "channels_last")
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert devices.arrange(torch.randn(2, 3), "channels_last").is_contiguous()


def test_films_lie_with_their_channels_last_and_sound_as_it_is() -> None:
    film, sound = nn.Conv3d(3, 8, 3), nn.Conv1d(3, 8, 3)
    for model in (film, sound):
        before = list(model.parameters())
        devices.place(model, torch.device("cpu"), "channels_last")
        assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    assert film.weight.is_contiguous(memory_format=torch.channels_last_3d) and sound.weight.is_contiguous()
    x = devices.arrange(torch.randn(2, 3, 4, 8, 8), "channels_last")
    assert x.is_contiguous(memory_format=torch.channels_last_3d)
    assert film(x).is_contiguous(memory_format=torch.channels_last_3d)
    assert devices.arrange(torch.randn(2, 8, 3).transpose(1, 2), "channels_last").is_contiguous()
    assert devices.arrange(x, "contiguous").is_contiguous()


def test_bf16_is_for_products_and_fp32_changes_nothing() -> None:
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    with devices.autocast(torch.device("cpu"), "bf16"):
        assert layer(x).dtype == torch.bfloat16
    with devices.autocast(torch.device("cpu"), "fp32"):
        assert layer(x).dtype == torch.float32
    assert devices.peak_memory(torch.device("cpu")) > 1e6
    devices.synchronize(torch.device("cpu"))


def test_a_gpu_beside_it_makes_no_processor_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in ((torch.cuda, "is_available"), (torch.cuda, "is_bf16_supported")):
        monkeypatch.setattr(place, name, lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert devices.has_fast_bf16(torch.device("cuda"))
    assert not devices.has_fast_bf16(torch.device("cpu")) and not devices.has_fast_bf16(torch.device("mps"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_freed_tensors_stay_with_the_process() -> None:
    """A loop that makes and drops large tensors gets the same pages again: next to no page is faulted in anew."""
    devices.pick_device("cpu")

    def work() -> None:
        for _ in range(20):
            torch.empty(4_000_000).fill_(1.0)  # 16 MB, 3,900 pages of 4 KiB

    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 3_900
