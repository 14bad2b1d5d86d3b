"""What turns samples into the features that distances are measured in, and the choice among the extractors."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core import cancel, files
from maquette.core.errors import MaquetteError, Sentence
from maquette.core.types import Tokens
from maquette.data.dataset import Dataset, Items
from maquette.evaluate.domain import Domain, train_or_load
from maquette.evaluate.importer import INCEPTION, read
from maquette.evaluate.inception import RESIZE
from maquette.evaluate.scores.intervals import Estimate
from maquette.media.base import InTime, Medium, Voiced

BATCH = 256
Choice = Literal["auto", "domain", "inception"]


@dataclass(frozen=True)
class Seen:
    """What an extractor made of samples: features and, where it is a classifier, logits; on the CPU."""

    features: Float[Tensor, "n d"]
    logits: Float[Tensor, "n k"] | None = None

    def __len__(self) -> int:
        return len(self.features)


class Extractor(ABC):
    """Features of samples of one space. Two extractors of equal `digest` see alike."""

    name: str
    digest: str
    resize: str
    labels: bool = False
    """Whether its logits are for the labels of the data at hand."""
    note: str = ""
    """A sentence on what it is and how far to trust it."""
    batch: int = BATCH
    pool: int = 5_000
    """How many training items it can be asked to look at for neighbours."""
    given: int = 0
    """How much of the beginning of each item is given to the model instead of being made: tokens, 0 for nothing."""

    @abstractmethod
    def look(self, x: Float[Tensor, "b *space"]) -> tuple[Tensor, Tensor | None]:
        """Features [b, d] and, of a classifier, logits [b, k] of samples in the model's space."""

    @torch.inference_mode()
    def see(self, items: np.ndarray, medium: Medium, device: torch.device) -> Seen:
        """Features of stored items [n, *medium.stored]."""
        features, logits = [], []
        for start in range(0, len(items), self.batch):
            cancel.check()
            seen = self.look(medium.to_tensor(np.asarray(items[start : start + self.batch])).to(device))
            features.append(seen[0].float().cpu())
            logits += [] if seen[1] is None else [seen[1].float().cpu()]
        return Seen(torch.cat(features), torch.cat(logits) if logits else None)

    def further(self, real: np.ndarray, made: np.ndarray) -> dict[str, Estimate]:
        """Scores beyond those of features, of stored items."""
        return {}

    def copied(self, items: np.ndarray) -> dict[str, Estimate]:
        """How much of stored items stands in the training data, where that can be said without features."""
        return {}


class DomainExtractor(Extractor):
    """The classifier of `domain.py`, trained on the training split of the data at hand."""

    name = "domain"

    def __init__(self, network: Domain, digest: str, device: torch.device):
        self.network, self.digest = network.to(device).eval(), digest
        blocks, what = "x".join(map(str, network.pool)), "log-mel places" if network.rate else "pixels"
        pooled = f"averaged over {blocks} {what}" if max(network.pool) > 1 else "none"
        self.resize = f"log-mel, {pooled}".removesuffix(", none") if network.rate else pooled
        self.labels = network.task == "labels"
        ways = {"labels": "the labels", "turns": "how a picture was turned", "flips": "which way a sample was flipped"}
        chinese = {"labels": "分辨标签", "turns": "分辨图片转了多少", "flips": "分辨样本朝哪个方向翻转"}
        self.note = Sentence(
            f"Features come from a small network trained on the training split to tell {ways[network.task]}: "
            f"{network.accuracy:.1%} right on the test split. Its distances compare models of these data only, not "
            "with published FID.",
            f"特征来自一个在训练集上学会{chinese[network.task]}的小网络，在测试集上的准确率为 {network.accuracy:.1%}。"
            "其距离只能用来比较这些数据上的模型，不能与公开发表的 FID 相比。",
        )

    def look(self, x: Float[Tensor, "b c *space"]) -> tuple[Tensor, Tensor | None]:
        features, logits = self.network(x)
        return features, logits if self.labels else None


class InceptionExtractor(Extractor):
    """The network of published Fréchet distances, with weights that a person has converted."""

    name = "inception"
    resize = RESIZE
    batch = 32
    pool = 2_000
    note = Sentence(
        "Features come from the standard FID Inception-v3; n is smaller than the 50,000 of most published figures.",
        "特征来自计算 FID 的标准 Inception-v3；n 小于多数公开数字所用的 50,000。",
    )

    def __init__(self, network: nn.Module, digest: str, device: torch.device):
        self.network, self.digest = network.to(device), digest

    def look(self, x: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor | None]:
        return self.network(x)


