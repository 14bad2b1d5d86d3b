"""pythae's VAE and its trainer, as they are installed."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn


def build(latent: int) -> nn.Module:
    """Its default networks for 28x28 grey pictures: 784-512-latent-512-784."""
    from pythae.models import VAE, VAEConfig

    return VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=latent, reconstruction_loss="bce"))


def train(model: nn.Module, items: Tensor, out: Path, tick: Callable[[], None], rate: float = 1e-3) -> None:
    """Its own `BaseTrainer`, Adam, batches of 64, on pictures in [0, 1]; `tick` is called after each step."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class EachStep(TrainingCallback):
        def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
            tick()

    logging.disable(logging.INFO)
    config = BaseTrainerConfig(
        output_dir=str(out), num_epochs=1_000_000, learning_rate=rate, per_device_train_batch_size=64
    )
    labels = items.new_zeros(len(items))
    trainer = BaseTrainer(
        model=model, train_dataset=BaseDataset(items, labels), training_config=config, callbacks=[EachStep()]
    )
    trainer.train()
