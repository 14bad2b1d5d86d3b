"""The domain extractor: a small network that learns the data at hand, for when the standard one cannot be had.

It is trained on the training split alone: to tell the labels where there are at least two, otherwise to tell by how
many quarter turns a picture was turned (Gidaris et al. 2018). Features are its penultimate layer, which knows what is
shown, and the means of its earlier maps, which know how it is drawn (blur and noise move them); each is scaled to unit
variance over the training split. It is trained once for given data and seed and kept in the cache folder, and the hash
of its weights is in every stamp.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core import cancel, files
from maquette.core.errors import MaquetteError
from maquette.core.seeds import mix
from maquette.data.dataset import Dataset
from maquette.media.base import Medium

VERSION = 1
"""Counts up whenever the same data and seed would give other weights."""
PASSES = 32_000
"""Pictures seen in training, counted with repetition."""
BATCH = 128
RATE = 4e-3
ITEMS = 20_000
"""At most so many of the training split are learnt from; a seed picks them."""
HELD = 2_000
WIDTHS = (32, 64, 96, 128)
"""Channels of the convolutions, one after the other."""
WIDTH = 64
"""Of the penultimate layer."""
SIDE = 64
"""Larger pictures are averaged down to at most this."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"
Pictures = Float[Tensor, "b c h w"]


class Domain(nn.Module):
    """Pictures in [-1, 1] -> features and logits.

    Args:
        channels, size: of the pictures.
        classes: of its task.
        task: "labels" or "turns".

    Attributes:
        accuracy: share of held-out pictures it gets right.
        pool: each so many pixels square are averaged before the first layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, size: int, classes: int, task: str):
        super().__init__()
        self.task, self.accuracy = task, 0.0
        self.pool = -(-size // SIDE)
        side, source = size // self.pool, channels
        self.blocks = nn.ModuleList()
        while side > 4 or len(self.blocks) < 2:
            number = len(self.blocks)
            # the second layer keeps its resolution where that is cheap: blur shows at small scales
            stride = 1 if number == 1 and side <= 16 else 2
            width = WIDTHS[min(number, len(WIDTHS) - 1)]
            self.blocks.append(_block(source, width, 3 if number else 5, stride))
            source, side = width, -(-side // stride)
        self.deep = nn.Sequential(
            nn.Flatten(), nn.Linear(source * side * side, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU()
        )
        self.head = nn.Linear(WIDTH, classes)
        widths = [block[0].out_channels for block in self.blocks[:-1]]  # type: ignore[index]
        self.register_buffer("mean", torch.zeros(sum(widths) + WIDTH))
        self.register_buffer("deviation", torch.ones(sum(widths) + WIDTH))

    def logits(self, x: Pictures) -> Float[Tensor, "b k"]:
        return self.head(self._deep_and_maps(x)[0])

    def forward(self, x: Pictures) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Features of unit variance, and logits."""
        deep, maps = self._deep_and_maps(x)
        features = torch.cat([deep, *(m.mean((2, 3)) for m in maps)], 1)
        return (features - self.mean) / self.deviation, self.head(deep)

    def maps(self, x: Pictures) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps of all convolutions but the last, from the first on."""
        return self._deep_and_maps(x)[1]

    def _deep_and_maps(self, x: Pictures) -> tuple[Float[Tensor, "b d"], list[Float[Tensor, "b _ _ _"]]]:
        x = F.avg_pool2d(x, self.pool) if self.pool > 1 else x
        x = x.contiguous(memory_format=torch.channels_last)
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return self.deep(x), maps[:-1]


def _block(source: int, target: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(source, target, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(target), nn.ReLU(inplace=True))


# -- once for each data set -------------------------------------------------------------------------------------------


def train_or_load(
    dataset: Dataset, medium: Medium, device: torch.device, seed: int, say: Callable[[str], None]
) -> tuple[Domain, str]:
    """The network for these data and this seed, from the cache folder or trained now, and its weights' SHA-256."""
    classes = len(dataset.classes)
    config = {
        "version": VERSION,
        "data": dataset.fingerprint,
        "space": str(medium.space),
        "seed": seed,
        "task": "labels" if classes > 1 else "turns",
        "classes": classes if classes > 1 else 4,
    }
    folder = files.cache_folder() / "extractors" / files.digest(json.dumps(config, sort_keys=True).encode())[:24]
    with contextlib.suppress(MaquetteError):  # not there, or not whole: it can be made again
        return _read(folder, config, medium)
    say("training the domain extractor (once for these data)")
    network = train(dataset, medium, config["task"], config["classes"], seed, device)
    say(f"domain extractor: {network.accuracy:.1%} of held-out pictures right")

    def fill(here: Path) -> None:
        files.put_json(here / CONFIG, config | {"accuracy": network.accuracy})
        files.put_tensors(here / WEIGHTS, network.state_dict())

    files.commit_folder(folder, fill)
    # read back, so that the first evaluation computes in the very layout of all later ones
    return _read(folder, config, medium)


