"""The domain extractor: a small network that learns the data at hand, for when the standard one cannot be had.

It is trained on the training split alone: to tell the labels where there are at least two, otherwise to tell by how
many quarter turns a picture was turned (Gidaris et al. 2018); of sound and films whether they run backwards, stand on
their heads (low frequencies being the feet of a sound), both or neither. Features are its penultimate layer, which
knows what is shown, and the means of its earlier maps, which know how it is drawn (blur and noise move them); each is
scaled to unit variance over the training split. It is trained once for given data and seed and kept in the cache
folder, and the hash of its weights is in every stamp.

Sound is seen as log-mel spectrograms (`core/spectra.py`), films are seen by convolutions over time too.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core import cancel, files, spectra
from maquette.core.errors import MaquetteError, Sentence
from maquette.core.seeds import mix
from maquette.core.types import Real
from maquette.data.dataset import Dataset
from maquette.media.base import Medium
from maquette.nets import dims

VERSION = 1
"""Counts up whenever the same data and seed would give other weights."""
PASSES = 32_000
"""Samples seen in training, counted with repetition; films, which take several times as long, are half as many."""
BATCH = 128
RATE = 4e-3
ITEMS = 20_000
"""At most so many of the training split are learnt from; a seed picks them."""
HELD = 2_000
WIDTHS = (32, 64, 96, 128)
"""Channels of the convolutions, one after the other."""
WIDTH = 64
"""Of the penultimate layer."""
HISS = (10.0, 60.0)
"""Decibels."""
MOST = {1: (1024,), 2: (64, 64), 3: (64, 32, 32)}
"""Places along each axis of what is looked at; what is larger is averaged down to at most this."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
Samples = Float[Tensor, "b c *space"]


class Domain(nn.Module):
    """Samples in [-1, 1] -> features and logits.

    Args:
        space: of the samples.
        rate: of sound, which is looked at by its spectrogram; of what has none (0) the values themselves are.
        classes: of its task.
        task: "labels", "turns" or "flips".

    Attributes:
        accuracy: share of held-out samples it gets right.
        pool: of each axis so many places are averaged before the first layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, space: Real, classes: int, task: str, rate: int = 0):
        super().__init__()
        self.task, self.accuracy, self.rate = task, 0.0, rate if len(space.shape) == 2 else 0
        channels, *sides = space.shape
        if self.rate:
            hop, _, bands = spectra.sizes(rate)
            sides = [bands, -(-sides[0] // hop)]
        self.pool = tuple(-(-side // most) for side, most in zip(sides, MOST[len(sides)], strict=True))
        sides = [side // pool for side, pool in zip(sides, self.pool, strict=True)]
        source = channels
        self.blocks = nn.ModuleList()
        while max(sides) > 4 or len(self.blocks) < 2:
            number = len(self.blocks)
            # the second layer keeps its resolution where that is cheap: blur shows at small scales
            fine = number == 1 and len(sides) < 3 and max(sides) <= 16
            stride = tuple(1 if fine or side <= 4 else 2 for side in sides)
            width = WIDTHS[min(number, len(WIDTHS) - 1)]
            self.blocks.append(_block(source, width, 3 if number else 5, stride))
            source, sides = width, [-(-side // step) for side, step in zip(sides, stride, strict=True)]
        self.deep = nn.Sequential(
            nn.Flatten(),
            nn.Linear(source * math.prod(sides), WIDTH, bias=False),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
        )
        self.head = nn.Linear(WIDTH, classes)
        widths = [block[0].out_channels for block in self.blocks[:-1]]  # type: ignore[index]
        self.register_buffer("mean", torch.zeros(sum(widths) + WIDTH))
        self.register_buffer("deviation", torch.ones(sum(widths) + WIDTH))

    def view(self, x: Samples) -> Float[Tensor, "b c *view"]:
        """What is looked at: of sound its log-mel spectrogram."""
        return spectra.log_mel(x, spectra.bank(self.rate).to(x.device)) if self.rate else x

    def logits(self, view: Samples) -> Float[Tensor, "b k"]:
        return self.head(self._deep_and_maps(view)[0])

    def forward(self, x: Samples) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Features of unit variance, and logits."""
        deep, maps = self._deep_and_maps(self.view(x))
        features = torch.cat([deep, *(m.mean(tuple(range(2, m.ndim))) for m in maps)], 1)
        return (features - self.mean) / self.deviation, self.head(deep)

    def maps(self, x: Samples) -> list[Float[Tensor, "b _ *_"]]:
        """The maps of all convolutions but the last, from the first on."""
        return self._deep_and_maps(self.view(x))[1]

    def _deep_and_maps(self, x: Samples) -> tuple[Float[Tensor, "b d"], list[Float[Tensor, "b _ *_"]]]:
        x = dims.pooled(x, self.pool) if max(self.pool) > 1 else x
        x = x.contiguous(memory_format=LAYOUTS.get(x.ndim, torch.contiguous_format))
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return self.deep(x), maps[:-1]


