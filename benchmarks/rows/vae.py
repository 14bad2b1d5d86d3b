"""Training a VAE of two layers (784-512-16-512-784) on 28x28 grey pictures, batch 64: pythae's default networks and its
own trainer against the same sizes here, both with the Bernoulli likelihood and Adam."""

from benchmarks import ours, peers
from benchmarks.harness import WORK

TITLE = "VAE training, MLP, 28x28 grey, batch 64"
UNIT = "images"
PAIRS = [("maquette", "pythae", 1.9)]
LATENT = 16
AS_PYTHAE = ["model.likelihood=bernoulli", f"model.latent={LATENT}", "medium.size=28", "train.batch=64"]


def maquette():
    learner = ours.learner("vae-mlp", peers.test_data("fashion_mnist"), *AS_PYTHAE)
    return lambda: ours.step(learner), ours.facts(learner)


def pythae():
    from benchmarks.pythae_peer import build, train

    items = peers.pictures("fashion_mnist", "train")[0][:12_800].float() / 255
    model = build(LATENT)
    loop = peers.Stepwise(lambda tick: train(model, items, WORK / "pythae", tick))

    def work() -> int:
        loop.work()
        return 64

    return work, {"parameters": peers.count(model), "batch": 64}


CONTESTANTS = {"maquette": maquette, "pythae": pythae}
