"""GPT-2's files (Radford et al. 2019, as the library `transformers` keeps them) and our `gpt` of the same form.

The same numbers, otherwise arranged: matrices of its Conv1D lie [in, out], ours [out, in]; its tokens are numbered
bytes, merges, <|endoftext|>, ours marks, bytes, merges. Our marks PROMPT and ANSWER are two tokens more, which begin
near the mean of all (`foreign.grown`) when a folder does not have them. So what a folder holds comes back bit for bit,
with those two rows behind it; a bundle comes back bit for bit.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.media import text
from maquette.media.base import Medium
from maquette.media.tokens import alphabet
from maquette.models import foreign

MARKS = ("<|endoftext|>", foreign.PROMPT, foreign.ANSWER)
"""How END, PROMPT and ANSWER are called there."""
FORM = {"positions": "learned", "norm": "layer", "mlp": "gelu", "qk_norm": False, "bias": True}
"""What makes a Transformer of `nets/transformer.py` that of GPT-2."""
ONLY: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
"""What config.json may say; the first is what it means by saying nothing."""
PARTS = (
    ("before_attention", "ln_1", False),
    ("qkv", "attn.c_attn", True),
    ("mix", "attn.c_proj", True),
    ("before_mlp", "ln_2", False),
    ("up", "mlp.c_fc", True),
    ("down", "mlp.c_proj", True),
)
"""(ours, theirs, whether its matrix lies [in, out]) of a block."""


@dataclass(frozen=True)
class Found:
    """What a folder holds: `config` is the tree of a model's config, `weights` its state_dict."""

    config: dict[str, Any]
    medium: text.Config
    weights: dict[str, Tensor]


def read(folder: Path) -> Found | None:
    """The model in `folder`, with or without the prefix `transformer.` in its names; None when it is no GPT-2.

    Raises:
        MaquetteError: MQ-7040 for a variant that the form cannot express, MQ-8003 for pickles.
    """
    tree = foreign.read_config(folder)
    if tree["model_type"] != "gpt2":
        return None
    for name, possible in ONLY.items():
        if (said := tree.get(name, possible[0])) not in possible:
            raise foreign.refusal(folder, f"its {name} is {said}, and {possible[0]} is what can be had")
    depth, heads = tree.get("n_layer", 12), tree.get("n_head", 12)
    if type(depth) is not int or type(heads) is not int:
        raise foreign.refusal(folder, "its n_layer or n_head is no whole number")
    if (found := foreign.read_merges(folder)) is None:
        raise foreign.refusal(folder, "its tokenizer is not GPT-2's byte-level BPE")
    vocab, merges = found
    rows = _rows(vocab, merges, tree, folder)
    theirs = {name.removeprefix("transformer."): t for name, t in foreign.read_weights(folder).items()}
    tied = tree.get("tie_word_embeddings", True)
    try:
        weights = {own: theirs[name].T if turned else theirs[name] for own, name, turned in _names(depth)}
        weights["table.weight"] = _reordered(theirs["wte.weight"], rows)
        if not tied:
            weights["head.weight"] = _reordered(theirs["lm_head.weight"], rows)
        width, inner = weights["table.weight"].shape[1], weights["net.blocks.0.up.weight"].shape[0]
    except KeyError as lack:
        raise foreign.refusal(folder, f"it has no {lack.args[0]}") from None
    except IndexError:
        raise foreign.refusal(folder, "its vocabulary has more tokens than its weights have rows") from None
    sizes = {"width": width, "depth": depth, "heads": heads, "expand": inner / width}
    net = {"kind": "transformer", **sizes, **FORM, "dropout": tree.get("resid_pdrop", 0.1)}
    vocabulary = "\n".join(" ".join(pair) for pair in merges)
    return Found(
        {"kind": "gpt", "net": net, "tied": tied, "embed_norm": False},
        text.Config(tokenizer="bpe", length=len(weights["net.places"]), vocabulary=vocabulary),
        {name: tensor.contiguous() for name, tensor in weights.items()},
    )


def write(folder: Path, config: dict[str, Any], weights: dict[str, Tensor], medium: Medium, classes: int) -> None:
    """The files by which `transformers` opens the model.

    Args:
        config: the tree of its config; weights: its state_dict; classes: how many labels it knows.

    Raises:
        MaquetteError: MQ-7041 for a model of another form than GPT-2's, or another vocabulary.
    """
    pieces, merges = _checked(config, medium, classes)
    own = [*MARKS, *pieces]
    names = [*sorted(alphabet()), *pieces[256:], *MARKS]
    order = [own.index(name) for name in names[:256]] + [*range(len(MARKS) + 256, len(own)), *range(len(MARKS))]
    made = {"transformer.wte.weight": weights["table.weight"][order]}
    if not config["tied"]:
        made["lm_head.weight"] = weights["head.weight"][order]
    for name, other, turned in _names(config["net"]["depth"]):
        made[f"transformer.{other}"] = weights[name].T if turned else weights[name]
    inner, places = len(weights["net.blocks.0.up.weight"]), len(weights["net.places"])
    end = names.index(MARKS[0])
    files.put_json(folder / foreign.CONFIG, _tree(config, len(own), inner, places, end))
    files.put_tensors(folder / foreign.WEIGHTS, made, {"format": "pt"})
    numbers = {name: number for number, name in enumerate(names)}
    files.put(folder / foreign.VOCAB, json.dumps(numbers, ensure_ascii=False).encode())
    files.put(folder / foreign.MERGES, f"#version: 0.2\n{merges}\n".encode())
    uses = {f"{use}_token": MARKS[0] for use in ("bos", "eos", "unk")}
    settings = {"tokenizer_class": "GPT2Tokenizer", **uses, "additional_special_tokens": list(MARKS[1:])}
    files.put_json(folder / foreign.SETTINGS, settings)


