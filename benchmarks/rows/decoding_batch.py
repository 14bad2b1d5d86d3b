"""As the row `decoding`, 16 texts at a time."""

from benchmarks import gpt2
from benchmarks.gpt2 import SMALL

TITLE = "decoding, GPT-2 124 M shape, batch 16"
UNIT = "tokens"
PAIRS = [("maquette bf16", "transformers fp32", 3.0), ("maquette bf16", "CTranslate2 int8", 1.0)]
CONTESTANTS = {
    "maquette bf16": gpt2.maquette(SMALL, "bf16", 16),
    "transformers fp32": gpt2.transformers(SMALL, 16),
    "CTranslate2 int8": gpt2.ctranslate2(SMALL, 16),
}
