"""The sentence VAE: its bound by hand, what keeps the code from being ignored, and the way from code to code."""

import math

import pytest
import torch
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Between, Seeds
from maquette.core.types import Batch, Condition, Given, Marks, Real, Sampling, Tokens
from maquette.models import textvae
from maquette.nets import transformer
from maquette.solvers.decoding import MAKE
from maquette.train.warnings import Warnings

PLAIN, MARKED = Tokens((6,), 5), Tokens((8,), 9, Marks(0, 1, 2))
TINY = transformer.Config.tiny()
GREEDY = Sampling(top_k=1)


def built(space: Tokens = PLAIN, classes: int = 0, **fields: float) -> textvae.TextVAE:
    torch.manual_seed(0)
    return textvae.Config(**{"encoder": TINY, "decoder": TINY, "latent": 4, **fields}).build(space, classes)  # type: ignore[arg-type]


def stirred(model: textvae.TextVAE) -> textvae.TextVAE:
    """`model` with weights that make it say something, since its blocks begin as the identity."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.4)
    return model.eval()


def fixed(model: textvae.TextVAE, mu: float) -> textvae.TextVAE:
    """`model` as one that guesses evenly, and whose every code is N(mu, 1)."""
    nn.init.zeros_(model.decoder.table.weight)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    nn.init.constant_(model.head.bias[: model.config.latent], mu)
    return model


def batch(x: Tensor, step: int = 0) -> Batch:
    return Batch(x, Given(), Seeds.for_batch(0, step, len(x)))


def tokens(n: int, space: Tokens, low: int = 0) -> Tensor:
    return torch.randint(low, space.vocab, (n, *space.shape), generator=torch.Generator().manual_seed(0))


# -- the bound --------------------------------------------------------------------------------------------------------


def test_the_bound_by_hand() -> None:
    """Even guesses cost ln 5 each; codes of mean 1 and spread 1 cost half a nat an axis."""
    nats = fixed(built(), mu=1.0).eval().nll(batch(tokens(3, PLAIN)))
    assert torch.allclose(nats, torch.full((3,), 6 * math.log(5) + 4 * 0.5), atol=1e-5)


@pytest.mark.parametrize(("progress", "free", "counted"), [(1.0, 0.0, 2.0), (1.0, 3.0, 3.0), (0.25, 3.0, 1.5)])
def test_free_nats_and_warm_up_weigh_the_kl_term(progress: float, free: float, counted: float) -> None:
    """A KL term of 2 nats: counted as `free` where that is more, and by half at half the warm-up."""
    model = fixed(built(free=free, warmup=0.5), mu=1.0)
    loss, stats = model.loss(batch(tokens(3, PLAIN)), progress)
    assert stats["kl"].item() == pytest.approx(2.0) and stats["reconstruction"].item() == pytest.approx(6 * math.log(5))
    assert loss.item() == pytest.approx(6 * math.log(5) + counted, rel=1e-5)


def test_what_is_free_has_no_gradient() -> None:
    for free, pushed in ((3.0, False), (1.0, True)):
        model = fixed(built(free=free, warmup=0.0), mu=1.0)
        model.loss(batch(tokens(3, PLAIN)), 1.0)[0].backward()
        assert (model.head.bias.grad is not None and bool(model.head.bias.grad.abs().sum() > 1e-6)) == pushed


@torch.no_grad()
def test_given_a_code_the_probabilities_of_all_texts_sum_to_one() -> None:
    model = stirred(built(Tokens((3,), 4)))
    x = torch.cartesian_prod(*[torch.arange(4)] * 3)
    for z in torch.randn(3, 4):
        nats = model.decoder.nats(x, model.told(z.expand(len(x), -1), Condition()))[0].sum(1)
        assert math.isclose(float(torch.exp(-nats.double()).sum()), 1.0, rel_tol=1e-4)


@torch.no_grad()
def test_nll_is_a_bound() -> None:
    """-log p(x) from 20,000 codes of the prior lies below the mean of what `nll` says."""
    model = stirred(built(Tokens((4,), 3), latent=2))
    x = tokens(6, Tokens((4,), 3))
    said = torch.stack([model.nll(batch(x, step)) for step in range(300)]).mean(0)
    z = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(2))
    for row, bound in zip(x, said, strict=True):
        nats = model.decoder.nats(row.expand(len(z), -1), model.told(z, Condition()))[0].sum(1)
        assert float(math.log(len(z)) - torch.logsumexp(-nats.double(), 0)) < float(bound) + 0.05


# -- padding and hidden tokens ----------------------------------------------------------------------------------------


def test_padding_costs_nothing_and_changes_no_code() -> None:
    wide = stirred(built(MARKED))
    narrow = built(Tokens((5,), 9, MARKED.marks))
    narrow.load_state_dict(wide.state_dict())
    x = torch.tensor([[0, 5, 6, 0, 0, 0, 0, 0], [0, 7, 8, 3, 0, 0, 0, 0]])
    assert torch.allclose(wide.encode(x), narrow.eval().encode(x[:, :5]), atol=1e-5)
    assert torch.allclose(wide.nll(batch(x)), narrow.nll(batch(x[:, :5])), atol=1e-4)
    assert not torch.allclose(
        *wide.encode(torch.tensor([[0, 5, 6, 0, 0, 0, 0, 0], [0, 5, 7, 0, 0, 0, 0, 0]])), atol=1e-3
    )


def test_word_dropout_leaves_the_decoder_the_code_alone() -> None:
    model = stirred(built(word_dropout=1.0)).train()
    x = tokens(4, PLAIN)
    other = torch.cat([(x[:, :-1] + 1) % 5, x[:, -1:]], dim=1)
    told = model.told(torch.randn(4, 4), Condition())
    hidden = model._hidden(Seeds.for_batch(0, 0, 4))
    assert hidden is not None and not hidden[:, 0].any() and hidden[:, 1:].all()
    last = [model.decoder.nats(each, told, hidden)[0][:, -1] for each in (x, other)]
    shown = [model.decoder.nats(each, told)[0][:, -1] for each in (x, other)]
    assert torch.equal(*last) and not torch.allclose(*shown, atol=1e-3)
    assert model.eval()._hidden(Seeds.for_batch(0, 0, 4)) is None, "a likelihood hides nothing"


def test_as_many_are_hidden_as_asked() -> None:
    hidden = built(Tokens((200,), 5), word_dropout=0.3)._hidden(Seeds.for_batch(0, 0, 50))
    assert hidden is not None and 0.27 < hidden[:, 1:].float().mean() < 0.33


# -- posterior collapse -----------------------------------------------------------------------------------------------

REPEATED = torch.arange(5)[:, None].expand(5, 12).repeat(8, 1)
"""One token again and again: whoever has seen the first knows the rest, and needs no code."""
DEAR = 2.0
"""A weight of the KL term at which a code is not worth what it says of the first token."""


def learnt(space: Tokens, x: Tensor, steps: int, **fields: float) -> textvae.TextVAE:
    model = built(space, **fields)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        loss, _ = model.loss(batch(x, step), step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def without() -> textvae.TextVAE:
    return learnt(Tokens((12,), 5), REPEATED, 150, beta=DEAR, free=0.0)


@pytest.fixture(scope="module")
def free() -> textvae.TextVAE:
    return learnt(Tokens((12,), 5), REPEATED, 150, beta=DEAR, free=4.0)


@pytest.fixture(scope="module")
def blinded() -> textvae.TextVAE:
    return learnt(Tokens((12,), 5), REPEATED, 150, beta=DEAR, free=0.0, word_dropout=1.0)


def seen(model: textvae.TextVAE) -> dict[str, float]:
    with torch.no_grad():
        return {name: value.item() for name, value in model.loss(batch(REPEATED), 1.0)[1].items()}


def test_without_a_remedy_the_code_is_ignored_and_a_warning_says_so(without: textvae.TextVAE) -> None:
    stats = seen(without)
    assert stats["kl"] < 0.3
    warnings = Warnings()
    said = [warnings.stats({f"model.{k}": v for k, v in stats.items()}, 1000 + i, 0.5) for i in range(2)]
    assert said[0] is None and said[1] is not None and said[1].code == "MQ-6021"


@pytest.mark.parametrize("remedy", ["free", "blinded"])
def test_each_remedy_keeps_it_in_use(remedy: str, request: pytest.FixtureRequest) -> None:
    stats = seen(request.getfixturevalue(remedy))
    assert stats["kl"] > 1.0 and stats["active"] >= 1
    warnings = Warnings()
    assert all(warnings.stats({f"model.{k}": v for k, v in stats.items()}, 1000 + i, 0.5) is None for i in range(3))


@torch.no_grad()
def test_codes_bring_back_their_own_texts_and_no_others(free: textvae.TextVAE, without: textvae.TextVAE) -> None:
    x = REPEATED[:5]
    z = free.encode(x)
    assert (free.decode(z) == x).float().mean() > 0.9
    assert (free.decode(z.roll(1, 0)) == x).float().mean() < 0.1
    own, others = (free.decoder.nats(x, free.told(c, Condition()))[0].sum() / 5 for c in (z, z.roll(1, 0)))
    assert others - own > 1.0, "the texts cost no more with the codes of others"
    own, others = (
        without.decoder.nats(x, without.told(without.encode(y), Condition()))[0].sum() / 5 for y in (x, x.roll(1, 0))
    )
    assert others - own < 0.3, "this one was to ignore its codes"


# -- drawing ----------------------------------------------------------------------------------------------------------


def draw(
    model: textvae.TextVAE, rng: Seeds, how: Sampling = GREEDY, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Samples and the codes that they were made from."""
    predict, asked = model.predictor(Condition()), []

    def spy(x: Tensor, at: int, z: Tensor) -> Tensor:
        asked.append(z)
        return predict(x, at, z)

    made = model.draw(spy, model.start(len(rng), how, rng) if start is None else start, how, rng)
    assert all(z is asked[0] for z in asked), "a text is made from one code"
    return made, asked[0]


