"""One token after another from GPT-2's smallest shape (124 M parameters), batch 1: 128 tokens after a prompt of 16.

The weights are random on all sides; what they are does not change how long they take. `memory` reads as many bytes as
the weights have, in fp32, bf16 and int8, on all cores: no decoder that reads each weight once a token can be faster.
"""

from benchmarks import gpt2
from benchmarks.gpt2 import SMALL

TITLE = "decoding, GPT-2 124 M shape, batch 1"
UNIT = "tokens"
PAIRS = [
    ("maquette int8", "CTranslate2 int8", 1.3),
    ("maquette int8", "memory int8", 0.75),
    ("maquette bf16", "memory bf16", 0.75),
    ("maquette bf16", "transformers fp32", 1.0),
    ("maquette fp32", "transformers fp32", 1.0),
]
CONTESTANTS = {
    "maquette int8": gpt2.maquette(SMALL, "int8", 1),
    "maquette bf16": gpt2.maquette(SMALL, "bf16", 1),
    "maquette fp32": gpt2.maquette(SMALL, "fp32", 1),
    "CTranslate2 int8": gpt2.ctranslate2(SMALL, 1),
    "transformers fp32": gpt2.transformers(SMALL, 1),
    "memory int8": gpt2.memory(SMALL, 1),
    "memory bf16": gpt2.memory(SMALL, 2),
}
