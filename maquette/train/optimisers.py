"""How a player's weights move: torch's own fused optimisers, with their state as plain tensors.

Muon (Jordan et al. 2024) takes the matrices: linear layers, and convolution kernels as [out, in x taps]. Embeddings,
biases and norms take AdamW beside it, at the same rate: Muon's updates are scaled to AdamW's typical size (Liu et al.
2025). Weight decay is applied to weights of two or more axes only; biases and norms keep their size.
"""

import torch
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.train.recipe import Optimizer


class Mover:
    """Moves one player's weights.

    Args:
        settings: the player's entry under `train.optimizers`.
        player: its trainable parameters are taken as they are now; place it on its device before.
    """

    def __init__(self, settings: Optimizer, player: nn.Module):
        self.settings = settings
        self.weights = {name: p for name, p in player.named_parameters() if p.requires_grad}
        tables = {id(m.weight) for m in player.modules() if isinstance(m, nn.Embedding)}
        self._matrices: dict[str, nn.Parameter] = {}
        if settings.name == "muon":
            chosen = {n: p for n, p in self.weights.items() if p.ndim >= 2 and id(p) not in tables}
            self._matrices = {name: nn.Parameter(_matrix(p.data, p)) for name, p in chosen.items()}
        rest = {name: p for name, p in self.weights.items() if name not in self._matrices}
        self._optimizers = [_optimizer(settings, rest)] if rest else []
        self._moved = rest | self._matrices
        if self._matrices:
            self._optimizers.append(_muon(settings, self._matrices))

    def step(self, progress: float) -> None:
        """Move by the gradients at the rate for `progress` in [0, 1], then drop the gradients."""
        for name, matrix in self._matrices.items():
            weight = self.weights[name]
            matrix.grad = None if weight.grad is None else _matrix(weight.grad, weight)
        rate = self.settings.rate(progress)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        for weight in self.weights.values():
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Everything the optimisers remember, as `parameter/quantity`: moments, momentum, step counts."""
        return {
            f"{name}/{key}": value
            for name, p in self._moved.items()
            for optimizer in self._optimizers
            if p in optimizer.state
            for key, value in optimizer.state[p].items()
            if value is not None
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave; the next step is then bit for bit the one that would have followed.

        Raises:
            MaquetteError: MQ-7001 when a tensor has no place here or another shape.
        """
        owner = {p: o for o in self._optimizers for group in o.param_groups for p in group["params"]}
        for key, value in state.items():
            name, _, quantity = key.rpartition("/")
            p = self._moved.get(name)
            if p is None or value.shape != (torch.Size() if quantity == "step" else p.shape):
                reason = f"the optimiser has no place for {key} of shape {tuple(value.shape)}"
                raise MaquetteError("MQ-7001", reason=reason, todo="resume with the recipe that the run was made from")
            if quantity == "step":
                owner[p].state[p][quantity] = value.to(_clock_device(owner[p], p))
            else:  # moments lie in memory as their weight does: fused kernels walk both together
                owner[p].state[p][quantity] = torch.empty_like(p, dtype=value.dtype).copy_(value)


def _clock_device(optimizer: torch.optim.Optimizer, p: Tensor) -> torch.device:
    """Where an optimiser keeps its step count: beside the weight if fused, else on the CPU."""
    return p.device if optimizer.defaults.get("fused") else torch.device("cpu")


def _optimizer(settings: Optimizer, weights: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in weights.values() if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in weights.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, settings.lr, momentum=settings.betas[0], fused=True)
    if settings.name == "rmsprop":
        return torch.optim.RMSprop(groups, settings.lr, alpha=settings.betas[1], foreach=True)
    momentum = 0.9 if settings.name == "muon" else settings.betas[0]  # the first of Muon's betas is Muon's own
    return torch.optim.AdamW(groups, settings.lr, betas=(momentum, settings.betas[1]), fused=True)


def _muon(settings: Optimizer, matrices: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Muon(
        list(matrices.values()),
        settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.betas[0],
        adjust_lr_fn="match_rms_adamw",
    )


def _matrix(tensor: Tensor, weight: Tensor) -> Tensor:
    """`tensor` as [out, rest], a view where it lies in memory as `weight` does."""
    return tensor.flatten(1) if weight.is_contiguous() else tensor.movedim(1, -1).flatten(1)
