"""Training DCGAN on 64x64 colour, batch 64: the same networks, at the paper's width."""

from benchmarks import ours, peers
from benchmarks.harness import WORK

TITLE = "DCGAN training, 64x64 colour, batch 64"
UNIT = "images"
PAIRS = [("maquette", "pytorch/examples", 2.7)]


def maquette():
    learner = ours.learner(
        "dcgan",
        peers.test_data("faces_64"),
        "medium.size=64",
        "medium.channels=3",
        "train.batch=64",
        "model.generator.width=64",
        "model.critic.width=64",
    )
    return lambda: ours.step(learner), ours.facts(learner)


def example():
    images = peers.to_unit(peers.pictures("faces_64", "train", 64, 3)[0])
    images = images[: len(images) // 64 * 64]  # whole batches only
    loop = peers.Stepwise(lambda tick: peers.run_dcgan_example(images, WORK / "dcgan", tick))

    def work() -> int:
        loop.work()
        return 64

    return work, {"batch": 64}


CONTESTANTS = {"maquette": maquette, "pytorch/examples": example}
