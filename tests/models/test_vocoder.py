"""The vocoder's losses by hand, what its critics see, and that it learns to sound."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.codecs import mel
from maquette.core import spectra
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Real
from maquette.evaluate.pictures import reconstructed, unlearnt
from maquette.media import wav
from maquette.models import vocoder
from maquette.pipeline import load
from maquette.train.recipe import Recipe
from maquette.train.session import prepare, start
from maquette.verbs.sample import sample
from tests.evaluate.made import SOUND as SOUNDS
from tests.evaluate.made import notes

SOUND = Real((1, 256), levels=65536)


def small(space: Real = SOUND, **fields) -> vocoder.Vocoder:
    torch.manual_seed(0)
    sizes = {"rate": 250, "width": 16, "blocks": 1, "periods": (2, 3), "critic_width": 4}
    return vocoder.Config(**{**sizes, **fields}).build(space)


def tones(n: int = 4, step: int = 0) -> Batch:
    """Sines of random pitch and phase."""
    rng = Seeds.for_batch(0, step, n)
    pitch, phase = 0.02 + 0.2 * rng.uniform(1), rng.uniform(1)
    x = 0.5 * torch.sin(2 * math.pi * (pitch * torch.arange(256) + phase))[:, None]
    return Batch(x.float(), Given(), rng.fork(1))


def test_its_codes_are_those_of_the_codec() -> None:
    model = small()
    x = tones().x
    assert torch.equal(model.encode(x), mel.Mel(SOUND, 250).encode(x))
    assert model.latent.shape == mel.Mel(SOUND, 250).space.shape
    assert model.decode(model.encode(x)).shape == x.shape


def test_frequencies_that_it_says_are_those_of_the_sound() -> None:
    """A generator whose last layer says the magnitudes and phases of a sound gives that sound."""
    model, x = small(), tones().x
    of_x = spectra.stft(x[:, 0], model.mel.hann)
    said = torch.cat([of_x.abs().clamp(min=1e-9).log(), of_x.angle()], 2)
    model.generator.blocks, model.generator.norm = torch.nn.ModuleList(), torch.nn.Identity()
    model.generator.enter = model.generator.leave = torch.nn.Identity()
    found = model.generator(said.mT[:, None])
    torch.testing.assert_close(found, x, atol=2e-5, rtol=0)


def test_critics_see_samples_a_period_apart_under_each_other() -> None:
    torch.manual_seed(0)
    critic = vocoder.Critic(4, 3)
    x = torch.arange(8.0).view(1, 1, 8)
    folded = critic.layers[0](torch.tensor([[0.0, 1, 2], [3, 4, 5], [6, 7, 0]])[None, None])
    torch.testing.assert_close(critic(x)[0], torch.nn.functional.leaky_relu(folded, 0.1))
    plain = vocoder.Critic(4, 1)
    pairs = plain.layers[0](torch.tensor([0.5, 2.5, 4.5, 6.5]).view(1, 1, 4, 1))
    torch.testing.assert_close(plain(x)[0], torch.nn.functional.leaky_relu(pairs, 0.1))


def test_losses_by_hand() -> None:
    """With critics that say 0 of everything the generator's game is a point for each of them (least squares without a
    half), and so is the critics'; likeness is the mean distance of log magnitudes in nats."""
    model, batch = small(features=0.0), tones()
    for critic in model.critic:
        torch.nn.init.zeros_(critic.say.bias)
        torch.nn.init.zeros_(critic.say.parametrizations.weight.original0)
    with torch.no_grad():
        loss, stats = model.generator_loss(batch, 0.0)
        apart = (model.encode(model.generator(model.encode(batch.x))) - model.encode(batch.x)).abs().mean()
        assert stats["game"].item() == pytest.approx(3)
        assert stats["unlike"].item() == pytest.approx(apart.item() * math.log(2 / 1e-4) / 2, rel=1e-5)
        assert loss.item() == pytest.approx(3 + 45 * stats["unlike"].item(), rel=1e-5)
        assert model.critic_loss(batch, 0.0)[0].item() == pytest.approx(3)


