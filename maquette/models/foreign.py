"""Models as the Hugging Face libraries keep them: a folder with config.json, safetensors and a tokenizer, or hf:NAME.

JSON is read strictly and tensors by the reader of every bundle; links are followed, since the hub's cache is made of
them. Weights that are a pickle are refused with the command that converts them, and nothing in a folder is run.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.media.tokens import alphabet

HUB = "hf:"
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER, SETTINGS, VOCAB, MERGES = "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"
FETCHED = (CONFIG, INDEX, "model*.safetensors", TOKENIZER, SETTINGS, VOCAB, MERGES)
"""All that is asked of the hub; its programs and pickles stay there."""
PROMPT, ANSWER = "<|prompt|>", "<|answer|>"
"""How the marks that other libraries do not have are called in their vocabularies."""
ELSEWHERE = "take another model, or open this one where it comes from"


def locate(source: str) -> Path:
    """The folder that `source` names; of hf:NAME the library's cache, filled from the hub.

    Raises:
        MaquetteError: MQ-5004 no such folder, MQ-3010 `huggingface_hub` is not installed, MQ-2134 the hub has no such
            model or cannot be reached.
    """
    if not source.startswith(HUB):
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise MaquetteError("MQ-5004", source)
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MaquetteError("MQ-3010", source, package="huggingface_hub", extra="hf") from None
    try:
        return Path(snapshot_download(source.removeprefix(HUB), allow_patterns=list(FETCHED)))
    except Exception as bad:  # network, names, rights: many kinds, none of them ours
        reason = str(bad).strip().partition("\n")[0] or type(bad).__name__
        raise MaquetteError("MQ-2134", source, reason=reason) from None


def is_model(folder: Path) -> bool:
    """Whether `folder` holds a model of these libraries, and not a bundle, which has a config.json too."""
    path = (folder / CONFIG).resolve()
    if not path.is_file():
        return False
    tree = files.read_json(path)
    return isinstance(tree, dict) and "model_type" in tree


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The table in a JSON file of `folder`, {} when there is none; raises MQ-7040 for anything but a table."""
    path = (folder / name).resolve()
    if not path.is_file():
        return {}
    tree = files.read_json(path)
    if not isinstance(tree, dict):
        raise refusal(folder, f"{name} is no table")
    return tree


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, with a `model_type`; raises MQ-7040 when it has none, or its numbers are not plain ones."""
    tree = read_json(folder, CONFIG)
    if not isinstance(tree.get("model_type"), str):
        raise refusal(folder, f"{CONFIG} does not say its model_type")
    if "quantization_config" in tree:
        raise refusal(folder, "its weights are quantised", "take the model with plain weights")
    return tree


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, one or several.

    Raises:
        MaquetteError: MQ-8003 when there are only pickles, MQ-7040 when there is nothing or the index is none.
    """
    if (folder / WEIGHTS).is_file():
        return [(folder / WEIGHTS).resolve()]
    if (folder / INDEX).is_file():
        places = read_json(folder, INDEX).get("weight_map")
        names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
        if not names or any("/" in name or not name.endswith(".safetensors") for name in names):
            raise refusal(folder, f"{INDEX} does not list safetensors files")
        return [(folder / name).resolve() for name in names]
    # only plain names: this one becomes part of a command
    if pickles := sorted(path.name for path in folder.glob("*.bin") if re.fullmatch(r"[\w.-]+", path.name)):
        raise MaquetteError("MQ-8003", str(folder), name=pickles[0])
    raise refusal(folder, f"there is no {WEIGHTS}")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All its tensors by name, floating ones as float32; raises as `weight_files`, MQ-7040 for what is not finite."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        tensors |= files.read_tensors(path)
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise refusal(folder, f"{name} has values that are not finite")
    return tensors


def digest(folder: Path) -> str:
    """SHA-256 of its weights: of the file, or of the list of its files' hashes."""
    each = [str(files.describe_file(path)["sha256"]) for path in weight_files(folder)]
    return each[0] if len(each) == 1 else files.digest("\n".join(each).encode())


