"""As the row `decoding`, from a GPT of 10 M parameters: 6 layers, 384 wide, 65 characters; one text or 16 at a time."""

from benchmarks import gpt2
from benchmarks.gpt2 import TEN

TITLE = "decoding, 10 M parameters"
UNIT = "tokens"
PAIRS = [("maquette bf16, 1", "transformers fp32, 1", 4.0), ("maquette bf16, 16", "transformers fp32, 16", 3.0)]
CONTESTANTS = {
    "maquette int8, 1": gpt2.maquette(TEN, "int8", 1),
    "maquette bf16, 1": gpt2.maquette(TEN, "bf16", 1),
    "maquette bf16, 16": gpt2.maquette(TEN, "bf16", 16),
    "transformers fp32, 1": gpt2.transformers(TEN, 1),
    "transformers fp32, 16": gpt2.transformers(TEN, 16),
}
