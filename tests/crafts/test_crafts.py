"""What crafts take from samples, how a person brings them, and what can be done without a model."""

import dataclasses

import pytest
import torch
from torch import Tensor

from maquette.core.config import choose, kinds
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts import blur, crop, edges, grey, hiding, mask, noise, shrink
from maquette.crafts.base import FILMS, NAMES, PICTURES, SOUND, CraftConfig, blurred, by_frame

RGB, GREY = Real((3, 16, 16), levels=256), Real((1, 16, 16), levels=256)
STEREO, FILM = Real((2, 1024), levels=65536), Real((3, 6, 16, 16), levels=256)
OF = {SOUND: STEREO, PICTURES: RGB, FILMS: FILM}
N = 6


def pictures(space: Real = RGB, n: int = N) -> Tensor:
    """Smooth pictures: blurred noise, stretched to [-1, 1]; smooth films and sounds likewise."""
    x = Seeds.for_samples(0, n).normal(*space.shape)
    x = by_frame(lambda frames: blurred(frames, 2.0), x) if x.ndim > 3 else blurred(x[:, None], 2.0)[:, 0]
    return x / x.abs().amax(tuple(range(1, x.ndim)), keepdim=True)


def draws(seed: int = 0, n: int = N, first: int = 0) -> Seeds:
    return Seeds.for_samples(seed, n, first)


def error(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean())


ALL = [choose(kind, CraftConfig, "given")() for kind in kinds("crafts")]
EACH = [(craft, OF[axes]) for craft in ALL for axes in craft.suits]
each = pytest.mark.parametrize(
    ("craft", "of"), EACH, ids=lambda it: NAMES[len(it.shape)] if isinstance(it, Real) else it.kind()
)


@each
def test_what_is_left_has_its_space_and_depends_on_its_own_row(craft: CraftConfig, of: Real) -> None:
    x = pictures(of)
    given = craft.take(x, draws())
    assert given.shape == (N, *craft.space(of).shape) and given.dtype == torch.float32
    assert given.abs().max() <= 1
    assert torch.equal(craft.take(x, draws()), given), "the same row loses something else"
    last = craft.take(x[4:], draws(0, 2, first=4))
    torch.testing.assert_close(last, given[4:], rtol=0, atol=1e-6)


@each
def test_simpler_ways_make_samples(craft: CraftConfig, of: Real) -> None:
    x = pictures(of)
    given = craft.take(x, draws())
    for name, made in {**craft.simpler(given, of), "shown": craft.shown(given, of)}.items():
        assert made.shape == x.shape and made.isfinite().all() and made.abs().max() <= 1, name


@each
def test_what_is_unknown_is_told_and_the_rest_kept(craft: CraftConfig, of: Real) -> None:
    x = pictures(of)
    given = craft.take(x, draws())
    unknown, kept = craft.unknown(given), craft.keep(torch.zeros_like(x), given)
    assert unknown is None or torch.equal(kept, x * (1 - unknown))
    assert unknown is not None or not kept.any()


@pytest.mark.parametrize("craft", ALL, ids=lambda craft: craft.kind())
def test_what_has_nothing_to_take_is_refused(craft: CraftConfig) -> None:
    for space in (Real((2,)), *(of for axes, of in OF.items() if axes not in craft.suits)):
        with pytest.raises(MaquetteError, match="MQ-2009"):
            craft.space(space)


def test_which_chances_are_taken() -> None:
    for craft, of in EACH:
        x = pictures(of)
        same = torch.equal(craft.take(x, draws(1)), craft.take(x, draws(2)))
        assert same == (craft.kind() not in ("mask", "noise", "blur", "gap")), craft.kind()


def test_of_films_each_frame_is_taken_from_as_a_picture() -> None:
    x = pictures(FILM)
    for craft in (shrink.Config(factor=2), grey.Config(), edges.Config(), crop.Config()):
        given, frame = craft.take(x, draws()), craft.take(x[:, :, 3], draws())
        assert torch.equal(given[:, :, 3], frame)
        for name, made in craft.simpler(given, FILM).items():
            if name != "mean fill":  # which knows the mean of the whole film
                torch.testing.assert_close(made[:, :, 3], craft.simpler(frame, RGB)[name], rtol=0, atol=1e-6)


# -- one by one -------------------------------------------------------------------------------------------------------


def test_shrunk_blocks_have_their_means_and_bicubic_is_nearer_than_nearest() -> None:
    x, craft = pictures(), shrink.Config(factor=4)
    given = craft.take(x, draws())
    assert given[2, 1, 0, 3].item() == pytest.approx(x[2, 1, :4, 12:].mean().item(), abs=1e-6)
    ways = craft.simpler(given, RGB)
    assert error(ways["bicubic"], x) < error(ways["nearest"], x)
    with pytest.raises(MaquetteError, match="multiples of 3"):
        shrink.Config(factor=3).space(RGB)


def test_grey_is_the_brightness_that_is_seen() -> None:
    x = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert grey.Config().take(x, draws(n=1)) == pytest.approx(0.299 - 0.587)
    with pytest.raises(MaquetteError, match=r"medium\.channels=3"):
        grey.Config().space(GREY)


