"""The recipes as they come, on a GPU: how fast, what share of what the device can do, and whether they learn the same.

    python -m benchmarks.gpu            rate of each row on the GPU and on two cores of the processor beside it
    python -m benchmarks.gpu --table    write the table of docs/speed.md from what was measured last

Model FLOPs utilisation is the arithmetic of one training step (torch's flop counter, multiplications and additions)
over the time it takes and the rate of a large bf16 matrix product on the same device in the same run. The curves: the
same seed in fp32 on both devices, batches and noise being equal by construction; what differs is rounding.
"""

import argparse
import os
import subprocess
import sys
import time
from typing import Any

import torch

from benchmarks import ours, peers
from benchmarks.harness import RESULTS, ROOT, WORK, machine, put_between, read_json, write_json

FILE = RESULTS / "gpu.json"
COLOUR = ["medium.size=32", "medium.channels=3"]
ROWS: dict[str, tuple[str, str, list[str]]] = {
    "DCGAN 64x64 colour, paper's width, batch 64": (
        "dcgan",
        "faces_64",
        [
            "medium.size=64",
            "medium.channels=3",
            "train.batch=64",
            "model.generator.width=64",
            "model.critic.width=64",
        ],
    ),
    "the same, batch 1,024": (
        "dcgan",
        "faces_64",
        [
            "medium.size=64",
            "medium.channels=3",
            "train.batch=1024",
            "model.generator.width=64",
            "model.critic.width=64",
        ],
    ),
    "U-Net 32x32 colour, 6.5 M parameters, batch 32": (
        "diffusion",
        "emoji_noto",
        [*COLOUR, "train.batch=32", "model.net={kind: unet, width: 64, stages: [1, 2, 4], blocks: [1, 1, 1]}"],
    ),
    "the same, batch 512": (
        "diffusion",
        "emoji_noto",
        [*COLOUR, "train.batch=512", "model.net={kind: unet, width: 64, stages: [1, 2, 4], blocks: [1, 1, 1]}"],
    ),
    "VAE, MLP, 28x28 grey, batch 64": ("vae-mlp", "fashion_mnist", ["medium.size=28", "train.batch=64"]),
    "PixelCNN 28x28 grey, batch 64": ("pixelcnn", "fashion_mnist", ["medium.size=28", "train.batch=64"]),
}
CURVES = {"dcgan": 100, "vae": 100, "diffusion": 100, "pixelcnn": 60}
"""Recipe -> steps of both curves, on glyphs."""


