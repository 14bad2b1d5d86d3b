"""Tiny random models in the formats of the Hugging Face libraries, with tokenizers learnt from a few lines."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

LINES = [
    "It was the best of times, it was the worst of times.",
    "春眠不覺曉，處處聞啼鳥。",
    "x = [1, 22, 333]  # 🎉",
] * 5
END = "<|endoftext|>"


def merges(n: int = 60) -> list[tuple[str, str]]:
    """What `tokenizers` learns of `LINES`."""
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=256 + n, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(LINES, trainer)
    return [tuple(pair) for pair in json.loads(made.to_str())["model"]["merges"]]


def write_tokenizer(folder: Path, whole: bool) -> int:
    """GPT-2's numbering, as one tokenizer.json or as vocab.json and merges.txt; returns how many tokens there are."""
    import tokenizers

    pairs = merges()
    pieces = [*sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in pairs)]
    assert len(set(pieces)) == len(pieces)
    vocab = {piece: number for number, piece in enumerate([*pieces, END])}
    if whole:
        made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=pairs))
        made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = tokenizers.decoders.ByteLevel()
        made.add_special_tokens([END])
        made.save(str(folder / "tokenizer.json"))
    else:
        (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
        lines = "\n".join(" ".join(pair) for pair in pairs)
        (folder / "merges.txt").write_text(f"#version: 0.2\n{lines}\n", encoding="utf-8")
    return len(vocab)


def quiet() -> Any:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def saved(model: Any, folder: Path, spread: float, shard: str = "50GB") -> Any:
    """`model` with weights large enough that its logits differ, written to `folder`."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0.0, spread) if p.ndim > 1 else p.add_(torch.randn_like(p) * 0.1)
    model.save_pretrained(folder, max_shard_size=shard)
    return model.eval()


def gpt2(folder: Path, tied: bool = True, whole: bool = False, shard: str = "50GB", prefix: bool = True) -> Any:
    """A GPT-2 of two layers and width 16 in `folder`."""
    transformers = quiet()
    folder.mkdir(parents=True)
    size = write_tokenizer(folder, whole)
    shape = transformers.GPT2Config(
        vocab_size=size, n_positions=32, n_embd=16, n_layer=2, n_head=2, n_inner=40, tie_word_embeddings=tied,
        bos_token_id=size - 1, eos_token_id=size - 1,
    )  # fmt: skip
    model = saved(transformers.GPT2LMHeadModel(shape), folder, 0.3, shard)
    if not prefix:
        tensors = load_file(folder / "model.safetensors")
        causal = {"h.0.attn.bias": torch.ones(1, 1, 32, 32, dtype=torch.uint8)}  # as older files hold it
        save_file(
            {n.removeprefix("transformer."): t for n, t in tensors.items()} | causal, folder / "model.safetensors"
        )
    return model


def llama(folder: Path, tied: bool = False) -> Any:
    """A Llama of two layers and width 16 in `folder`, with a tokenizer.json."""
    transformers = quiet()
    folder.mkdir(parents=True)
    size = write_tokenizer(folder, whole=True)
    shape = transformers.LlamaConfig(
        vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=48, tie_word_embeddings=tied, bos_token_id=size - 1,
        eos_token_id=size - 1, pad_token_id=size - 1,
    )  # fmt: skip
    return saved(transformers.LlamaForCausalLM(shape), folder, 0.3)


def texts(folder: Path, sentence: str = LINES[0] + "\n", times: int = 1) -> Path:
    """A folder of 20 texts, each a sentence several times."""
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"{number}.txt").write_text(sentence * times * (1 + number % 4), encoding="utf-8")
    return folder


def edit(folder: Path, name: str, **changes: Any) -> None:
    """Change the table in a JSON file; a value of None takes the key away."""
    tree = json.loads((folder / name).read_text(encoding="utf-8")) | changes
    (folder / name).write_text(json.dumps({k: v for k, v in tree.items() if v is not None}), encoding="utf-8")
