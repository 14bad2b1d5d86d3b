"""Feeding 32x32 colour pictures, batch 128, shuffled, as floats in [-1, 1]: packed once, and decoded each time."""

import torch

from benchmarks import peers

TITLE = "feeding 32x32 colour, batch 128"
UNIT = "images"
PAIRS = [("maquette", "datasets", 40.0)]
BATCH = 128


def maquette():
    from maquette.core.devices import pick_device
    from maquette.data.batches import Batches
    from maquette.data.source import Data, open_data
    from maquette.media.image import Config as Image

    device = pick_device("cpu")
    medium = Image(size=32, channels=3).build()
    data = open_data(Data(source=str(peers.test_data("emoji_noto"))), medium)
    batches = Batches(data.train, medium, BATCH, seed=0, device=device)
    step = iter(range(1 << 60))
    return lambda: len(batches(next(step))), {"items": len(data.train)}


def datasets():
    from datasets import load_dataset

    folder = str(peers.test_data("emoji_noto"))
    rows = load_dataset("parquet", data_dir=folder, split="train").select_columns(["image"]).with_format("torch")
    loader = torch.utils.data.DataLoader(rows, batch_size=BATCH, shuffle=True, drop_last=True)  # type: ignore[arg-type]

    def stream():
        while True:
            for batch in loader:
                yield batch["image"].float() / 127.5 - 1

    batches = stream()
    return lambda: len(next(batches)), {"items": len(rows)}


CONTESTANTS = {"maquette": maquette, "datasets": datasets}
