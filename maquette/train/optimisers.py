"""How a player's weights move. What is remembered between steps is plain tensors by name, so it can be saved as such.

The updates are torch's own fused kernels, called without its optimiser classes (whose first use imports a compiler for
two seconds) and compared with those classes in the tests. AdamW (Loshchilov and Hutter 2019), SGD with momentum,
RMSprop (Hinton 2012), AdaGrad (Duchi et al. 2011), and Muon (Jordan et al. 2024) for matrices: what layers multiply by
and call `weight`, convolution kernels as [out, in x taps]. Beside Muon, embeddings, biases, norms and whatever has
another name (tables of places, codebooks, learnt constants) take AdamW at the same rate, because Muon's updates are
scaled to AdamW's typical size (Liu et al. 2025, eq. 4). Weight decay is decoupled for AdamW and Muon, and applied to
weights of two or more axes only: biases and norms keep their size.
"""

import math

import torch
from torch import Tensor, nn

from maquette.core.devices import has_fast_bf16
from maquette.core.errors import MaquetteError
from maquette.train.recipe import Optimizer

EPS = 1e-8
_QUANTITIES = {
    "adamw": ("mean", "square", "step"),
    "sgd": ("momentum",),
    "rmsprop": ("square",),
    "adagrad": ("square",),
    "muon": ("momentum",),
}
PAST = ("past", "count")
"""The mean of all weights that there were, and of how many."""

Weights = dict[str, nn.Parameter]


class Mover:
    """Moves one player's weights.

    Args:
        settings: the player's entry under `train.optimizers`.
        player: its trainable parameters are taken as they are now, so place it on its device before.

    Attributes:
        state: everything remembered, as `parameter/quantity`.
    """

    def __init__(self, settings: Optimizer, player: nn.Module):
        self.settings = settings
        self.weights: Weights = {name: p for name, p in player.named_parameters() if p.requires_grad}
        tables = {id(m.weight) for m in player.modules() if isinstance(m, nn.Embedding)}
        self._rules = {
            name: "adamw"
            if settings.name == "muon" and (id(p) in tables or not _multiplies(name, p))
            else settings.name
            for name, p in self.weights.items()
        }
        self.state = {
            f"{name}/{quantity}": _blank(p, quantity)
            for name, p in self.weights.items()
            for quantity in _QUANTITIES[self._rules[name]] + PAST * (settings.history > 0)
        }

    @torch.no_grad()
    def step(self, progress: float) -> None:
        """Move by the gradients at the rate for `progress` in [0, 1], then drop the gradients."""
        rate = self.settings.rate(progress)
        groups: dict[tuple[str, bool], list[str]] = {}
        for name, p in self.weights.items():
            if p.grad is not None:
                self._recall(name, p, p.grad)
                groups.setdefault((self._rules[name], p.ndim >= 2), []).append(name)
        for (rule, decays), names in groups.items():
            weights = [self.weights[name] for name in names]
            grads = [p.grad for p in weights]
            kept = [[self.state[f"{name}/{quantity}"] for name in names] for quantity in _QUANTITIES[rule]]
            _RULES[rule](weights, grads, *kept, rate, self.settings.weight_decay if decays else 0.0, self.settings)
        for p in self.weights.values():
            p.grad = None

    def _recall(self, name: str, p: Tensor, grad: Tensor) -> None:
        """Add the gradient of history * |p - mean of all p so far|^2."""
        if not self.settings.history:
            return
        past, count = (self.state[f"{name}/{quantity}"] for quantity in PAST)
        past.lerp_(p, 1 / count.add_(1))
        grad.add_(p - past, alpha=2 * self.settings.history)

    def load(self, state: dict[str, Tensor]) -> None:
        """Put back what was in `state`; the next step is then bit for bit the one that would have followed.

        Raises:
            MaquetteError: MQ-7001 when a quantity is missing, has no place here or another shape.
        """
        for name in sorted(self.state.keys() | state):
            own, other = self.state.get(name), state.get(name)
            if own is None or other is None or own.shape != other.shape:
                reason = f"the optimiser's {name} is missing, superfluous or of another shape"
                raise MaquetteError("MQ-7001", reason=reason, todo="resume with the recipe that the run was made from")
            own.copy_(other)


