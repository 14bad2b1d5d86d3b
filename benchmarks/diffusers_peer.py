"""diffusers' UNet2DModel with the training loop of its own tutorials, and its samplers."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def batches(items: Tensor, size: int) -> Iterator[Tensor]:
    """Shuffled batches of pictures in [-1, 1], for ever, from memory."""
    while True:
        order = torch.randperm(len(items))
        for rows in order[: len(items) // size * size].view(-1, size):
            yield items[rows]


def colour_unet() -> torch.nn.Module:
    """32x32 colour, 6.8 M parameters."""
    return _unet(32, 3, (64, 128, 128))


def grey_unet() -> torch.nn.Module:
    """28x28 grey, 1.7 M parameters: the network that Hugging Face's diffusion course trains on such pictures."""
    return _unet(28, 1, (32, 64, 64))


def _unet(size: int, channels: int, widths: tuple[int, ...]) -> torch.nn.Module:
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=2,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )


def ddpm_loop(unet: torch.nn.Module, items: Tensor, batch: int, rate: float, tick: Callable[[], None]) -> None:
    """The loop of the course: noise prediction on the squared-cosine schedule of 1,000 steps, AdamW."""
    from diffusers import DDPMScheduler

    schedule = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    optimizer = torch.optim.AdamW(unet.parameters(), lr=rate)
    unet.train()
    for clean in batches(items, batch):
        noise = torch.randn_like(clean)
        times = torch.randint(0, 1000, (len(clean),))
        predicted = unet(schedule.add_noise(clean, noise, times), times, return_dict=False)[0]  # type: ignore[arg-type]
        loss = F.mse_loss(predicted, noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        tick()


@torch.no_grad()
def sample(unet: torch.nn.Module, shape: tuple[int, ...], steps: int, solver: str, seed: int = 0) -> Tensor:
    """Pictures in [-1, 1] by `ddim` or `dpm` (DPM-Solver++, second order)."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    kind = {"ddim": DDIMScheduler, "dpm": DPMSolverMultistepScheduler}[solver]
    schedule = kind(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    schedule.set_timesteps(steps)
    unet.eval()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    for t in schedule.timesteps:
        x = schedule.step(unet(x, t, return_dict=False)[0], t, x).prev_sample
    return x.clamp(-1, 1)