class Fourier(Extractor):
    """Random Fourier features (Rahimi and Recht 2007) of points in a space of few dimensions.

    A Gaussian fitted to the coordinates themselves cannot tell a ring of modes from a disc; these features, sqrt(2)
    cos(w.x + b) with frequencies for four lengths from the data's spread down to 1/30 of it, can.
    """

    name = "fourier"
    resize = "none"
    note = Sentence(
        "Features are 256 random Fourier features at four lengths, from the data's spread down to 1/30 of it.",
        "特征是 256 个随机傅里叶特征，取四种尺度，从数据的散布直到其 1/30。",
    )
    LENGTHS = (1.0, 0.3, 0.1, 1 / 30)
    EACH = 64

    def __init__(self, spread: float, dims: int, device: torch.device):
        draw = torch.Generator().manual_seed(0)
        frequencies = torch.cat([torch.randn(dims, self.EACH, generator=draw) / (spread * s) for s in self.LENGTHS], 1)
        phases = torch.rand(frequencies.shape[1], generator=draw) * 2 * torch.pi
        self.digest = files.digest(torch.cat([frequencies, phases[None]]).numpy().tobytes())
        self.frequencies, self.phases = frequencies.to(device), phases.to(device)

    def look(self, x: Float[Tensor, "b d"]) -> tuple[Tensor, Tensor | None]:
        return 2**0.5 * torch.cos(x @ self.frequencies + self.phases), None


class Values(Extractor):
    """The values of series themselves."""

    MOST = 256
    name, digest, resize = "values", "", f"averaged over steps to at most {MOST} values"
    note = Sentence(
        "Features are the values themselves: the Fréchet distance compares their means and covariances.",
        "特征就是数值本身：Fréchet 距离比较它们的均值与协方差。",
    )

    def look(self, x: Float[Tensor, "b c l"]) -> tuple[Tensor, Tensor | None]:
        steps = min(x.shape[2], max(1, self.MOST // x.shape[1]))
        return F.adaptive_avg_pool1d(x, steps).flatten(1), None


def choose_extractor(
    dataset: Dataset,
    medium: Medium,
    device: torch.device,
    choice: Choice = "auto",
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
    learnt: Items | None = None,
) -> Extractor:
    """The extractor for samples of `medium`: by the number of axes that its space has.

    Text takes frequencies of n-grams, and labels by its words; music takes frequencies of intervals, series their own
    values. Flat spaces take Fourier features. Pictures take the standard Inception when its converted weights are found
    (or `choice` asks for it), else the domain extractor, which is trained the first time and kept in the cache folder;
    so do sound and films, of which the standard networks are asked besides (`standard.py`), for they tell no labels.

    Args:
        seed: of the domain extractor's training.
        say: is told what takes time.
        learnt: items that the models have learnt from, where they are not those of the training split.

    Raises:
        MaquetteError: MQ-2080 a space that no extractor sees, MQ-2081 Inception asked for without weights.
    """
    space = medium.space
    if medium.talks:
        from maquette.evaluate.ngrams import Ngrams

        return Ngrams(medium, dataset.train.items, dataset.train.labels, len(dataset.classes), learnt)
    if isinstance(medium, Voiced):
        from maquette.evaluate.notes import Notes

        return Notes(medium, dataset.train.items)
    if isinstance(medium, InTime):
        return Values()
    pictures = len(space.shape) == 3
    if isinstance(space, Tokens) or len(space.shape) > 4 or (choice == "inception" and not pictures):
        raise MaquetteError("MQ-2080", space=space)
    if len(space.shape) == 1:
        sample = medium.to_tensor(np.asarray(dataset.train.items[:10_000]))
        return Fourier(float(sample.std(0).mean()), space.shape[0], device)
    path = INCEPTION.place
    if choice == "inception" or (choice == "auto" and pictures and path.is_file()):
        if not path.is_file():
            raise MaquetteError("MQ-2081", str(path))
        return InceptionExtractor(*read(INCEPTION, path), device)
    return DomainExtractor(*train_or_load(dataset, medium, device, seed, say), device)
