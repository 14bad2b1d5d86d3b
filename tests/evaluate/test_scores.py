"""The smaller scores: Inception-style score, modes, likelihood, PSNR, SSIM, cost, intervals."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.inception import InceptionScore

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Likelihood, Marks, Tokens
from maquette.evaluate.scores import cost, intervals
from maquette.evaluate.scores.inception_score import inception_score
from maquette.evaluate.scores.intervals import Estimate
from maquette.evaluate.scores.likelihood import likelihood, perplexity, unit
from maquette.evaluate.scores.modes import modes_found
from maquette.evaluate.scores.reconstruction import kept, psnr, ssim
from maquette.media import image, points, text


def pictures(n: int, channels: int, side: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, side, side, generator=draw) * 2 - 1


# -- Inception-style score --------------------------------------------------------------------------------------------


def test_inception_score_of_known_predictions() -> None:
    """Sure of each of K classes, all equally often: K. Always the same: 1."""
    sure = torch.eye(8).repeat(10, 1) * 100
    assert inception_score(sure).value == pytest.approx(8, rel=1e-9)
    assert inception_score(torch.ones(50, 8)).value == pytest.approx(1, rel=1e-9)
    assert inception_score(sure[:1].repeat(40, 1)).value == pytest.approx(1, rel=1e-9)


def logits_of(x: Tensor) -> Tensor:
    """Of 8-bit pictures, which is what torchmetrics hands to its network."""
    return x.flatten(1).float() / 64


class Logits(nn.Module):
    num_features = 16

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(x)


@pytest.mark.filterwarnings("ignore:.*will save all extracted features.*", "ignore:std")
def test_inception_score_agrees_with_torchmetrics() -> None:
    x = ((pictures(300, 1, 4, 0) + 1) * 127.5).to(torch.uint8)
    peer = InceptionScore(feature=Logits(), splits=1)
    peer.update(x)
    assert inception_score(logits_of(x)).value == pytest.approx(float(peer.compute()[0]), rel=1e-5)


# -- modes ------------------------------------------------------------------------------------------------------------


def test_modes_by_hand() -> None:
    """1,000 points, so 5 make a mode: 600 at the first, 396 off every mode, 4 at the second, which is too few."""
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = torch.cat([torch.zeros(600, 2), torch.full((396, 2), 0.5), centres[1:2].repeat(4, 1)])
    modes = modes_found(points, centres, sigma=0.05)
    assert (modes.found, modes.total) == (1, 3)
    assert modes.quality.value == pytest.approx(0.604)
    assert modes_found(torch.cat([points, centres[1:2]]), centres, 0.05).found == 2


def test_four_sigma_is_the_border() -> None:
    centres = torch.zeros(1, 2)
    near, far = torch.tensor([[0.399, 0.0]]), torch.tensor([[0.401, 0.0]])
    assert modes_found(near, centres, 0.1).quality.value == 1
    assert modes_found(far, centres, 0.1).quality.value == 0


# -- likelihood -------------------------------------------------------------------------------------------------------


class Even(Likelihood):
    """Every value of 256 levels is equally probable."""

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        return torch.full((len(batch),), batch.x[0].numel() * math.log(256))


class Normal(Likelihood):
    """Independent standard normals."""

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        return (batch.x**2 / 2 + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def batches(x: Tensor) -> list[Batch]:
    return [Batch(part, Given(), Seeds.for_batch(0, i, len(part))) for i, part in enumerate(x.split(10))]


def test_bits_per_dimension_of_the_even_law_are_8() -> None:
    medium = image.Config(size=8, channels=3).build()
    estimate = likelihood(Even(), batches(torch.zeros(25, 3, 8, 8)), medium)
    assert estimate.value == pytest.approx(8) and estimate.low == pytest.approx(8)
    assert unit(medium) == "bits per dimension" and unit(text.Config().build()) == "bits per byte"


def test_nats_on_a_continuum() -> None:
    """The entropy of two standard normals is 1 + ln 2 pi."""
    draw = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    estimate = likelihood(Normal(), batches(draw), points.Config().build())
    assert estimate.low is not None and estimate.high is not None
    assert estimate.low < 1 + math.log(2 * math.pi) < estimate.high
    assert unit(points.Config().build()) == "nats per sample"


def test_bits_per_byte_do_not_depend_on_the_tokens() -> None:
    """A model that gives every token 1/4 pays 2 bits for each: per byte less, where a token is more bytes."""
    medium = text.Config(tokenizer="character", vocabulary="a春", length=8).build()

    class Quarter(Likelihood):
        def nll(self, batch: Batch) -> Float[Tensor, " b"]:
            return torch.full((len(batch),), 8 * math.log(4))

    windows = [medium.to_tensor(np.stack([medium.from_bytes((8 * c).encode(), "x")])) for c in "a春"]
    bits = [likelihood(Quarter(), batches(x), medium) for x in windows]
    assert [b.value for b in bits] == [pytest.approx(2), pytest.approx(2 / 3)]
    assert [perplexity(b, x, medium).value for b, x in zip(bits, windows, strict=True)] == [pytest.approx(4)] * 2


def test_perplexity_goes_with_its_interval_and_stays_a_number() -> None:
    medium = text.Config(tokenizer="byte", length=8).build()
    x = medium.to_tensor(medium.from_bytes(b"abcdefgh", "x")[None])
    found = perplexity(Estimate(3.0, 2.0, 4.0, "m"), x, medium)
    assert (found.value, found.low, found.high, found.method) == (8.0, 4.0, 16.0, "m")
    assert math.isfinite(perplexity(Estimate(1e9), x, medium).value)


# -- reconstructions --------------------------------------------------------------------------------------------------


def test_psnr_by_hand() -> None:
    """Off by 0.1 where the span is 1: 20 dB."""
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert psnr(x, x + 0.1, 1.0) == pytest.approx(20, abs=1e-4)
    assert psnr(x, x, 1.0) == math.inf


def test_ssim_by_hand() -> None:
    """Equal: 1. Constants 0.5 and 0.6: (2 * 0.3 + 1e-4) / (0.25 + 0.36 + 1e-4)."""
    x = pictures(3, 3, 16, 0)
    assert ssim(x, x, 2.0).value == pytest.approx(1)
    flat = torch.full((2, 1, 16, 16), 0.5)
    assert ssim(flat, flat + 0.1, 1.0).value == pytest.approx(0.6001 / 0.6101, rel=1e-5)


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32), (3, 8)])
def test_agree_with_torchmetrics(channels: int, side: int) -> None:
    x = pictures(6, channels, side, 0)
    y = (x + 0.3 * pictures(6, channels, side, 1)).clamp(-1, 1)
    assert psnr(x, y, 2.0) == pytest.approx(float(peak_signal_noise_ratio(y, x, data_range=2.0)), rel=1e-5)
    peer = float(structural_similarity_index_measure(y.double(), x.double(), data_range=2.0))  # type: ignore[arg-type]
    assert ssim(x, y, 2.0).value == pytest.approx(peer, rel=1e-5)


def test_tokens_kept_by_hand() -> None:
    """Of END a b END and its padding three count; of a question and its answer b END two."""
    space = Tokens((6,), 9, Marks(0, 1, 2))
    x = torch.tensor([[0, 5, 6, 0, 0, 0], [0, 1, 5, 2, 6, 0]])
    copies = torch.tensor([[7, 5, 8, 0, 8, 8], [0, 1, 8, 2, 8, 0]])
    assert kept(x, copies, space).value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert kept(x, x, space).value == 1
    assert kept(x[:, 1:], copies[:, 1:], Tokens((5,), 9)).value == pytest.approx((2 / 5 + 3 / 5) / 2)


# -- cost and intervals -----------------------------------------------------------------------------------------------


def test_cost() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    net.append(net[0])
    assert cost.parameters(net) == 3 * 4 + 4 + 8
    done = cost.timed(lambda: sum(range(1000)), torch.device("cpu"))
    assert done.result == 499500 and done.seconds > 0 and done.peak_bytes > 1 << 20


def test_student_interval_by_hand() -> None:
    """1, 2, 3: mean 2, standard error 1/sqrt 3, t(2) = 4.3027."""
    estimate = intervals.of_mean([1.0, 2.0, 3.0], "m")
    assert estimate.high == pytest.approx(2 + 4.302653 / 3**0.5, rel=1e-6)
    assert intervals.of_mean([5.0], "m") == intervals.Estimate(5.0)


def test_jackknife_of_a_mean_is_the_usual_error() -> None:
    values = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    groups = [values[s].mean() for s in intervals.group_slices(100)]
    left = [(values.sum() - values[s].sum()) / 90 for s in intervals.group_slices(100)]
    a = intervals.jackknife(float(values.mean()), [float(v) for v in left])
    b = intervals.of_mean([float(g) for g in groups], "")
    assert (a.low, a.high) == pytest.approx((b.low, b.high), rel=1e-9)


def test_groups_share_rows_evenly() -> None:
    slices = intervals.group_slices(23)
    assert [s.stop - s.start for s in slices].count(3) == 3 and slices[-1].stop == 23


def test_shares_stay_possible() -> None:
    estimate = intervals.Estimate(0.9, -0.8, 1.2, "").as_share()
    assert (estimate.low, estimate.high) == (0, 1)
    assert intervals.Estimate(0.9).as_share().high is None


# -- intervals of shares and of means ---------------------------------------------------------------------------------


def test_wilsons_interval_by_hand() -> None:
    """8 of 10 right: (p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1.96."""
    found = intervals.wilson(8, 10)
    assert found.value == 0.8
    assert (found.low, found.high) == (pytest.approx(0.49016, abs=1e-5), pytest.approx(0.94332, abs=1e-5))
    assert intervals.wilson(10, 10).high == pytest.approx(1) and intervals.wilson(0, 10).low == pytest.approx(0)


def test_a_bootstrap_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).tolist()
    found, again = intervals.bootstrapped(values), intervals.bootstrapped(values)
    assert found == again and found.low is not None and found.high is not None
    mean, spread = float(np.mean(values)), float(np.std(values))
    assert found.value == pytest.approx(mean)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread / 20, rel=0.1)
    assert intervals.bootstrapped([0.5, 0.5]).low == 0.5