def _read(folder: Path, config: dict, medium: Medium) -> tuple[Domain, str]:
    """What the cache folder holds; raises `MaquetteError` unless it is whole and just this."""
    kept = files.Folder(folder)
    tree, weights = kept.read_json(CONFIG), kept.read_tensors(WEIGHTS)
    accuracy = tree.pop("accuracy", None)
    if tree != config or not isinstance(accuracy, float):
        raise kept.damaged(f"{CONFIG} describes another network")
    network = _build(medium, config["task"], config["classes"])
    network.load_state_dict(weights)
    network.accuracy = accuracy
    return network.eval().requires_grad_(False), kept.listed[WEIGHTS]["sha256"]


def _build(medium: Medium, task: str, classes: int) -> Domain:
    channels, size, _ = medium.space.shape
    return Domain(channels, size, classes, task).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# -- learning ---------------------------------------------------------------------------------------------------------


def train(dataset: Dataset, medium: Medium, task: str, classes: int, seed: int, device: torch.device) -> Domain:
    """A fresh network trained on `dataset.train`; a function of the data and the seed (on one kind of device)."""
    draw = torch.Generator().manual_seed(mix(seed, VERSION))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed, VERSION, 1))
        network = _build(medium, task, classes)
    network = network.to(device)
    rows = np.sort(torch.randperm(len(dataset.train), generator=draw)[:ITEMS].numpy())
    labels = torch.from_numpy(np.asarray(dataset.train.labels)[rows])
    x = medium.to_tensor(np.asarray(dataset.train.items[rows]))
    if task == "labels":
        x, labels = x[labels >= 0], labels[labels >= 0]
    _fit(network, x, labels, task, draw, device)
    network.eval().requires_grad_(False)
    _scale(network, x[torch.randperm(len(x), generator=draw)[:HELD]], device)
    network.accuracy = _accuracy(network, dataset, medium, task, device)
    return network


def _fit(
    network: Domain, x: Pictures, labels: Int[Tensor, " n"], task: str, draw: torch.Generator, device: torch.device
) -> None:
    steps = max(1, PASSES // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for rows in _orders(len(x), steps, draw):
        cancel.check()
        pictures, answers = _task(_moved(x[rows], draw), labels[rows], task)
        loss = F.cross_entropy(network.logits(pictures.to(device)), answers.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()


def _orders(n: int, steps: int, draw: torch.Generator) -> Iterator[Int[Tensor, " b"]]:
    """Rows of each step's batch: permutations one after the other."""
    rows = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        while len(rows) < BATCH:
            rows = torch.cat([rows, torch.randperm(n, generator=draw)])
        yield rows[:BATCH]
        rows = rows[BATCH:]


def _moved(x: Pictures, draw: torch.Generator) -> Pictures:
    """The batch moved by up to 1/16 of its side, edges repeated: features should not hang on exact places."""
    side = x.shape[2]
    most = max(1, side // 16)
    down, across = torch.randint(2 * most + 1, (2,), generator=draw).tolist()
    return F.pad(x, (most,) * 4, mode="replicate")[:, :, down : down + side, across : across + side]


def _task(x: Pictures, labels: Int[Tensor, " b"], task: str) -> tuple[Pictures, Int[Tensor, " b"]]:
    """The pictures and the right answers: their labels, or a quarter each turned 0, 1, 2 and 3 times."""
    if task == "labels":
        return x, labels
    turned = [torch.rot90(part, turns, (2, 3)) for turns, part in enumerate(x.tensor_split(4))]
    return torch.cat(turned), torch.cat([torch.full((len(part),), i) for i, part in enumerate(turned)])


@torch.inference_mode()
def _scale(network: Domain, x: Pictures, device: torch.device) -> None:
    """Set the features' means and deviations; one that never varies is left at 0."""
    features = torch.cat([network(part.to(device))[0] for part in x.split(BATCH)])
    deviation = features.std(0)
    network.mean.copy_(features.mean(0))
    network.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))


@torch.inference_mode()
def _accuracy(network: Domain, dataset: Dataset, medium: Medium, task: str, device: torch.device) -> float:
    """Share of (at most `HELD`) test pictures it gets right; of training ones when there is no test split."""
    split = dataset.test if len(dataset.test) else dataset.train
    rows = np.linspace(0, len(split) - 1, min(HELD, len(split))).astype(int)
    x, labels = medium.to_tensor(np.asarray(split.items[rows])), torch.from_numpy(np.asarray(split.labels)[rows])
    right = []
    for pictures, truth in zip(x.split(BATCH), labels.split(BATCH), strict=True):
        pictures, answers = _task(pictures, truth, task)
        right.append((network.logits(pictures.to(device)).argmax(1).cpu() == answers)[answers >= 0])
    return float(torch.cat(right).float().mean())
