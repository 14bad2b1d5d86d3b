"""Batch normalisation that is one and the same on one process and on several."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _RankMean(torch.autograd.Function):
    """The mean of a tensor over all ranks; differentiable, as often as needed.

    Every rank's loss depends on every rank's input, and the mean is its own adjoint. A loop that averages the ranks'
    gradients then has the gradient of the mean of the ranks' losses.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x / dist.get_world_size()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _RankMean.apply(grad)  # type: ignore[return-value]


class BatchNorm(_BatchNorm):
    """Batch normalisation (Ioffe and Szegedy 2015, Algorithm 1) over the batch and every axis after the channels.

    With torch.distributed initialised the statistics are those of the global batch, of which every rank must hold an
    equal share; otherwise this is `nn.BatchNorm1d/2d/3d`, which it shares its parameters and buffers with by name.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes after the channels."""

    def forward(self, input: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        wide = (1, -1, *[1] * (input.dim() - 2))
        x = input.float()
        mean: Tensor = _RankMean.apply(x.mean(axes))  # type: ignore[assignment]
        centred = x - mean.view(wide)
        variance: Tensor = _RankMean.apply(centred.square().mean(axes))  # type: ignore[assignment]
        self._keep(mean, variance, dist.get_world_size() * x.numel() // x.shape[1])
        gain = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.view(wide), centred, gain.view(wide)).to(input.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor, n: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (n / (n - 1)), momentum)


def mixes_rows(net: nn.Module) -> bool:
    """Whether a row's output depends on the rows beside it, as under batch normalisation in training."""
    return any(isinstance(part, _BatchNorm) for part in net.modules())
