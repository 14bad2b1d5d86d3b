"""Differentiable augmentation: nothing at p = 0, the laws of each change, gradients, and how p is adapted."""

import pytest
import torch
from torch import Tensor

from maquette.core.seeds import Seeds
from maquette.nets.augmentation import MOST, RISE, Augmentation, Change

ALL: tuple[Change, ...] = ("colour", "translation", "cutout", "geometry")


def pictures(n: int = 8, channels: int = 3, h: int = 16, w: int = 16) -> Tensor:
    return torch.rand(n, channels, h, w, generator=torch.Generator().manual_seed(0)) * 2 - 1


def source(n: int = 8, seed: int = 0) -> Seeds:
    return Seeds.for_batch(seed, 0, n)


def at(p: float, *changes: Change) -> Augmentation:
    made = Augmentation(changes, target=0.6)
    made.p.fill_(p)
    return made


def changed(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().flatten(1).amax(1) > 1e-4


def test_nothing_happens_at_zero() -> None:
    x = pictures()
    assert torch.equal(at(0.0, "colour", "cutout")(x, source()), x)
    assert torch.allclose(at(0.0, *ALL)(x, source()), x, atol=1e-5)


@pytest.mark.parametrize("change", ["cutout", "translation", "geometry"])
def test_a_change_is_made_as_often_as_p_says(change: Change) -> None:
    x = torch.ones(2000, 1, 8, 8) + 0.01 * pictures(2000, 1, 8, 8)
    share = changed(at(0.3, change)(x, source(2000)), x).float().mean().item()
    # half of all shifts by up to a pixel are rounded to none, each way; of geometry's two changes one is enough
    expected = {"cutout": 0.3, "translation": 0.3 * 0.75, "geometry": 1 - 0.7**2}[change]
    assert share == pytest.approx(expected, abs=0.04)


def test_diffaugment_changes_every_row_in_its_own_way() -> None:
    x = pictures(1).expand(8, -1, -1, -1)
    y = Augmentation(("colour", "translation", "cutout"))(x, source())
    assert changed(x, y).all() and changed(y[:-1], y[1:]).all()


def test_colour_has_the_laws_of_diffaugment() -> None:
    """A grey picture is only made brighter, by U(-1/2, 1/2); the spread about the mean is scaled by U(1/2, 3/2)."""
    grey = torch.zeros(4000, 3, 4, 4)
    brighter = Augmentation(("colour",))(grey, source(4000))[:, 0, 0, 0]
    assert brighter.min() >= -0.5 and brighter.max() <= 0.5
    assert abs(brighter.mean()) < 0.02 and brighter.std().item() == pytest.approx(1 / 12**0.5, rel=0.05)
    contrast = Augmentation(("colour",))(pictures(1, 1).expand(4000, -1, -1, -1), source(4000)).flatten(1).std(1)
    contrast = contrast / pictures(1, 1).std()
    assert 0.5 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5


def test_cutout_takes_a_square_of_half_the_sides() -> None:
    y = Augmentation(("cutout",))(torch.ones(4000, 1, 16, 16), source(4000))
    gone = (y == 0).flatten(1).sum(1)
    assert gone.max() == 8 * 8 and gone.min() <= 5 * 5  # about a corner a quarter of it lies inside
    assert gone.float().mean().item() == pytest.approx(256 * (7 / 16) ** 2, rel=0.05)  # 1/2 less 1/16 beyond the border


def test_translation_moves_by_whole_pixels_up_to_an_eighth() -> None:
    x = torch.zeros(500, 1, 16, 16)
    x[:, :, 8, 8] = 1.0
    y = Augmentation(("translation",))(x, source(500))
    assert y.flatten(1).amax(1).sub(1).abs().max() < 1e-4, "a pixel is smeared"
    place = y.flatten(1).argmax(1)
    assert set((place // 16).tolist()) == set((place % 16).tolist()) == {6, 7, 8, 9, 10}


def test_places_are_exact_in_low_precision_too() -> None:
    x, how = pictures(h=64, w=64), at(0.7, "translation", "geometry")
    with torch.autocast("cpu", torch.bfloat16):
        low = how(x, source())
    assert torch.equal(low, how(x, source()))


def test_geometry_keeps_the_middle_and_the_area_on_average() -> None:
    h, w = torch.meshgrid(torch.arange(33) - 16.0, torch.arange(33) - 16.0, indexing="ij")
    disc = (h.square() + w.square() < 36).float().expand(500, 1, -1, -1)
    y = at(0.8, "geometry")(disc, source(500))
    assert (y[:, 0, 16, 16] > 0.99).all()
    area = y.sum((1, 2, 3)) / disc.sum((1, 2, 3))
    assert area.min() > 2**-0.85 and area.max() < 2**0.85


def test_gradients_reach_what_was_made() -> None:
    x = pictures().requires_grad_()
    at(0.7, *ALL)(x, source()).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.flatten(1).any(1).all()


def test_a_row_is_changed_by_its_own_numbers() -> None:
    x, how = pictures(), at(0.7, *ALL)
    whole = how(x, source())
    parts = [how(x[i : i + 2], source().rows(i, 2)) for i in range(0, 8, 2)]
    assert torch.allclose(whole, torch.cat(parts), atol=1e-6)


# -- how p is adapted -------------------------------------------------------------------------------------------------


def test_p_rises_while_the_critic_is_sure_and_falls_when_it_is_not() -> None:
    how = Augmentation(("colour",), target=0.6)
    how.watch(torch.ones(500, 1))
    how.watch(torch.ones(500, 1))
    how.adapt()
    assert how.p.item() == pytest.approx(1000 / RISE)
    how.watch(torch.cat([torch.ones(750, 1), -torch.ones(250, 1)]))  # a mean sign of 0.5
    how.adapt()
    assert how.p.item() == pytest.approx(0.0, abs=1e-7)
    how.adapt()
    assert how.p.item() == 0.0, "nothing was watched"


def test_p_has_a_ceiling_and_only_training_counts() -> None:
    how = Augmentation(("colour",), target=0.6)
    how.p.fill_(MOST)
    how.watch(torch.ones(1000, 1))
    how.adapt()
    assert how.p.item() == pytest.approx(MOST)
    how.eval().watch(-torch.ones(1000, 1))
    how.adapt()
    assert how.p.item() == pytest.approx(MOST)


def test_without_a_target_p_stays_one() -> None:
    how = Augmentation(("colour",))
    how.watch(-torch.ones(1000, 1))
    how.adapt()
    assert how.p.item() == 1.0


def test_p_is_kept_and_what_is_noted_within_a_step_is_not() -> None:
    assert list(Augmentation(("colour",), target=0.6).state_dict()) == ["p"]


# -- sound and films --------------------------------------------------------------------------------------------------


def test_sound_is_moved_by_up_to_an_eighth_and_cut_by_half() -> None:
    x = torch.zeros(500, 1, 32)
    x[:, :, 16] = 1.0
    y = Augmentation(("translation",))(x, source(500))
    assert y.shape == x.shape and y.flatten(1).amax(1).sub(1).abs().max() < 1e-4, "a value is smeared"
    assert set(y.flatten(1).argmax(1).tolist()) == set(range(12, 21))
    gone = (Augmentation(("cutout",))(torch.ones(4000, 2, 32), source(4000)) == 0).sum((1, 2)) / 2
    assert gone.max() == 16 and gone.min() >= 7 and gone.mean().item() == pytest.approx(32 * 7 / 16, rel=0.05)


@pytest.mark.parametrize("changes", [("translation",), ("cutout",), ("translation", "geometry", "cutout")], ids=str)
def test_all_frames_of_a_film_are_moved_and_cut_alike(changes: tuple[Change, ...]) -> None:
    how = at(0.8, *changes)
    film = pictures(8 * 3, 2).unflatten(0, (8, 3)).transpose(1, 2)
    y = how(film, source())
    assert y.shape == film.shape and changed(film, y).any()
    for frame in range(3):
        torch.testing.assert_close(y[:, :, frame], how(film[:, :, frame], source()))


def test_a_film_is_made_brighter_as_a_whole() -> None:
    y = Augmentation(("colour",))(torch.zeros(8, 3, 4, 5, 5), source())
    assert (y.flatten(1).amax(1) - y.flatten(1).amin(1)).max() < 1e-6 and y.std() > 0.1