def flops_of_step(learner: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        ours.step(learner)
    return counter.get_total_flops()


def rate(learner: Any, seconds: float) -> tuple[float, int]:
    """Samples a second over about `seconds`, and operations of a step."""
    for _ in range(5):
        ours.step(learner)
    flops = flops_of_step(learner)
    wait = torch.cuda.synchronize if learner.device.type == "cuda" else (lambda: None)
    wait()
    began, samples = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        samples += sum(ours.step(learner) for _ in range(3))
    wait()
    return samples / (time.perf_counter() - began), flops


def peak(device: torch.device, n: int = 8192) -> float:
    """Operations a second of a bf16 product of n squared."""
    n = n if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    best = 0.0
    for _ in range(8):
        wait()
        began = time.perf_counter()
        for _ in range(4):
            a @ b
        wait()
        best = max(best, 8 * n**3 / (time.perf_counter() - began))
    return best


def measure(device: str, seconds: float) -> dict[str, Any]:
    """Every row on one device."""
    from maquette.core.devices import pick_device

    place = pick_device(device)
    top = peak(place)
    rows: dict[str, Any] = {}
    for title, (recipe, data, settings) in ROWS.items():
        if device == "cpu" and "the same" in title:
            continue
        learner = ours.learner(recipe, peers.test_data(data), *settings, f"train.device={device}")
        samples, flops = rate(learner, seconds)
        batch = learner.recipe.train.batch
        rows[title] = {"rate": samples, "flops": flops, "mfu": flops * samples / batch / top} | ours.facts(learner)
        print(f"{device}: {title}: {samples:,.0f} /s, {rows[title]['mfu']:.1%}", flush=True)
        del learner
    name = torch.cuda.get_device_name() if device == "cuda" else machine()["processor"]
    return {"device": name, "peak": top, "rows": rows, "machine": machine()}


def curves(device: str) -> dict[str, list[float]]:
    """The losses of the model's (or critic's) turn, step by step, in fp32."""
    from maquette.train.loop import take_step

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    lines: dict[str, list[float]] = {}
    for recipe, steps in CURVES.items():
        settings = ["train.precision=fp32", "train.batch=16", f"train.device={device}"]
        learner = ours.learner(recipe, "glyphs", *settings)
        losses = []
        for _ in range(steps):
            stats = take_step(learner)
            learner.clock.tick()
            losses.append(next(v.item() for name, v in stats.items() if name.endswith(".loss")))
        lines[recipe] = losses
        print(f"{device}: {recipe}: {losses[0]:.5f} -> {losses[-1]:.5f}", flush=True)
    return lines


def apart(a: list[float], b: list[float]) -> dict[str, float]:
    """How far two curves lie apart: the first step, the first ten, and the means of their last tenth."""
    share = [abs(x - y) / max(abs(x), abs(y), 1e-9) for x, y in zip(a, b, strict=True)]
    tail = max(1, len(a) // 10)
    ends = [sum(line[-tail:]) / tail for line in (a, b)]
    return {"first": share[0], "ten": max(share[:10]), "end": abs(ends[0] - ends[1]) / max(map(abs, ends))}


def table(tree: dict[str, Any]) -> str:
    gpu, cpu = tree["gpu"], tree["cpu"]
    lines = [
        "| training | samples/s, two cores | share of its peak | samples/s, GPU | share of its peak |",
        "|---|---|---|---|---|",
    ]
    for title, row in gpu["rows"].items():
        beside = cpu["rows"].get(title)
        left = f"{beside['rate']:,.0f} | {beside['mfu']:.0%}" if beside else " | "
        lines.append(f"| {title} | {left} | {row['rate']:,.0f} | {row['mfu']:.1%} |")
    tops = f"{cpu['peak'] / 1e12:.2f} and {gpu['peak'] / 1e12:.0f} TFLOP/s"
    lines += ["", f"{cpu['device']} (two cores) and {gpu['device']}, torch {gpu['machine']['torch']}; peaks: {tops}."]
    lines += [
        "",
        "| recipe, fp32, same seed | first loss | first ten steps | mean of the last tenth |",
        "|---|---|---|---|",
    ]
    for recipe, gap in tree["apart"].items():
        lines.append(f"| {recipe} | {gap['first']:.1e} | {gap['ten']:.1e} | {gap['end']:.1e} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="of each row")
    parser.add_argument("--table", action="store_true", help="only write docs/speed.md from the results")
    parser.add_argument("--child", choices=["cpu", "cuda"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        write_json(
            WORK / f"gpu-{asked.child}.json", measure(asked.child, asked.seconds) | {"curves": curves(asked.child)}
        )
        return
    if not asked.table:
        found = {}
        for device in ("cuda", "cpu"):  # two cores: the machine that the other tables are of
            env = os.environ | {"PYTHONPATH": str(ROOT), "MAQUETTE_CACHE": str(WORK / "cache"), "OMP_NUM_THREADS": "2"}
            argv = ["taskset", "-c", "0,1", sys.executable, "-m", "benchmarks.gpu", "--child", device]
            subprocess.run([*argv, "--seconds", str(asked.seconds)], env=env, check=True)
            found[device] = read_json(WORK / f"gpu-{device}.json")
        lines = {recipe: apart(found["cuda"]["curves"][recipe], found["cpu"]["curves"][recipe]) for recipe in CURVES}
        write_json(FILE, {"gpu": found["cuda"], "cpu": found["cpu"], "apart": lines})
        print(table(read_json(FILE)))
    else:
        put_between(ROOT / "docs" / "speed.md", "gpu", table(read_json(FILE)))


if __name__ == "__main__":
    main()