def test_what_critics_see_counts_as_features() -> None:
    model, batch = small(likeness=0.0), tones()
    with torch.no_grad():
        loss, stats = model.generator_loss(batch, 0.0)
        made = model.generator(model.encode(batch.x))
        seen = [(a - b).abs().mean() for c in model.critic for a, b in zip(c(batch.x)[:-1], c(made)[:-1], strict=True)]
    assert len(seen) == 3 * 4
    assert stats["features"].item() == pytest.approx(torch.stack(seen).sum().item(), rel=1e-5)
    assert loss.item() == pytest.approx((stats["game"] + 2 * stats["features"]).item(), rel=1e-5)


def test_it_learns_to_sound_like_its_spectrograms() -> None:
    """After some steps its own sound has nearer spectrograms than noise shaped by no learning."""
    model = small(width=32)
    players = model.players()
    moving = {name: torch.optim.AdamW(part.parameters(), lr=2e-3, betas=(0.8, 0.99)) for name, part in players.items()}
    first = model.generator_loss(tones(16, 999), 1.0)[1]["unlike"].item()
    for step in range(80):
        for turn in model.turns():
            loss, _ = turn.loss(tones(8, step), step / 80)
            for optimizer in moving.values():
                optimizer.zero_grad()
            loss.backward()
            moving[turn.player].step()
    assert model.generator_loss(tones(16, 999), 1.0)[1]["unlike"].item() < 0.4 * first


NARROW = {"kind": "vocoder", "width": 16, "blocks": 1, "periods": [2], "critic_width": 4, "rate": 4000}
NOISE = {"kind": "diffusion", "net": {"kind": "mlp", "width": 8, "depth": 1}, "data_std": 1.0, "steps": 2}


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few notes at 4 kHz."""
    folder = tmp_path_factory.mktemp("takes")
    for number, item in enumerate(notes().train.items[:24]):
        path = folder / ("test" if number % 3 == 0 else "train") / f"{number:02}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wav.write(item, 4000))
    return folder


def recipe(takes: Path, model: dict, codec: Path | None = None) -> Recipe:
    training = {"budget": "3steps", "batch": 4, "samples": 2, "sample_every": 1, "validate_every": 1, "device": "cpu"}
    tree = {"data": {"source": str(takes)}, "medium": SOUNDS.to_tree(), "model": model, "train": training}
    return Recipe.from_tree(tree | {"codec": codec and str(codec)})


def test_another_rate_than_the_sound_s_is_refused(takes: Path) -> None:
    """Its bands would be those of another rate."""
    with pytest.raises(MaquetteError, match=r"model.rate: 8000 (.|\n)*set model.rate=4000") as refused:
        prepare(recipe(takes, NARROW | {"rate": 8000}))
    assert refused.value.code == "MQ-2009"


def test_a_model_behind_it_is_heard_through_it(takes: Path, tmp_path: Path) -> None:
    vocoder_run = start(recipe(takes, NARROW), tmp_path / "vocoder", quiet=True)
    run = start(recipe(takes, NOISE, vocoder_run.path), tmp_path / "run", quiet=True)
    own, behind, items = load(vocoder_run.path, "cpu"), load(run.path, "cpu"), notes().test.items[:4]
    assert behind.model.space.shape == own.model.latent.shape == (1, 32, 8)
    kept = behind.kept(items).astype(int)
    assert np.abs(kept - reconstructed(own, items)).max() <= 1  # whitened and back
    griffin_lim = unlearnt(own, items)["Griffin-Lim"]
    assert np.array_equal(
        griffin_lim, own.medium.from_tensor(own.model.mel.decode(own.model.encode(own.encoded(items))))
    )
    assert np.abs(griffin_lim - kept).max() > 1000  # it has learnt nothing yet
    (path,) = sample(run.path, n=1, out=tmp_path / "made").paths
    assert own.medium.read(path).any()


def test_other_samples_are_refused() -> None:
    for space in (Real((2, 256)), Real((1, 8, 8))):
        with pytest.raises(MaquetteError) as refused:
            small(space)
        assert refused.value.code == "MQ-2008"
    with pytest.raises(MaquetteError):
        vocoder.Config(periods=(2, 2))
