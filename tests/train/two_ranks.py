"""One process of two (or the only one) in test_distributed.py: trains a little and writes what it came to.

python -m tests.train.two_ranks FOLDER, with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT as torchrun sets them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from maquette.core.files import digest
from maquette.train.loop import take_step
from maquette.train.recipe import Recipe
from maquette.train.session import prepare, resume, start
from tests.train.tiny import ring

NET = {"kind": "convnet", "width": 8, "widest": 16}
MODELS: dict[str, dict[str, Any]] = {
    "gan": {"kind": "gan", "latent": 8, "generator": NET, "critic": NET | {"norm": "spectral"}, "r1": 0.1},
    "vae": {"kind": "vae", "latent": 4, "encoder": NET, "decoder": NET, "label_width": 8},
}
STEPS = 20


def recipe(family: str) -> Recipe:
    train = {"budget": f"{STEPS}steps", "batch": 16, "clip": 5.0, "device": "cpu"}
    tree = {"data": {"source": "digits", "conditional": True}, "medium": {"kind": "image", "size": 8, "channels": 1}}
    return Recipe.from_tree(tree | {"model": MODELS[family], "train": train})


def learn(family: str) -> dict[str, Any]:
    """The losses of each step, averaged over ranks, and a digest of the weights at the end."""
    learner, losses = prepare(recipe(family)), []
    for _ in range(STEPS):
        notes = take_step(learner)
        losses.append({k: float(learner.ranks.mean(v)) for k, v in notes.items() if k.endswith(".loss")})
        learner.clock.tick()
    learner.settle()
    state = learner.model.state_dict() | {f"ema.{k}": v for k, v in learner.ema.model.state_dict().items()}
    data = b"".join(value.contiguous().numpy().tobytes() for value in state.values())
    return {"losses": losses, "digest": digest(data), "rank": learner.ranks.rank}


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    said = {family: learn(family) for family in MODELS}
    start(ring(), folder / "run", quiet=True)
    resume(folder / "run", quiet=True, budget="15steps")
    (folder / f"{said['gan']['rank']}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