def _block(source: int, target: int, kernel: int, stride: tuple[int, ...]) -> nn.Sequential:
    conv = dims.conv(len(stride), source, target, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, NORMS[len(stride)](target), nn.ReLU(inplace=True))


# -- once for each data set -------------------------------------------------------------------------------------------


def train_or_load(
    dataset: Dataset, medium: Medium, device: torch.device, seed: int, say: Callable[[str], None]
) -> tuple[Domain, str]:
    """The network for these data and this seed, from the cache folder or trained now, and its weights' SHA-256."""
    classes, alone = len(dataset.classes), "turns" if len(medium.space.shape) == 3 else "flips"
    config = {
        "version": VERSION,
        "data": dataset.fingerprint,
        "space": str(medium.space),
        "seed": seed,
        "task": "labels" if classes > 1 else alone,
        "classes": classes if classes > 1 else 4,
    }
    folder = files.cache_folder() / "extractors" / files.digest(json.dumps(config, sort_keys=True).encode())[:24]
    with contextlib.suppress(MaquetteError):  # not there, or not whole: it can be made again
        return _read(folder, config, medium)
    say(Sentence("training the domain extractor (once for these data)", "正在训练领域特征提取器（这些数据只需一次）"))
    network = train(dataset, medium, config["task"], config["classes"], seed, device)
    said, zh = f"{network.accuracy:.1%} of held-out samples right", f"留出样本的准确率为 {network.accuracy:.1%}"
    say(Sentence(f"domain extractor: {said}", f"领域特征提取器：{zh}"))

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
    assert isinstance(medium.space, Real), "who can be looked at has values"
    network = Domain(medium.space, classes, task, medium.rate)
    layout = LAYOUTS.get(len(network.pool) + 2, torch.contiguous_format)
    return network.to(memory_format=layout)  # type: ignore[call-overload]


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
    if task == "labels":
        rows, labels = rows[labels.numpy() >= 0], labels[labels >= 0]

    def read(some: Int[Tensor, " b"]) -> Samples:  # a batch at a time: all films at once would fill the memory
        return medium.to_tensor(np.asarray(dataset.train.items[rows[some.numpy()]]))

    _fit(network, read, labels, draw, device)
    network.eval().requires_grad_(False)
    _scale(network, map(read, torch.randperm(len(rows), generator=draw)[:HELD].split(BATCH)), device)
    network.accuracy = _accuracy(network, dataset, medium, task, device)
    return network


