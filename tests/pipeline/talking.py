"""Untrained models of text, saved as bundles: they say anything, half characters and all, and cost nothing."""

from pathlib import Path

import torch

from maquette.bundle import save_bundle
from maquette.media.text import Config
from maquette.models.base import ModelConfig

POEM = "春眠不覺曉，處處聞啼鳥。\n夜來風雨聲，花落知多少。"
LETTERS = "".join(sorted(set(POEM + "abcdefgh, ")))
NET = {"kind": "transformer", "width": 16, "depth": 2, "heads": 2}
KINDS = {
    "gpt": {"kind": "gpt", "net": NET},
    "lstm": {"kind": "lstm", "width": 16},
    "mdlm": {"kind": "mdlm", "net": NET, "steps": 6},
}
LEFT_TO_RIGHT = ("gpt", "lstm")


def saved(folder: Path, kind: str, classes: tuple[str, ...] = (), **medium) -> Path:
    """A bundle in `folder` of characters (unless `medium` says otherwise) and a context of 80 tokens."""
    text = Config(**({"tokenizer": "character", "vocabulary": LETTERS, "length": 80} | medium))
    config = ModelConfig.from_tree(KINDS[kind], "model")
    torch.manual_seed(1)
    model = config.build(text.build().space, len(classes)).eval()
    with torch.no_grad():
        for weight in model.parameters():  # what starts at zero would hide what depends on it
            weight.add_(0.2 * torch.randn_like(weight))
    save_bundle(folder / "bundle", text, config, list(classes), model.state_dict(), {"name": kind})
    return folder / "bundle"
