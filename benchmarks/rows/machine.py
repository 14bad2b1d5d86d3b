"""What this machine can do at most, so that the other rows can be read as shares of it."""

import torch

TITLE = "limits of the machine"
UNIT = "10^9 operations or bytes"
PAIRS: list[tuple[str, str, float]] = []


def product(dtype: torch.dtype, n: int = 1024):
    def contestant():
        a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)

        def work() -> float:
            torch.mm(a, b)
            return 2 * n**3 / 1e9

        return work, {}

    return contestant


def convolution(dtype: torch.dtype, layout: torch.memory_format):
    def contestant():
        x = torch.randn(32, 64, 32, 32).to(dtype).to(memory_format=layout)
        layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(dtype).to(memory_format=layout)  # type: ignore[call-overload]

        def work() -> float:
            with torch.no_grad():
                layer(x)
            return 2 * 32 * 64 * 64 * 9 * 32 * 32 / 1e9

        return work, {}

    return contestant


def reading():
    x = torch.ones(1 << 28)  # 1 GiB, past every cache

    def work() -> float:
        x.sum()
        return x.numel() * 4 / 1e9

    return work, {}


CONTESTANTS = {
    "matrix product fp32": product(torch.float32),
    "matrix product bf16": product(torch.bfloat16),
    "convolution fp32": convolution(torch.float32, torch.contiguous_format),
    "convolution fp32 channels_last": convolution(torch.float32, torch.channels_last),
    "convolution bf16": convolution(torch.bfloat16, torch.contiguous_format),
    "convolution bf16 channels_last": convolution(torch.bfloat16, torch.channels_last),
    "memory read": reading,
}