# -- tokenizers -------------------------------------------------------------------------------------------------------


def read_merges(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]] | None:
    """(token -> number, merges) of a byte-level BPE that cuts text as Radford et al. (2019) do; None of any other."""
    if (folder / TOKENIZER).is_file():
        return _from_tokenizer(read_json(folder, TOKENIZER))
    if not (folder / VOCAB).is_file() or not (folder / MERGES).is_file():
        return None
    try:
        lines = files.read_file((folder / MERGES).resolve(), files.MAX_JSON_BYTES).decode().split("\n")
    except UnicodeDecodeError:
        return None
    lines = [line.rstrip("\r") for line in lines if line.strip() and not line.startswith("#version")]
    return _checked(read_json(folder, VOCAB), [line.split(" ") for line in lines])


def _from_tokenizer(tree: dict[str, Any]) -> tuple[dict[str, int], list[tuple[str, str]]] | None:
    model, cut = tree.get("model"), tree.get("pre_tokenizer")
    if not isinstance(model, dict) or not isinstance(cut, dict) or tree.get("normalizer"):
        return None
    odd = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
    if model.get("type", "BPE") != "BPE" or any(model.get(name) for name in odd):
        return None
    if cut.get("type") != "ByteLevel" or cut.get("add_prefix_space") is not False or cut.get("use_regex") is False:
        return None
    added, merges, vocab = tree.get("added_tokens") or [], model.get("merges"), model.get("vocab")
    if not isinstance(merges, list) or not isinstance(vocab, dict) or not all(isinstance(t, dict) for t in added):
        return None
    vocab = vocab | {token.get("content"): token.get("id") for token in added}
    return _checked(vocab, [merge.split(" ") if isinstance(merge, str) else merge for merge in merges])


def _checked(vocab: dict[Any, Any], merges: list[Any]) -> tuple[dict[str, int], list[tuple[str, str]]] | None:
    plain = all(isinstance(piece, str) and type(number) is int and number >= 0 for piece, number in vocab.items())
    pairs = all(isinstance(m, list) and len(m) == 2 and all(isinstance(half, str) for half in m) for m in merges)
    if not plain or not pairs or not vocab.keys() >= {*alphabet()}:
        return None
    return vocab, [(a, b) for a, b in merges]


def read_tokenizer(folder: Path) -> Any:
    """Its tokenizer as one of the library `tokenizers`, from tokenizer.json or from vocab.json and merges.txt.

    Raises:
        MaquetteError: MQ-7040 when it has neither, MQ-3010 when the library is not installed.
    """
    try:
        import tokenizers
    except ImportError:
        raise MaquetteError("MQ-3010", package="tokenizers", extra="text") from None
    if (folder / TOKENIZER).is_file():
        try:
            return tokenizers.Tokenizer.from_str(json.dumps(read_json(folder, TOKENIZER)))
        except Exception as bad:  # the library raises nothing more particular
            raise refusal(folder, f"{TOKENIZER}: {str(bad).partition(chr(10))[0]}") from None
    if (found := read_merges(folder)) is None:
        todo = f"save its fast tokenizer there: a {TOKENIZER} is what is read"
        raise refusal(folder, f"there is no {TOKENIZER}, and no {VOCAB} with a {MERGES}", todo)
    vocab, merges = found
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    return made


# -- what new tokens begin as -----------------------------------------------------------------------------------------


def grown(table: Float[Tensor, "v d"], n: int) -> Float[Tensor, "w d"]:
    """`table` with `n` rows more, for tokens that it has not: its mean row, each moved a little to its own side.

    A row of zeros would be the likeliest token of all where every logit is far below zero; the mean row can never take
    more than about 1 / v (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models").
    """
    noise = torch.randn(n, table.shape[1], generator=torch.Generator().manual_seed(0)).to(table)
    return torch.cat([table, table.mean(0) + 0.1 * table.std(0) * noise])


def refusal(folder: Path, reason: str, todo: str = ELSEWHERE) -> MaquetteError:
    return MaquetteError("MQ-7040", str(folder), reason=reason, todo=todo)