@torch.no_grad()
def test_what_is_drawn_is_what_its_code_decodes_to(free: textvae.TextVAE) -> None:
    made, z = draw(free, Seeds.for_samples(0, 6))
    assert torch.equal(made, free.decode(z))
    bold, same = draw(free, Seeds.for_samples(0, 6), Sampling(temperature=3.0))
    assert torch.equal(z, same) and not torch.equal(made, bold), "the temperature is that of the tokens"


@torch.no_grad()
def test_the_way_between_two_samples_is_one_between_their_codes(free: textvae.TextVAE) -> None:
    several, _ = draw(free, Seeds.for_samples(0, 20))
    seed = next(i for i in range(19) if (several[i] != several[i + 1]).any())
    ends, (first, last) = draw(free, Seeds.for_samples(seed, 2))
    share = torch.arange(9) / 9
    left, right = Seeds.for_seeds([seed] * 9), Seeds.for_seeds([seed + 1] * 9)
    made, z = draw(free, Between(left, right, share))
    angle = share[:, None] * math.pi / 2
    assert torch.allclose(z, angle.cos() * first + angle.sin() * last, atol=1e-5)
    assert torch.equal(made[0], ends[0])
    changes = (made[1:] != made[:-1]).any(1).sum()
    assert 1 <= changes <= 4, f"{changes} changes on a way between two of five texts"