def _multiplies(name: str, p: Tensor) -> bool:
    """Whether `p` is a matrix of a layer: torch's layers and ours call those `weight`, `weight_ih_l0` and the like, and
    a parametrised one lies in a module of that name."""
    *modules, own = name.split(".")
    return p.ndim >= 2 and (own.startswith("weight") or modules[-2:] == ["parametrizations", "weight"])


def _blank(p: Tensor, quantity: str) -> Tensor:
    """Zeros that lie in memory as `p` does (fused kernels walk both together); a count of steps is one number."""
    return torch.zeros((), device=p.device) if quantity in ("step", "count") else torch.zeros_like(p)


# -- the rules --------------------------------------------------------------------------------------------------------


def _adamw(weights, grads, means, squares, steps, rate: float, decay: float, settings: Optimizer) -> None:
    # The first of Muon's betas is Muon's momentum; what it leaves to AdamW remembers as AdamW usually does.
    beta = 0.9 if settings.name == "muon" else settings.betas[0]
    torch._foreach_add_(steps, 1)  # pyright: ignore[reportPrivateImportUsage]
    torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
        weights, grads, means, squares, [], steps,
        lr=rate, beta1=beta, beta2=settings.betas[1], weight_decay=decay, eps=EPS, amsgrad=False, maximize=False,
    )  # fmt: skip


def _sgd(weights, grads, momenta, rate: float, decay: float, settings: Optimizer) -> None:
    torch._fused_sgd_(  # pyright: ignore[reportPrivateImportUsage]
        weights, grads, momenta if settings.betas[0] else [],
        lr=rate, momentum=settings.betas[0], weight_decay=decay,
        dampening=0.0, nesterov=False, maximize=False, is_first_step=False,
    )  # fmt: skip


def _rmsprop(weights, grads, squares, rate: float, decay: float, settings: Optimizer) -> None:
    for p, grad, square in zip(weights, grads, squares, strict=True):
        grad = grad.add(p, alpha=decay) if decay else grad
        square.mul_(settings.betas[1]).addcmul_(grad, grad, value=1 - settings.betas[1])
        p.addcdiv_(grad, square.sqrt().add_(EPS), value=-rate)


def _adagrad(weights, grads, squares, rate: float, decay: float, settings: Optimizer) -> None:
    for p, grad, square in zip(weights, grads, squares, strict=True):
        grad = grad.add(p, alpha=decay) if decay else grad
        square.addcmul_(grad, grad)
        p.addcdiv_(grad, square.sqrt().add_(EPS), value=-rate)


def _muon(weights, grads, momenta, rate: float, decay: float, settings: Optimizer) -> None:
    momentum = settings.betas[0]
    torch._foreach_lerp_(momenta, grads, 1 - momentum)  # pyright: ignore
    ahead = torch._foreach_lerp(grads, momenta, momentum)  # pyright: ignore
    if decay:
        torch._foreach_mul_(weights, 1 - rate * decay)  # pyright: ignore
    alike: dict[torch.Size, list[int]] = {}  # matrices of one shape are brought near orthogonal together
    for i, step in enumerate(ahead):
        alike.setdefault(step.flatten(1).shape, []).append(i)
    for shape, places in alike.items():
        updates = orthogonalise(torch.stack([ahead[i].flatten(1) for i in places])).unbind()
        moved = [update.view_as(weights[i]) for i, update in zip(places, updates, strict=True)]
        scale = 0.2 * math.sqrt(max(shape))
        torch._foreach_add_([weights[i] for i in places], moved, alpha=-rate * scale)  # pyright: ignore


_RULES = {"adamw": _adamw, "sgd": _sgd, "rmsprop": _rmsprop, "adagrad": _adagrad, "muon": _muon}


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Matrices [..., m, n] with all their singular values brought near 1, by Newton-Schulz steps (Jordan et al. 2024).

    The quintic's coefficients trade exactness for speed: singular values end in about [0.7, 1.2].
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16() if has_fast_bf16(matrices.device) else matrices
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = (x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)).reshape(-1, *x.shape[-2:])
    for _ in range(steps):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).reshape(matrices.shape).to(matrices.dtype)
