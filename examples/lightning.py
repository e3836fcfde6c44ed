"""The package's methods in Lightning: a LightningModule of a few lines.

    python examples/lightning.py lewel_b_tiny IMAGES

What Lightning's loop has to do for a method: `before_step` before the forward pass (MoCo's moving average), and
`after_step` with the forward's second result after the optimizer's step (BYOL's moving average, the queue). For one
process: SyncBN, ShuffleBN and the targets' statistics over several are arranged by `lewel pretrain`, which also does
exact resuming, health checks and rejected steps. Leave `accumulate_grad_batches` at 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent.resolve()))  # or `import lightning` would find this file

import lightning
import torch
from torch import Tensor

import lewel
from lewel.data.images import open_images
from lewel.data.loader import batches, steps_per_epoch
from lewel.engine.optim import make_optimizer
from lewel.engine.schedule import warmup_cosine


class Pretraining(lightning.LightningModule):
    """A recipe's method, optimizer and schedule, `epoch_steps` steps an epoch; takes `lewel.shapes.Batch`."""

    def __init__(self, recipe: lewel.Recipe, epoch_steps: int):
        super().__init__()
        self.recipe, self.epoch_steps = recipe, epoch_steps
        self.method = lewel.build.method(recipe)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.method.before_step(self.global_step, self.recipe.epochs * self.epoch_steps)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, self.out = self.method(*batch.views)
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.method.after_step(self.out)

    def configure_optimizers(self) -> Any:
        spec = self.recipe.optimizer
        share = warmup_cosine(
            1.0, self.recipe.epochs, self.epoch_steps, warmup_epochs=spec.warmup_epochs, decay_per=spec.decay_per
        )
        optimizer = make_optimizer(self.method, spec)  # at its peak rate, of which `share` is the share
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main(name: str, folder: str) -> None:
    images, recipe = open_images(Path(folder)), lewel.recipes.get(name)
    epoch_steps = steps_per_epoch(len(images), recipe.optimizer.batch_size)
    total = recipe.epochs * epoch_steps
    data = batches(images, recipe.data, recipe.optimizer.batch_size, seed=0, start_step=0, total_steps=total, workers=1)
    module = Pretraining(recipe, epoch_steps)
    lightning.Trainer(max_steps=total, devices=1, logger=False).fit(module, data)
    path = Path("encoder.safetensors")
    lewel.save_encoder(module.method.encoder, path, {"recipe": name, "image_size": recipe.data.image_size})
    print(f"wrote {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