@torch.no_grad()
def test_a_known_beginning_is_kept(free: textvae.TextVAE) -> None:
    start = torch.full((3, 12), MAKE)
    start[:, :2] = torch.tensor([[1, 1], [4, 4], [2, 2]])
    made, _ = draw(free, Seeds.for_samples(0, 3), Sampling(), start)
    assert torch.equal(made[:, :2], start[:, :2])


@torch.no_grad()
def test_a_text_comes_piece_by_piece(free: textvae.TextVAE) -> None:
    rng, how = Seeds.for_samples(5, 2), Sampling()
    whole = free.draw(free.predictor(Condition()), free.start(2, how, rng), how, rng.rows(0, 2))
    pieces = list(free.stream(free.predictor(Condition()), free.start(2, how, rng), how, rng.rows(0, 2)))
    assert len(pieces) == 12 and torch.equal(pieces[-1][1], whole)


@torch.no_grad()
def test_a_predictor_is_right_in_any_order() -> None:
    model = stirred(built(MARKED))
    x, z, other = tokens(2, MARKED, low=3), torch.randn(2, 4), torch.randn(2, 4)
    predict = model.predictor(Condition())
    for at, code in ((1, z), (2, z), (6, z), (6, other), (3, other), (4, z)):
        assert torch.allclose(predict(x, at, code), model.predictor(Condition())(x, at, code), atol=1e-5)


def test_a_made_end_ends_the_text() -> None:
    model = stirred(built(MARKED))
    with torch.no_grad():
        made = torch.cat([draw(model, Seeds.for_samples(9 * i, 9), Sampling(temperature=2.0))[0] for i in range(4)])
    over = (made[:, 1:] == 0).int().cummax(1).values.bool()
    assert over.any() and (made[:, 1:][over] == 0).all() and (made[:, 0] == 0).all()


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [Real((2,)), Tokens((4, 4), 5)])
def test_other_spaces_are_refused(space: Real | Tokens) -> None:
    with pytest.raises(MaquetteError, match="MQ-2008"):
        textvae.Config().build(space)


@pytest.mark.parametrize(
    "fields",
    [{"latent": 0}, {"beta": -1.0}, {"warmup": 2.0}, {"free": -0.1}, {"word_dropout": 1.1}, {"label_drop": 1.0}],
)
def test_refuses_what_cannot_be_meant(fields: dict[str, float]) -> None:
    with pytest.raises(MaquetteError, match=f"MQ-2002.*{next(iter(fields))}"):
        textvae.Config(**fields)  # type: ignore[arg-type]