def test_an_edge_is_one_line_where_it_is_steepest() -> None:
    x = -torch.ones(1, 1, 16, 16)
    x[..., 7], x[..., 8:] = 0.2, 1.0
    lines = edges.Config().take(x, draws(n=1))[0, 0]
    assert (lines[:, 7] == 1).all() and (lines > 0).sum() == 16
    assert (edges.Config().take(x.mT, draws(n=1))[0, 0] == lines.T).all()
    assert (edges.Config().take(0 * x, draws(n=1)) == -1).all(), "a plain picture has no edge"


def test_holes_are_hidden_and_nothing_else() -> None:
    x = pictures(n=64)
    shares = {}
    for holes in ("strokes", "boxes", "mixed"):
        given = mask.Config(holes=holes).take(x, draws(n=64))
        hidden = given[:, -1:]
        assert set(hidden.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(given[:, :-1], torch.where(hidden > 0, 0.0, x))
        assert len({row.numpy().tobytes() for row in hidden}) > 60, "holes are alike"
        shares[holes] = hidden.mean((1, 2, 3))
        assert 0.03 < shares[holes].mean() < 0.5 and shares[holes].max() < 0.9
    assert shares["boxes"].min() >= 1 / 16 and shares["boxes"].max() <= 0.41  # sides from 1/4 to 6/10, rounded


def test_what_is_known_is_kept() -> None:
    x = pictures()
    for craft in (mask.Config(), crop.Config()):
        given = craft.take(x, draws())
        made = craft.keep(torch.zeros_like(x), given)
        assert torch.equal(made, given[:, :-1])
        assert torch.equal(craft.keep(x, given), x)


def test_a_surface_without_bends_is_filled_as_it_was() -> None:
    """A plane meets the biharmonic equation, and a mean does not know of it."""
    down, right = torch.meshgrid(torch.linspace(-0.5, 0.5, 16), torch.linspace(-0.4, 0.4, 16), indexing="ij")
    x = (down + right).expand(1, 1, 16, 16).contiguous()
    hidden = torch.zeros(1, 1, 16, 16)
    hidden[..., 5:11, 4:12] = 1
    ways = hiding.fills(hiding.hide(x, hidden))
    torch.testing.assert_close(ways["biharmonic fill"], x, rtol=0, atol=1e-5)
    assert error(ways["mean fill"], x) > 0.001
    whole = hiding.hide(x, torch.ones_like(hidden))
    assert not hiding.fills(whole)["biharmonic fill"].any(), "where nothing is known, nothing can be solved for"


def test_a_person_brings_the_middle_and_training_takes_the_border() -> None:
    x, craft = pictures(), crop.Config(share=0.5)
    given = craft.take(x, draws())
    assert craft.brought(RGB).shape == (3, 8, 8)
    assert torch.equal(craft.bring(x[:, :, 4:12, 4:12], RGB), given)
    assert given[:, -1].mean() == 0.75
    odd = Real((1, 15, 10))
    assert crop.Config(share=0.4).bring(torch.ones(2, 1, 6, 4), odd).shape == (2, 2, 15, 10)


def test_a_person_brings_a_picture_and_a_mask() -> None:
    x, craft = pictures(), mask.Config()
    hidden = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    hidden[..., :5] = True
    given = craft.bring(x, RGB, hidden)
    assert torch.equal(given[:, -1] > 0, hidden[:, 0].expand(N, -1, -1))
    with pytest.raises(MaquetteError, match="MQ-2105"):
        craft.bring(x, RGB)
    with pytest.raises(MaquetteError, match="MQ-2138"):
        shrink.Config().bring(x, RGB, hidden)


def test_noise_has_its_level_and_total_variation_takes_most_of_it() -> None:
    x, craft = 0.3 * pictures(), noise.Config(level=0.2)
    given = craft.take(x, draws())
    assert (given - x).std().item() == pytest.approx(0.2, rel=0.05)
    ways = craft.simpler(given, RGB)
    assert error(ways["total variation"], x) < 0.5 * error(ways["left noisy"], x)
    plain = torch.full((1, 1, 16, 16), 0.25)
    torch.testing.assert_close(noise.total_variation(plain, 0.1), plain)


def test_a_wiener_filter_sharpens() -> None:
    x = pictures()
    x = torch.where(x > 0, 0.8, -0.8)
    craft = blur.Config(sigma=1.2, noise=0.01)
    given = craft.take(x, draws())
    ways = craft.simpler(given, RGB)
    assert error(ways["Wiener filter"], x) < 0.8 * error(ways["left blurred"], x)
    with pytest.raises(MaquetteError, match="leaves nothing"):
        dataclasses.replace(craft, sigma=4.0).space(RGB)


def test_a_blur_keeps_what_is_plain_and_the_sum_inside() -> None:
    plain = torch.full((1, 2, 12, 12), 0.5)
    torch.testing.assert_close(blurred(plain, 1.5), plain)
    point = torch.zeros(1, 1, 17, 17)
    point[0, 0, 8, 8] = 1
    assert blurred(point, 1.0).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("shrink", {"factor": 1}),
        ("mask", {"box": [0.6, 0.2]}),
        ("crop", {"share": 1.0}),
        ("blur", {"sigma": 0.0}),
        ("noise", {"level": 0.0}),
        ("edges", {"threshold": 1.5}),
        ("gap", {"share": [0.5, 1.0]}),
        ("mask", {"drift": 0.6}),
    ],
)
def test_impossible_settings_are_named(kind: str, wrong: dict) -> None:
    with pytest.raises(MaquetteError, match=next(iter(wrong))) as refused:
        CraftConfig.from_tree({"kind": kind, **wrong}, "data.given")
    assert refused.value.code == "MQ-2002"