def _fit(
    network: Domain,
    read: Callable[[Int[Tensor, " b"]], Samples],
    labels: Int[Tensor, " n"],
    draw: torch.Generator,
    device: torch.device,
) -> None:
    """Train `network` on samples that `read` gives by their rows."""
    steps = max(1, PASSES // (2 if len(network.pool) > 2 else 1) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for rows in _orders(len(labels), steps, draw):
        cancel.check()
        x = _hissing(read(rows), draw) if network.rate else read(rows)
        view, answers = _task(_moved(network.view(x), bool(network.rate), draw), labels[rows], network.task)
        loss = F.cross_entropy(network.logits(view.to(device)), answers.to(device))
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


def _hissing(x: Samples, draw: torch.Generator) -> Samples:
    """Sounds, half of them with white noise, by `HISS` fainter than they are: what is said does not hang on silences
    being silent, which they are in no sound that a model made."""
    low, high = HISS
    level = 10 ** (-(low + (high - low) * torch.rand(len(x), generator=draw)) / 20)
    level = level * (torch.rand(len(x), generator=draw) < 0.5) * x.square().mean((1, 2)).sqrt()
    return x + level[:, None, None] * torch.randn(x.shape, generator=draw)


def _moved(x: Samples, heard: bool, draw: torch.Generator) -> Samples:
    """The batch moved by up to 1/16 of its side, edges repeated: features should not hang on exact places.

    What is heard keeps its pitch and moves in time alone.
    """
    side = x.shape[-1]
    most = max(1, side // 16)
    if heard or x.ndim == 3:
        (across,) = torch.randint(2 * most + 1, (1,), generator=draw).tolist()
        return F.pad(x.flatten(1, -2), (most, most), mode="replicate")[..., across : across + side].view_as(x)
    down, across = torch.randint(2 * most + 1, (2,), generator=draw).tolist()
    frames = x.flatten(1, -3) if x.ndim > 4 else x
    return F.pad(frames, (most,) * 4, mode="replicate")[..., down : down + side, across : across + side].reshape(
        x.shape
    )


def _task(x: Samples, labels: Int[Tensor, " b"], task: str) -> tuple[Samples, Int[Tensor, " b"]]:
    """Samples and the right answers: their labels, or a quarter each turned 0, 1, 2 and 3 times, or a quarter each left
    alone, reversed along one axis, along the other and along both."""
    if task == "labels":
        return x, labels
    if task == "turns":
        changed = [torch.rot90(part, turns, (2, 3)) for turns, part in enumerate(x.tensor_split(4))]
    else:
        changed = [_flipped(part, way) for way, part in enumerate(x.tensor_split(4))]
    return torch.cat(changed), torch.cat([torch.full((len(part),), i) for i, part in enumerate(changed)])


def _flipped(x: Samples, way: int) -> Samples:
    """Reversed along the first axis after the channels for an odd `way`, along the second from 2 on; values that have
    one axis alone change their sign instead."""
    x = x.flip(2) if way % 2 else x
    return x if way < 2 else x.flip(3) if x.ndim > 3 else -x


@torch.inference_mode()
def _scale(network: Domain, parts: Iterable[Samples], device: torch.device) -> None:
    """Set the features' means and deviations; one that never varies is left at 0."""
    features = torch.cat([network(part.to(device))[0] for part in parts])
    deviation = features.std(0)
    network.mean.copy_(features.mean(0))
    network.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))


@torch.inference_mode()
def _accuracy(network: Domain, dataset: Dataset, medium: Medium, task: str, device: torch.device) -> float:
    """Share of (at most `HELD`) test samples it gets right; of training ones when there is no test split."""
    split = dataset.test if len(dataset.test) else dataset.train
    rows = np.linspace(0, len(split) - 1, min(HELD, len(split))).astype(int)
    right = []
    for part in np.split(rows, range(BATCH, len(rows), BATCH)):
        samples, truth = medium.to_tensor(np.asarray(split.items[part])), np.asarray(split.labels)[part]
        view, answers = _task(network.view(samples), torch.from_numpy(truth), task)
        right.append((network.logits(view.to(device)).argmax(1).cpu() == answers)[answers >= 0])
    return float(torch.cat(right).float().mean())
