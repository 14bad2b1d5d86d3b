"""Decoders of GPT-2's shape, ours and others', for the rows `decoding*`; all greedy, all with a prompt of 16 tokens."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.harness import WORK

PROMPT, NEW = 16, 128


class Shape(NamedTuple):
    layers: int
    heads: int
    width: int
    vocab: int
    context: int


SMALL = Shape(12, 12, 768, 50257, 1024)
TEN = Shape(6, 6, 384, 65, 256)


def parameters(shape: Shape) -> int:
    """Of the matrices that each token needs once."""
    return 12 * shape.layers * shape.width**2 + shape.vocab * shape.width


def maquette(shape: Shape, storage: str, rows: int):
    """A `gpt` of that shape, decoded by its own predictor as a pipeline does."""

    def contestant():
        from maquette.core import devices
        from maquette.core.seeds import Seeds
        from maquette.core.types import Condition, Marks, Sampling, Tokens
        from maquette.models import gpt
        from maquette.nets import transformer

        devices.pick_device("cpu")
        torch.manual_seed(0)
        net = transformer.Config(
            width=shape.width, depth=shape.layers, heads=shape.heads, positions="learned", norm="layer", mlp="gelu",
            bias=True, qk_norm=False,
        )  # fmt: skip
        # a vocabulary whose mark of an end is never the likeliest: every text has all its tokens
        model = gpt.Config(net=net).build(Tokens((shape.context + 1,), shape.vocab, Marks(0, 1, 2)))
        model.eval().requires_grad_(False)
        model.table.weight[0] = 0
        for weight in model.net.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
        if storage == "int8":
            devices.round_weights(model)
        model.compile_steps(storage)  # type: ignore[arg-type]
        start = torch.full((rows, PROMPT + NEW), -1)
        start[:, :PROMPT] = torch.arange(3, 3 + PROMPT)

        def work() -> int:
            with torch.inference_mode(), devices.autocast(torch.device("cpu"), storage):  # type: ignore[arg-type]
                made = model.draw(model.predictor(Condition()), start, Sampling(top_k=1), Seeds.for_samples(0, rows))
            assert made.shape == start.shape and (made[:, 1:] != 0).all()
            return rows * NEW

        return work, {"parameters": parameters(shape), "storage": storage}

    return contestant


def _gpt2(shape: Shape) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=shape.vocab, n_positions=shape.context, n_embd=shape.width, n_layer=shape.layers,
        n_head=shape.heads, eos_token_id=0, bos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def transformers(shape: Shape, rows: int):
    def contestant():
        model = _gpt2(shape)
        prompt = torch.arange(3, 3 + PROMPT).expand(rows, -1)
        asked = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}

        def work() -> int:
            made = model.generate(prompt, attention_mask=torch.ones_like(prompt), **asked)
            return made[:, PROMPT:].numel()

        return work, {"parameters": parameters(shape), "storage": "fp32"}

    return contestant


def ctranslate2(shape: Shape, rows: int):
    """The same weights, converted by its own converter and quantised by it."""

    def contestant():
        import ctranslate2 as peer

        folder = WORK / f"ctranslate2-{shape.width}"
        if not (folder / "model.bin").exists():
            _convert(shape, folder)
        generator = peer.Generator(
            str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=torch.get_num_threads()
        )
        prompts = [[f"t{i}" for i in range(3, 3 + PROMPT)]] * rows

        def work() -> int:
            made = generator.generate_batch(
                prompts, max_length=NEW, min_length=NEW, sampling_topk=1, include_prompt_in_result=False
            )
            return sum(len(result.sequences_ids[0]) for result in made)

        return work, {"parameters": parameters(shape), "storage": "int8"}

    return contestant


def _convert(shape: Shape, folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    source = WORK / f"gpt2-{shape.width}"
    _gpt2(shape).save_pretrained(source)
    words = {"<|endoftext|>": 0} | {f"t{i}": i for i in range(1, shape.vocab)}
    (source / "vocab.json").write_text(json.dumps(words))
    (source / "merges.txt").write_text("#version: 0.2\n")
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    TransformersConverter(str(source)).convert(str(folder), quantization="int8", force=True)


def memory(shape: Shape, size: int):
    """Reading as many bytes as there are parameters of `size` bytes, which is called a token."""

    def contestant():
        store = torch.ones(parameters(shape) * size // 8, dtype=torch.int64)

        def work() -> int:
            for _ in range(8):
                store.sum()
            return 8

        return work, {"gigabytes": store.numel() * 8 / 1e9}

    return contestant
