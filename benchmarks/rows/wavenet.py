"""Drawing sound value by value, one stream: 20 layers of 64 channels, twice 64 in filter and gate, 64 skipped to, 256
values. Three places a layer as in the peer's defaults, or two as in the paper.

The weights are fresh on both sides: what they are does not change how long they take. Ours are drawn by the model as a
pipeline does it, 4,000 values at a time; the peer by its own `incremental_forward`, its weight norms removed first as
its `synthesis.py` does. What the loop says is held against the whole forward pass: whether the likeliest values are the
same, and the largest difference of a probability. 16,000 values a second are real time at 16 kHz.
"""

import sys
from typing import Any

import torch

from benchmarks.peers import checkout, count

TITLE = "WaveNet drawing, 20 layers, 64/128/64, one stream"
UNIT = "values"
PAIRS = [
    ("maquette, 3 places", "wavenet_vocoder, 3 places", 60.0),
    ("maquette, 2 places", "wavenet_vocoder, 2 places", 60.0),
    ("maquette, 3 places", "maquette by torch, 3 places", 20.0),
]
VALUES, PART, CHECKED = 256, 4_000, 400


def model(places: int) -> Any:
    from maquette.core import devices
    from maquette.core.types import Tokens
    from maquette.models import wavenet
    from maquette.nets import dilated

    devices.pick_device("cpu")
    torch.manual_seed(0)
    made = wavenet.Config(net=dilated.Config(kernel=places)).build(Tokens((PART,), VALUES))
    made.eval().requires_grad_(False).net.out.weight.mul_(10)  # as sure of itself as a trained one
    return made


def maquette(places: int, rows: int = 1, loop: bool = True, storage: str = "fp32"):
    def contestant():
        from maquette.core.seeds import Seeds
        from maquette.core.types import Condition, Sampling
        from maquette.models import wavenet

        made, how = model(places), Sampling()
        facts = {"parameters": count(made), "rows": rows, "storage": storage}
        if not loop:
            wavenet.LONG = PART + 1
        elif storage == "fp32":
            facts |= agreement(made)
        else:
            made.compile_steps(storage)
        start = torch.full((rows, PART if loop else 100), -1)
        seed = iter(range(1 << 60))

        def work() -> int:
            rng = Seeds.for_samples(rows * next(seed), rows)
            with torch.inference_mode():
                x = made.draw(made.predictor(Condition()), start, how, rng)
            return x.numel()

        return work, facts

    return contestant


def agreement(made: Any) -> dict[str, Any]:
    """Of greedy drawing and of drawn values: the loop beside the whole forward pass."""
    from maquette.core.seeds import Seeds
    from maquette.core.types import Condition, Sampling

    facts = {}
    for name, how in (("argmax_agrees", Sampling(top_k=1)), ("difference", Sampling())):
        with torch.inference_mode():
            predict = made.predictor(Condition())
            start = torch.full((1, PART), -1)
            x = made.draw(predict, start, how, Seeds.for_samples(0, 1))[:, :CHECKED]
            said = made.net.run(made.entered(made.lesson(x)[0]), Condition())[0]
            steps = torch.stack([predict(x, at) for at in range(CHECKED)], 1)
        if name == "difference":
            facts[name] = (steps.softmax(-1) - said.softmax(-1)).abs().max().item()
        else:
            facts[name] = torch.equal(said.argmax(-1), x)
    return facts


def vocoder(places: int):
    def contestant():
        folder = str(checkout("wavenet_vocoder/wavenet_vocoder/wavenet.py").parent.parent)
        sys.path.insert(0, folder)
        from wavenet_vocoder import WaveNet  # type: ignore[import-not-found]

        torch.manual_seed(0)
        peer = WaveNet(
            out_channels=VALUES, layers=20, stacks=2, residual_channels=64, gate_channels=128, skip_out_channels=64,
            kernel_size=places, dropout=0.0,
        ).eval()  # fmt: skip
        parameters = count(peer)
        peer.make_generation_fast_()

        def work() -> int:
            with torch.no_grad():
                return peer.incremental_forward(T=100).shape[-1]

        return work, {"parameters": parameters}

    return contestant


CONTESTANTS = {
    "maquette, 3 places": maquette(3),
    "maquette, 3 places, 16 streams": maquette(3, rows=16),
    "maquette bf16, 3 places": maquette(3, storage="bf16"),
    "maquette by torch, 3 places": maquette(3, loop=False),
    "wavenet_vocoder, 3 places": vocoder(3),
    "maquette, 2 places": maquette(2),
    "wavenet_vocoder, 2 places": vocoder(2),
}
