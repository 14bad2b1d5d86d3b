"""A trained autoencoder as a codec, so that a second model learns its codes: latent diffusion, VQ codes and the like.

What Rombach et al. 2022 (section 3.3) and EDM2 do by a constant per channel is done here from examples: real codes are
shifted and scaled to mean 0 and standard deviation 1, whatever autoencoder they come from. Tokens pass as they are. An
autoencoder of spectrograms, which stands behind a codec that learns nothing, is one of sounds together with that.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.codecs.base import Codec, Identity
from maquette.core.errors import MaquetteError
from maquette.core.types import Autoencoder, Real, Space

TOGETHER = 64
"""Examples that are encoded at once."""
SMALLEST = 1e-3
"""Share of the largest standard deviation below which a channel counts as constant and is not blown up."""


class LatentCodec(Codec):
    """Whitened codes out, samples back. The autoencoder is received, not loaded, and from now on frozen.

    Args:
        autoencoder: any model that encodes and decodes.
        source: the space of its samples.
        examples: samples [b, *source.shape] whose codes say what mean and spread are; a few hundred suffice. Without
            them codes stay as they are until `whitening` is put in.
        inner: the codec that the autoencoder itself stands behind, one that learns nothing.

    Raises:
        MaquetteError: MQ-2061 when the codes of the examples are not finite.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, autoencoder: Autoencoder, source: Space, examples: Tensor | None = None, inner: Codec | None = None
    ):
        super().__init__()
        self.autoencoder, self.source = autoencoder, source
        self.inner = Identity(source) if inner is None else inner
        latent = autoencoder.latent
        self.space = Real(latent.shape) if isinstance(latent, Real) else latent  # whitened, levels are gone
        self.eval().requires_grad_(False)
        if isinstance(latent, Real):
            ones = torch.ones(1, latent.shape[0], *[1] * (len(latent.shape) - 1))
            mean, std = torch.zeros_like(ones), ones
            if examples is not None:
                with torch.no_grad():
                    codes = torch.cat([autoencoder.encode(self.inner.encode(x)) for x in examples.split(TOGETHER)])
                mean, std = statistics(codes.float())
            self.register_buffer("mean", mean)
            self.register_buffer("std", std)

    @property
    def whitening(self) -> dict[str, Tensor]:
        """The buffers that whiten, by name; none where codes are tokens."""
        return dict(self.named_buffers(recurse=False))

    def encode(self, x: Tensor) -> Tensor:
        z = self.autoencoder.encode(self.inner.encode(x))
        return (z - self.mean) / self.std if isinstance(self.space, Real) else z

    def decode(self, z: Tensor) -> Tensor:
        z = z * self.std + self.mean if isinstance(self.space, Real) else z
        return self.inner.decode(self.autoencoder.decode(z))


def statistics(z: Float[Tensor, "b c *space"]) -> tuple[Float[Tensor, "1 c *ones"], Float[Tensor, "1 c *ones"]]:
    """Mean and standard deviation of each channel, over the examples and the channel's places."""
    if not z.isfinite().all():
        raise MaquetteError("MQ-2061")
    axes = [a for a in range(z.ndim) if a != 1]
    std, mean = torch.std_mean(z, axes, correction=0, keepdim=True)
    constant = std <= SMALLEST * std.max()
    return mean, torch.where(constant, std.max().clamp(min=1e-6), std)
