"""Sound value by value: what is kept between values changes nothing, and what is learnt is what the data are."""

import math
import sys

import pytest
import torch
from torch import Tensor

from maquette.codecs.quantise import from_levels, to_levels
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Given, Real, Sampling, Tokens
from maquette.models import wavenet
from maquette.models.logistic import Mixture, draw_levels
from maquette.models.wavenet import OfLevels, OfTokens, Waves
from maquette.nets import dilated
from maquette.solvers.guidance import guide
from tests.conformance.cases import maker
from tests.conformance.checks import CHECKS

LENGTH = 60
TINY = dilated.Config(width=8, skip=8, layers=4, dilations=(1, 2, 4, 20))
MEL = Beside(image=Real((1, 4, 12)))
SOUND, CODES = Real((1, LENGTH), levels=256), Tokens((LENGTH,), 16)
HOW = Sampling()


def build(space, classes: int = 0, beside: Beside = Beside(), stir: float = 0.3, **config) -> Waves:
    torch.manual_seed(0)
    settings = {"net": TINY, "mixtures": 3, "label_width": 4} | config
    model = wavenet.Config(**settings).fitted(space, classes, beside)
    assert isinstance(model, Waves)
    for p in model.parameters():  # an untrained model is nearly uniform, which hides mistakes
        p.data += stir * torch.randn_like(p)
    return model.eval()


def asked(model: Waves, n: int) -> Given:
    image = model.beside.image
    frames = None if image is None else torch.randn(n, *image.shape, generator=torch.Generator().manual_seed(5))
    return Given(label=torch.arange(n) % model.classes if model.classes else None, image=frames)


def drawn(model: Waves, n: int, how: Sampling = HOW, guidance: float = 1.0, first: int = 0, start=None) -> Tensor:
    rng, given = Seeds.for_samples(7, n, first), asked(model, n)
    predict = model.predictor(model.condition(given, n))
    if guidance != 1:
        predict = guide(predict, model.predictor(model.condition(Given(image=given.image), n)), guidance)
    with torch.no_grad():
        return model.draw(predict, model.start(n, how, rng) if start is None else start, how, rng)


def whole(model: Waves, x: Tensor) -> Tensor:
    """What the net says of each value of samples, in one forward pass."""
    with torch.no_grad():
        return model.net.run(model.entered(model.lesson(x)[0]), model.condition(asked(model, len(x)), len(x)))[0]


GIVENS = {"nothing": (0, Beside()), "a label": (3, Beside()), "a spectrogram": (0, MEL), "both": (3, MEL)}


@pytest.fixture(params=["step by step", "compiled"])
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "compiled":
        pytest.importorskip("maquette.nets.looped", reason="extra `fast` is not installed", exc_type=ImportError)
    return request.param


# -- what is drawn is what the net says -------------------------------------------------------------------------------


@pytest.mark.parametrize("given", GIVENS)
def test_the_likeliest_tokens_are_those_of_the_whole_forward_pass(given: str, way: str) -> None:
    model = build(Tokens((300,), 16) if given == "both" else CODES, *GIVENS[given])
    if way == "compiled":
        model.compile_steps("fp32")
    x = drawn(model, 2, Sampling(top_k=1))
    assert torch.equal(x, whole(model, x).argmax(-1))


@pytest.mark.parametrize("given", ["nothing", "both"])
@pytest.mark.parametrize("space", [CODES, SOUND], ids=["tokens", "levels"])
def test_every_probability_is_that_of_the_whole_forward_pass(space, given: str, way: str) -> None:
    model = build(space, *GIVENS[given])
    x = drawn(model, 2)
    said = whole(model, x)
    if way == "compiled":
        model.compile_steps("fp32")
    predict = model.predictor(model.condition(asked(model, 2), 2))
    with torch.no_grad():
        steps = torch.stack([predict(x, at) for at in range(LENGTH)], 1)
    for row in range(2):
        one, other = (probabilities(model, x[row], part[row]) for part in (steps, said))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def probabilities(model: Waves, x: Tensor, said: Tensor) -> Tensor:
    """Of each value that there is, given those before it: [l, values]."""
    if isinstance(model, OfTokens):
        return said.softmax(-1)
    return Mixture(said, 1, model.vocab).next_value(x[0, :, None], 0).exp()


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("space", [CODES, SOUND], ids=["tokens", "levels"])
def test_the_loop_draws_what_python_draws(space, guidance: float) -> None:
    pytest.importorskip("maquette.nets.looped", reason="extra `fast` is not installed", exc_type=ImportError)
    model = build(space, 3, MEL)
    slow = drawn(model, 2, guidance=guidance)
    model.compile_steps("fp32")
    assert torch.equal(drawn(model, 2, guidance=guidance), slow)
    assert len(slow.unique()) > 10


