"""Early warnings: when they come, how often, and from what."""

import torch

from maquette.train.warnings import Warnings, diversity


def test_diversity_worked_by_hand() -> None:
    assert diversity(torch.tensor([[0.0, 0.0], [3.0, 4.0]])) == 5.0
    assert diversity(torch.tensor([[0.0], [1.0], [2.0]])) == 4 / 3  # |0-1|, |0-2|, |1-2|
    assert diversity(torch.tensor([[0, 1, 2, 3], [0, 1, 0, 0]])) == 0.5
    assert diversity(torch.zeros(1, 3)) == 0.0


def test_collapse_is_told_once_when_seen_twice() -> None:
    torch.manual_seed(0)
    real, collapsed = torch.randn(32, 2), 0.01 * torch.randn(32, 2) + 1
    warnings = Warnings()
    assert warnings.samples(collapsed, real, 900, progress=0.1) is None  # too early to say
    assert warnings.samples(collapsed, real, 20, progress=0.9) is None  # too few steps to say
    assert warnings.samples(collapsed, real, 3000, progress=0.3) is None  # once may be chance
    warning = warnings.samples(collapsed, real, 4000, progress=0.4)
    assert warning is not None and warning.code == "MQ-6020" and "step 4000" in str(warning)
    assert warnings.samples(collapsed, real, 5000, progress=0.5) is None
    assert warnings.samples(real, real, 6000, progress=0.6) is None
    assert warnings.samples(collapsed, real, 7000, progress=0.7) is None


def test_a_good_look_between_resets() -> None:
    torch.manual_seed(0)
    real, collapsed = torch.randn(32, 2), torch.ones(32, 2)
    warnings = Warnings()
    looks = [collapsed, real, collapsed, real, collapsed]
    assert all(warnings.samples(x, real, 1000 + i, progress=0.5) is None for i, x in enumerate(looks))


def test_samples_as_different_as_the_data_pass() -> None:
    torch.manual_seed(0)
    real, made = torch.randn(32, 3, 4, 4), 0.5 * torch.randn(32, 3, 4, 4)
    warnings = Warnings()
    assert all(warnings.samples(made, real, 1000 + i, progress=0.9) is None for i in range(5))


def test_an_unused_code_is_told_once() -> None:
    warnings = Warnings()
    said = [warnings.stats({"model.active": 0.2, "model.loss": 1.0}, 1000 + i, progress=0.5) for i in range(5)]
    assert [w.code if w else None for w in said] == [None, "MQ-6021", None, None, None]
    assert all(Warnings().stats({"model.active": 5.0}, 1000 + i, progress=0.5) is None for i in range(3))
    assert all(Warnings().stats({"model.loss": 0.0}, 1000 + i, progress=0.5) is None for i in range(3))
