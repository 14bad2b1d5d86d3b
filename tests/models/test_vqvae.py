"""Quantisers against values worked by hand, codebooks that stay alive, and the loss of equation 3."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Real, Sampling, Tokens
from maquette.models import vqvae
from maquette.nets import resnet

PICTURE = Real((1, 8, 8), levels=256)
NET = resnet.Config.tiny()


def small(**fields: object) -> vqvae.Config:
    return vqvae.Config(**{"encoder": NET, "decoder": NET, "entries": 16, "width": 4, **fields})  # type: ignore[arg-type]


def rng(n: int, step: int = 0) -> Seeds:
    return Seeds.for_batch(0, step, n)


def batch(n: int = 8, step: int = 0) -> Batch:
    return Batch(rng(n, step).uniform(1, 8, 8) * 2 - 1, Given(), Seeds.for_batch(1, step, n))


def grid(vectors: Tensor) -> Tensor:
    """[n, d] as a grid [1, d, n, 1]."""
    return vectors.T[None, :, :, None]


# -- vq ---------------------------------------------------------------------------------------------------------------


def test_the_nearest_entry_is_taken() -> None:
    quantiser = vqvae.VQ(5, 3, 0.25, 0.99)
    z = torch.randn(4, 3, 2, 6)
    distances = (z[:, None] - quantiser.codebook[None, :, :, None, None]).square().sum(2)
    numbers = quantiser.numbers(z)
    assert torch.equal(numbers, distances.argmin(1)) and numbers.shape == (4, 2, 6)
    assert torch.equal(quantiser.vectors(numbers)[1, :, 0, 3], quantiser.codebook[numbers[1, 0, 3]])


def test_the_gradient_passes_straight_through() -> None:
    quantiser = vqvae.VQ(5, 3, 0.0, 0.99)
    z = torch.randn(2, 3, 2, 2, requires_grad=True)
    out, numbers, loss = quantiser(z, rng(2))
    torch.testing.assert_close(out, quantiser.vectors(numbers))
    (out * torch.arange(24.0).view(2, 3, 2, 2)).sum().backward()
    assert torch.equal(z.grad, torch.arange(24.0).view(2, 3, 2, 2)) and loss.item() == 0


def test_the_terms_of_the_codebook_by_hand() -> None:
    """z = (1, 0) beside e = (0, 0): each of the two terms is 1, the second weighed by the commitment."""
    quantiser = vqvae.VQ(2, 2, 0.25, 0.0)
    with torch.no_grad():
        quantiser.codebook.copy_(torch.tensor([[0.0, 0.0], [9.0, 9.0]]))
    z = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    loss = quantiser(z, rng(1))[2]
    assert loss.item() == pytest.approx(1.25)
    loss.backward()
    assert z.grad.flatten().tolist() == pytest.approx([0.5, 0.0])  # of the commitment alone
    assert quantiser.codebook.grad.flatten().tolist() == pytest.approx([-2.0, 0.0, 0.0, 0.0])  # of the other alone


def settled(quantiser: vqvae.VQ, entries: Tensor) -> vqvae.VQ:
    """As after a long time of even use."""
    size = len(entries)
    with torch.no_grad():
        quantiser.codebook.copy_(entries)
        quantiser.usage.fill_(1 / size)
        if quantiser.decay:
            quantiser.sums.copy_(entries / size)
    return quantiser


def test_entries_follow_the_averages_of_what_takes_them() -> None:
    """Appendix A.1 with a decay of 0.9: two vectors at 1.2 and one at 5.5 for the entries 1 and 5."""
    quantiser = settled(vqvae.VQ(2, 1, 0.25, 0.9), torch.tensor([[1.0], [5.0]]))
    quantiser(grid(torch.tensor([[1.2], [1.2], [5.5]])), rng(1))
    quantiser.follow()
    usage = [0.9 / 2 + 0.1 * 2 / 3, 0.9 / 2 + 0.1 / 3]
    assert quantiser.usage.tolist() == pytest.approx(usage)
    sums = [0.9 * 0.5 + 0.1 * 2.4 / 3, 0.9 * 2.5 + 0.1 * 5.5 / 3]
    assert quantiser.codebook[:, 0].tolist() == pytest.approx([s / u for s, u in zip(sums, usage, strict=True)])
    assert not quantiser.taken.any() and not quantiser.gathered.any()


@pytest.mark.parametrize("decay", [0.9, 0.0])
def test_the_first_step_puts_the_codebook_among_the_data(decay: float) -> None:
    quantiser = vqvae.VQ(32, 3, 0.25, decay)
    z = 20 + torch.randn(8, 3, 2, 2)
    quantiser(z, rng(8))
    quantiser.follow()
    vectors = z.movedim(1, 3).flatten(0, 2)
    near = (quantiser.codebook.detach()[:, None] - vectors).abs().sum(2).amin(1)
    assert near.max() == 0 and len(quantiser.codebook.detach().unique(dim=0)) > 8


def test_dead_entries_begin_anew_and_living_ones_stay() -> None:
    quantiser = settled(vqvae.VQ(4, 1, 0.25, 0.9), torch.tensor([[0.0], [1.0], [50.0], [60.0]]))
    steps = math.ceil(math.log(vqvae.DEAD) / math.log(0.9)) + 1
    for step in range(steps):
        quantiser(grid(torch.tensor([[0.0], [1.0]] * 4)), rng(1, step))
        quantiser.follow()
        if step < steps - 3:
            assert quantiser.codebook[2:, 0].tolist() == pytest.approx([50.0, 60.0], rel=1e-3)
    assert quantiser.codebook[:2, 0].tolist() == pytest.approx([0.0, 1.0], abs=1e-4)
    assert quantiser.codebook.max() <= 1.01


def test_each_codebook_takes_what_is_left_over() -> None:
    """Tens and ones: 37 is 30 and 7, 12 is 10 and 2; the second book's numbers come after the first's."""
    quantiser = vqvae.RVQ(2, 10, 1, 0.25, 0.9)
    for place, scale in enumerate((10.0, 1.0)):
        settled(quantiser.books[place], torch.arange(10.0)[:, None] * scale - (5.0 if place else 0.0))
    z = grid(torch.tensor([[37.0], [12.0]]))
    numbers = quantiser.numbers(z)
    assert numbers.flatten(1).tolist() == [[4, 1, 12, 17]]  # 40 - 3, 10 + 2
    assert quantiser.vectors(numbers).flatten().tolist() == [37.0, 12.0]
    assert torch.equal(quantiser.vectors(numbers % 10), quantiser.vectors(numbers))
    asked = z.clone().requires_grad_()
    out, same, loss = quantiser.eval()(asked, rng(1))
    assert torch.equal(out, z) and torch.equal(same, numbers)
    assert loss.item() == pytest.approx(0.25 * (3**2 + 2**2) / 2)  # 3 and 2 are left, then nothing
    (out.sum() + loss).backward()
    assert asked.grad.flatten().tolist() == pytest.approx([1 - 0.25 * 3, 1 + 0.25 * 2])


def test_a_codebook_begins_once_the_one_before_it_has() -> None:
    """From then on each of them halves what is left, or better, of vectors that lie anywhere."""
    quantiser = vqvae.RVQ(3, 16, 2, 0.25, 0.9)
    for step in range(6):
        z = torch.rand(16, 2, 8, 8, generator=torch.Generator().manual_seed(step)) * 6
        quantiser(z, rng(16, step))
        quantiser.follow()
        assert [bool(book.usage.sum() > 0) for book in quantiser.books] == [step >= place for place in range(3)]
    left, errors = z, [z.square().mean().item()]
    for book in quantiser.books:
        left = left - book.vectors(book.numbers(left))
        errors.append(left.square().mean().item())
    assert all(after < before / 2 for before, after in itertools.pairwise(errors))
    torch.testing.assert_close(z - quantiser.vectors(quantiser.numbers(z)), left)


def test_codes_of_several_codebooks_are_a_space_of_their_own() -> None:
    model = small(books=3, entries=8).build(PICTURE)
    assert model.latent == Tokens((3, 2, 2), 24)
    loss, stats = model.loss(batch(), 0.0)
    loss.backward()
    model.after_step(1)
    numbers = model.eval().encode(batch().x)
    assert torch.equal(numbers // 8, torch.arange(3)[None, :, None, None].expand_as(numbers))
    assert model.decode(numbers).shape == batch().x.shape and 0 < stats["used"] <= 1
    drawn = model.start(4, Sampling(), rng(4))
    assert drawn.shape == (4, 3, 2, 2) and model.decode(drawn).isfinite().all()


def test_nothing_is_noted_while_judging() -> None:
    quantiser = vqvae.VQ(4, 3, 0.25, 0.9).eval()
    quantiser(torch.randn(2, 3, 2, 2), rng(2))
    assert not quantiser.taken.any()


def test_a_trained_codebook_is_not_thrown_away_when_training_goes_on() -> None:
    entries = torch.randn(8, 4)
    model = settled(small(entries=8).build(PICTURE).quantiser, entries)
    again = vqvae.VQ(8, 4, 0.25, 0.99)
    again.load_state_dict(model.state_dict())
    again(torch.randn(2, 4, 2, 2) * 0.1, rng(2))
    again.follow()
    torch.testing.assert_close(again.codebook, entries, atol=0.2, rtol=0)


# -- fsq --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [(3,), (4, 5), (8, 6, 5)])
def test_every_code_of_fsq_comes_back(levels: tuple[int, ...]) -> None:
    quantiser = vqvae.FSQ(levels)
    numbers = torch.arange(quantiser.size).view(1, -1, 1)
    vectors = quantiser.vectors(numbers)
    assert vectors.abs().max() <= 1 and len(vectors[0, :, :, 0].T.unique(dim=0)) == quantiser.size
    assert [len(axis.unique()) for axis in vectors[0]] == list(levels)


def test_fsq_reaches_every_level_and_no_more() -> None:
    for count in (3, 4, 5, 8, 16):
        quantiser = vqvae.FSQ((count,))
        numbers = quantiser.numbers(grid(torch.linspace(-20, 20, 4001)[:, None]))
        assert numbers.unique().tolist() == list(range(count))
        assert (numbers.flatten().diff() >= 0).all()


def test_fsq_gives_the_decoder_the_vector_of_its_number() -> None:
    quantiser = vqvae.FSQ((8, 5))
    z = torch.randn(4, 2, 3, 3).requires_grad_()
    out, numbers, loss = quantiser(z, rng(4))
    torch.testing.assert_close(out, quantiser.vectors(numbers))
    out.sum().backward()
    assert loss.item() == 0 and (z.grad > 0).all(), "the slope of tanh"


def test_zero_is_in_the_middle() -> None:
    for count, middle in ((5, 2), (8, 4)):
        assert vqvae.FSQ((count,)).numbers(torch.zeros(1, 1, 1, 1)).item() == middle


# -- the model --------------------------------------------------------------------------------------------------------


def test_the_loss_is_its_terms() -> None:
    torch.manual_seed(0)
    model = small(data_std=0.5).build(PICTURE)
    loss, stats = model.loss(batch(), 0.0)
    assert loss.item() == pytest.approx((stats["reconstruction"] + stats["quantising"]).item())
    x = batch().x
    z = model.encoder(x)
    copy = model.decoder(model.quantiser.vectors(model.quantiser.numbers(z)))
    assert stats["reconstruction"].item() == pytest.approx(4 * (copy - x).square().mean().item(), rel=1e-3)


def test_the_use_of_codes_by_hand() -> None:
    used = vqvae.use(torch.tensor([[[0, 0], [3, 3]]]), 8)
    assert used["used"].item() == pytest.approx(0.25) and used["perplexity"].item() == pytest.approx(2.0)
    assert vqvae.use(torch.arange(8).view(1, 2, 4), 8)["perplexity"].item() == pytest.approx(8.0)


@pytest.mark.parametrize("fields", [{}, {"decay": 0.0}, {"quantiser": "fsq", "levels": (5, 5)}])
def test_pictures_are_learnt_and_the_codebook_is_used(fields: dict[str, object]) -> None:
    """Pictures of one of four brightnesses in each quarter: codes tell them apart."""
    torch.manual_seed(0)
    model = small(entries=8, **fields).build(PICTURE).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    shades = torch.tensor([-0.9, -0.3, 0.3, 0.9])

    def pictures(step: int) -> Tensor:
        return shades[rng(16, step).integers(4, 1, 2, 2)].repeat_interleave(4, 2).repeat_interleave(4, 3)

    for step in range(200):
        loss, _ = model.loss(Batch(pictures(step), Given(), Seeds.for_batch(1, step, 16)), step / 200)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_step(step)
    x = pictures(1000)
    with torch.no_grad():
        codes = model.eval().encode(x)
        error = (model.decode(codes) - x).square().mean()
    assert model.latent == Tokens((2, 2), model.quantiser.size) and codes.shape == (16, 2, 2)
    assert error < 0.1 and len(codes.unique()) >= 4


@pytest.mark.parametrize("quantiser", [vqvae.VQ(7, 2, 0.25, 0.9), vqvae.FSQ((4, 5))], ids=["vq", "fsq"])
def test_grids_of_any_number_of_axes_are_quantised_alike(quantiser: vqvae.VQ | vqvae.FSQ) -> None:
    z = torch.randn(3, 2, 24, generator=torch.Generator().manual_seed(0))
    numbers, vectors = quantiser.numbers(z), quantiser.vectors(quantiser.numbers(z))
    e, _, loss = quantiser.eval()(z, rng(3))
    for sides in ((4, 6), (2, 3, 4)):
        whole = z.unflatten(2, sides)
        assert torch.equal(quantiser.numbers(whole).flatten(1), numbers)
        assert torch.equal(quantiser.vectors(numbers.unflatten(1, sides)).flatten(2), vectors)
        again, _, lost = quantiser(whole, rng(3))
        assert torch.allclose(again.flatten(2), e) and torch.allclose(lost, loss)


@pytest.mark.parametrize(("shape", "codes"), [((1, 16), (4,)), ((2, 4, 8, 8), (1, 2, 2))], ids=str)
def test_sound_and_films_become_tokens(shape: tuple[int, ...], codes: tuple[int, ...]) -> None:
    model = small().build(Real(shape, levels=256)).eval()
    z = model.encode(torch.randn(2, *shape))
    assert model.latent == Tokens(codes, model.quantiser.size) and z.shape == (2, *codes)
    assert model.decode(z).shape == (2, *shape)


def test_what_cannot_be_is_refused() -> None:
    for space in Real((2,)), Real((1, 9, 8)), Tokens((4,), 3):
        with pytest.raises(MaquetteError, match="MQ-2008"):
            small().build(space)
    for fields in ({"levels": (2, 5)}, {"levels": ()}, {"factor": 0}, {"decay": 1.0}):
        with pytest.raises(MaquetteError, match="MQ-2002"):
            small(**fields)
    with pytest.raises(MaquetteError, match="MQ-2009"):
        dataclasses.replace(small(), factor=3).build(Real((1, 9, 9)))