@pytest.mark.parametrize("space", [CODES, SOUND], ids=["tokens", "levels"])
def test_long_samples_take_the_loop_unasked(space, monkeypatch: pytest.MonkeyPatch) -> None:
    looped = pytest.importorskip("maquette.nets.looped", reason="extra `fast` is not installed", exc_type=ImportError)
    model, begun = build(space), []
    slow = drawn(model, 2)
    begin = looped.Loop.begin
    monkeypatch.setattr(looped.Loop, "begin", lambda *args: begun.append(args) or begin(*args))
    assert torch.equal(drawn(model, 2), slow) and not begun
    monkeypatch.setattr(wavenet, "LONG", LENGTH)
    assert torch.equal(drawn(model, 2), slow) and begun
    begun.clear()
    made = drawn(model, 2, Sampling(top_k=3) if space is CODES else HOW, guidance=1.0 if space is CODES else 2.0)
    assert begun and made.shape == slow.shape  # what the loop does not know is done by its steps


def test_without_numba_there_are_torchs_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(CODES)
    slow = drawn(model, 2)
    monkeypatch.setattr(wavenet, "LONG", LENGTH)
    monkeypatch.setitem(sys.modules, "maquette.nets.looped", None)
    assert torch.equal(drawn(model, 2), slow)
    with pytest.raises(MaquetteError, match="MQ-2107"):
        model.compile_steps("fp32")


@pytest.mark.parametrize("space", [CODES, SOUND], ids=["tokens", "levels"])
def test_a_sample_belongs_to_its_seed_alone(space, way: str) -> None:
    model = build(space)
    if way == "compiled":
        model.compile_steps("fp32")
    assert torch.equal(drawn(model, 4)[2:], drawn(model, 2, first=2))
    assert not torch.equal(drawn(model, 1), drawn(model, 1, first=1))


@pytest.mark.parametrize("space", [CODES, SOUND], ids=["tokens", "levels"])
def test_what_is_known_is_kept_and_gone_on_from(space, way: str) -> None:
    """A beginning, and a value in the middle: with those that it would have made, the sample is the same."""
    model = build(space)
    if way == "compiled":
        model.compile_steps("fp32")
    x = drawn(model, 2)
    start = model.start(2, HOW, Seeds.for_samples(0, 2))
    start[..., :20], start[..., 40] = x[..., :20], x[..., 40]
    assert torch.equal(drawn(model, 2, start=start), x)
    start[..., :20] = x[:1, ..., :20]
    again = drawn(model, 2, start=start)
    assert torch.equal(again[..., :20], start[..., :20]) and not torch.equal(again[1], x[1])