def fits(config: dict[str, Any], medium: Medium, classes: int) -> bool:
    """Whether `write` can; its arguments."""
    try:
        return bool(_checked(config, medium, classes))
    except MaquetteError:
        return False


# -- parts ------------------------------------------------------------------------------------------------------------


def _names(depth: int) -> Iterator[tuple[str, str, bool]]:
    """(our name, theirs, whether it lies [in, out]) of every tensor but the tokens' vectors."""
    yield "net.places", "wpe.weight", False
    for block in range(depth):
        for own, other, turned in PARTS:
            yield f"net.blocks.{block}.{own}.weight", f"h.{block}.{other}.weight", turned
            yield f"net.blocks.{block}.{own}.bias", f"h.{block}.{other}.bias", False
    for part in ("weight", "bias"):
        yield f"net.norm.{part}", f"ln_f.{part}", False


def _rows(vocab: dict[str, int], merges: list[tuple[str, str]], tree: dict[str, Any], folder: Path) -> list[int]:
    """Their number of each of our tokens, in our order; -1 for a mark that they have not."""
    pieces = [*alphabet(), *("".join(pair) for pair in merges)]
    if len(set(pieces)) != len(pieces) or not vocab.keys() >= set(pieces):
        raise foreign.refusal(folder, "its vocabulary is not the pieces that its merges make")
    texts = [vocab[piece] for piece in pieces]
    end = vocab.get(MARKS[0], tree.get("eos_token_id"))
    if type(end) is not int or end < 0 or end in texts:
        raise foreign.refusal(folder, f"it has no {MARKS[0]} to end a text with")
    rows = [end, *(vocab.get(mark, -1) for mark in MARKS[1:]), *texts]
    if more := sorted(vocab.keys() - set(pieces) - set(MARKS)):
        raise foreign.refusal(folder, f"its vocabulary has {more[0]!r}, which no merge makes ({len(more)} such)")
    return rows


def _reordered(table: Float[Tensor, "v d"], rows: list[int]) -> Float[Tensor, "w d"]:
    """The rows of our tokens: theirs, and fresh ones for the marks that they have not."""
    table, fresh = foreign.grown(table, rows.count(-1)), iter(range(len(table), len(table) + rows.count(-1)))
    return table[[next(fresh) if row < 0 else row for row in rows]]


def _checked(config: dict[str, Any], medium: Medium, classes: int) -> tuple[list[str], str]:
    """The tokens that are text, in our order, and the merges a line each; MQ-7041 when they cannot be written."""
    found, wanted = config["net"] | {"embed_norm": config["embed_norm"]}, FORM | {"embed_norm": False}
    found |= {"labels": bool(classes), "tokenizer": medium.config.tokenizer if isinstance(medium, text.Text) else None}
    wanted |= {"labels": False, "tokenizer": "bpe"}
    if other := [name for name in wanted if found[name] != wanted[name]]:
        has, needs = (", ".join(f"{name} {json.dumps(of[name])}" for name in other) for of in (found, wanted))
        raise MaquetteError("MQ-7041", reason=f"it has {has}", todo=f"GPT-2's form has {needs}")
    merges = [line for line in medium.config.vocabulary.split("\n") if line]  # type: ignore[attr-defined]
    pieces = [*alphabet(), *(line.replace(" ", "") for line in merges)]
    if len(set(pieces)) < len(pieces):
        reason, todo = "two merges of its vocabulary make one piece", "learn another: medium.vocab=1000, for example"
        raise MaquetteError("MQ-7041", reason=reason, todo=todo)
    return pieces, "\n".join(merges)


def _tree(config: dict[str, Any], rows: int, inner: int, places: int, end: int) -> dict[str, Any]:
    """config.json."""
    net = config["net"]
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": rows,
        "n_positions": places,
        "n_embd": net["width"],
        "n_layer": net["depth"],
        "n_head": net["heads"],
        "n_inner": inner,
        "activation_function": ONLY["activation_function"][0],
        "layer_norm_epsilon": ONLY["layer_norm_epsilon"][0],
        "resid_pdrop": net["dropout"],
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": config["tied"],
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": "float32",
    }