@pytest.mark.parametrize("space", [CODES, SOUND], ids=["tokens", "levels"])
def test_it_comes_in_pieces(space, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(space)
    if way == "compiled":
        from maquette.nets import looped

        monkeypatch.setattr(looped, "STRETCH", 25)
        model.compile_steps("fp32")
    wanted = drawn(model, 2)
    rng = Seeds.for_samples(7, 2)
    with torch.no_grad():
        pieces = model.stream(model.predictor(model.condition(Given(), 2)), model.start(2, HOW, rng), HOW, rng)  # type: ignore[attr-defined]
        places = []
        for at, x in pieces:
            places.append(at)
            assert torch.equal(x[..., : at + 1], wanted[..., : at + 1])
    assert places == ([24, 49, LENGTH - 1] if way == "compiled" else list(range(LENGTH)))


def test_levels_come_as_often_as_the_mixture_says() -> None:
    g = torch.Generator().manual_seed(0)
    said, levels, n = torch.randn(1, 9, generator=g), 8, 20_000
    u = torch.rand(n, 2, generator=g).clamp_min(2**-25)
    share = torch.bincount(draw_levels(said.expand(n, -1), u, levels), minlength=levels) / n
    p = Mixture(said, 1, levels).next_value(torch.zeros(1, 1), 0).exp()[0]
    torch.testing.assert_close(share, p, atol=0.01, rtol=0)


def test_cold_levels_are_the_mean_of_the_likeliest_logistic() -> None:
    said = torch.tensor([[1.0, 0.5, -1.0, 0.9, -0.5, -1.0]])
    u = torch.rand(50, 2).clamp_min(2**-25)
    assert set(draw_levels(said.expand(50, -1), u, 256, 1e-6).tolist()) == {int(to_levels(torch.tensor(0.5), 256))}


# -- likelihood -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [Tokens((9,), 5), Real((1, 9), levels=65536)], ids=["tokens", "16 bits"])
def test_the_likelihood_is_the_product_of_what_the_sampler_is_told(space) -> None:
    model = build(space, 2)
    x, given = drawn(model, 3), asked(model, 3)
    predict, total = model.predictor(model.condition(given, 3)), torch.zeros(3)
    with torch.no_grad():
        for at in range(9):
            said = predict(x, at)
            if isinstance(model, OfTokens):
                total += said.log_softmax(-1).gather(1, x[:, at, None])[:, 0]
            else:
                number = to_levels(x[:, 0, at], 65536)[:, None]
                total += Mixture(said, 1, 65536).next_value(x[:, :, at], 0).gather(1, number)[:, 0]
        found = model.nll(Batch(x, given, Seeds.for_batch(0, 0, 3)))
    torch.testing.assert_close(found, -total, rtol=1e-4, atol=1e-3)


def test_a_window_costs_what_it_costs_in_the_whole_and_every_place_has_its_turn() -> None:
    model = build(CODES, 3, MEL, window=20, label_drop=0.0).train()
    x, given = torch.randint(16, (8, LENGTH)), asked(model, 8)
    costs = model.costs(whole(model, x), x)
    seen = set()
    for step in range(6):
        rng = Seeds.for_batch(0, step, 8)
        first, *_ = model._window(LENGTH, rng.fork(1))
        start = first + TINY.reach - 1
        part = costs.gather(1, start[:, None] + torch.arange(20))
        loss, stats = model.loss(Batch(x, given, rng), 0.0)
        torch.testing.assert_close(loss, part.mean(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(stats["bits_per_value"], part.mean() / math.log(2), rtol=1e-4, atol=1e-5)
        seen |= set(start.tolist())
    assert seen == {0, 20, 40}
    rng = Seeds.for_batch(0, 0, 8)
    torch.testing.assert_close(model.eval().loss(Batch(x, given, rng), 0.0)[0], costs.mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [20, 25])
def test_every_place_is_learnt_as_often_as_any_other(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 places the last window of 25 begins at 35, and what it has before 50 is the second window's."""
    model, tiles = build(CODES, 3, window=window, label_drop=0.0), -(-LENGTH // window)
    monkeypatch.setattr(Seeds, "uniform", lambda self: torch.arange(tiles) / tiles + 0.01)  # each window once
    _, places, new = model._window(LENGTH, Seeds.for_batch(0, 0, tiles))
    assert places.max() == LENGTH - 1 and new.shape == (tiles, window)
    assert torch.equal(places[:, -window:][new].sort().values, torch.arange(LENGTH))


# -- learning ---------------------------------------------------------------------------------------------------------


def learn(model: Waves, samples, steps: int, rate: float = 1e-2) -> None:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step in range(steps):
        x, given = samples(16, step)
        loss, _ = model.loss(Batch(x, given, Seeds.for_batch(0, step, 16)), step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def resonance(n: int, seed: int) -> Tensor:
    """x_t = 1.6 x_{t-1} - 0.9 x_{t-2} + 0.05 e_t, once it has settled: [n, 1, 100] on 256 levels."""
    e = 0.05 * torch.randn(n, 300, generator=torch.Generator().manual_seed(seed))
    x = torch.zeros(n, 302)
    for t in range(300):
        x[:, t + 2] = 1.6 * x[:, t + 1] - 0.9 * x[:, t] + e[:, t]
    return from_levels(to_levels(x[:, 202:], 256), 256)[:, None]


def test_it_learns_the_entropy_of_a_noisy_resonance_and_rings_like_it() -> None:
    """The noise of each value is what nobody can know: log(0.05 sqrt(2 pi e) / step) nats, step = 2 / 255."""
    net = dilated.Config(width=16, skip=16, layers=2, dilations=(1, 2))
    model = build(Real((1, 100), levels=256), stir=0, net=net, mixtures=2)
    learn(model, lambda n, seed: (resonance(n, seed), Given()), 120)
    entropy = math.log(0.05 * math.sqrt(2 * math.pi * math.e) * 255 / 2)
    with torch.no_grad():
        found = model.nll(Batch(resonance(64, 1000), Given(), Seeds.for_batch(0, 0, 64))).mean() / 100
    assert entropy - 0.02 < found < entropy + 0.15
    x = drawn(model, 64)[:, 0, 40:]
    one, two = ((x[:, lag:] * x[:, :-lag]).mean() / x.square().mean() for lag in (1, 2))
    assert one == pytest.approx(1.6 / 1.9, abs=0.06) and two == pytest.approx(1.6 * 1.6 / 1.9 - 0.9, abs=0.15)


def test_it_learns_a_melody_by_its_label_and_by_its_frames() -> None:
    """A period of 3 or of 5, told by a label, over tokens whose octave is told by frames."""

    def melodies(n: int, seed: int) -> tuple[Tensor, Given]:
        g = torch.Generator().manual_seed(seed)
        label, octave, phase = (torch.randint(2, (n,), generator=g) for _ in range(3))
        places = torch.arange(24) + phase[:, None]
        high = torch.where(torch.arange(24) < 12, octave[:, None], 1 - octave[:, None])
        period = torch.where(label == 0, 3, 5)[:, None]
        frames = torch.stack([octave, octave, 1 - octave, 1 - octave], 1)[:, None, None].float()
        return places % period + 5 * high, Given(label=label, image=frames)

    net = dilated.Config(width=16, skip=16, layers=4, dilations=(1, 2, 4, 8))
    model = build(Tokens((24,), 10), 2, Beside(image=Real((1, 1, 4))), stir=0, net=net, label_drop=0.0)
    learn(model, melodies, 120)
    wanted, given = melodies(32, 999)
    rng = Seeds.for_samples(0, 32)
    with torch.no_grad():
        made = model.draw(model.predictor(model.condition(given, 32)), model.start(32, HOW, rng), HOW, rng)
    assert ((made >= 5) == (wanted >= 5)).double().mean() > 0.98
    period = torch.where(given.label == 0, 3, 5)[:, None]  # type: ignore[operator]
    tune = made % 5
    assert (tune[:, 1:] == (tune[:, :-1] + 1) % period).double().mean() > 0.97


# -- the contract, for what the suite has no spaces of ----------------------------------------------------------------


@pytest.mark.parametrize("clause", CHECKS, ids=lambda clause: clause.__name__)
def test_levels_keep_their_contract_when_frames_are_given(clause) -> None:
    config, beside = wavenet.Config(net=dilated.Config.tiny()), Beside(image=Real((1, 3, 4)))
    clause(maker(config, Real((1, 12), levels=16), beside=beside))


def test_what_is_built_is_of_the_space() -> None:
    assert isinstance(build(SOUND), OfLevels) and isinstance(build(CODES), OfTokens)
    for space in (Real((1, 8)), Real((2, 8), levels=256), Real((3, 8, 8), levels=256), Real((2,))):
        with pytest.raises(MaquetteError, match="wavenet models take .*levels, but") as refused:
            wavenet.Config().build(space)
        assert refused.value.code == "MQ-2008" and "do: " in str(refused.value)


@pytest.mark.parametrize("field", [{"mixtures": 0}, {"window": -1}, {"label_width": 0}, {"label_drop": 1.0}])
def test_settings_out_of_range_are_refused(field: dict) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002"):
        wavenet.Config(**field)
