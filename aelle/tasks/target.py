"""Target learning by FORCE: `target`."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from aelle.data.sines import PERIOD, FourSines
from aelle.tasks.force_network import RankOne
from aelle.tasks.module import PopulationModule
from aelle.variants import Variant, shared_value, values_of

EXAMPLE_STEPS = 600
"""Length of an example output, in steps."""


class TargetLearning(PopulationModule):
    """V networks learn by recursive least squares to output their targets, and then generate them freely.

    `data`: the targets f of the `variants` of a pack. An epoch is one period of the target, which ends where it begins.
    The validation loss is the mean |z − f| over a free run of a period; after the last epoch, over as many periods as
    there were epochs. Source: Sussillo & Abbott 2009; sizes and gains of Vogt et al. 2022.
    """

    target: Tensor
    output: Tensor
    reads = ("hidden_size", "g", "target")

    def __init__(self, data: FourSines, variants: Sequence[Variant]):
        super().__init__(variants)
        self.automatic_optimization = False
        self.network = RankOne(
            int(shared_value(variants, "hidden_size")),
            values_of(variants, "g"),
            [v.seeds["init"] for v in variants],
        )
        self.register_buffer("target", data.of(variants), persistent=False)
        self.register_buffer("output", torch.zeros(len(variants), PERIOD))

    def configure_optimizers(self) -> None:
        """None: there is no gradient to follow."""

    def train_dataloader(self) -> list[str]:
        return ["one period of the target"]

    def val_dataloader(self) -> list[str]:
        return ["val"]

    def training_step(self, batch: str, _: int) -> None:
        self.network.learn(self.target)

    def validation_step(self, part: str, _: int) -> None:
        trainer = self.trainer
        last = trainer.state.fn == TrainerFn.FITTING and self.current_epoch + 1 == trainer.max_epochs
        periods = int(trainer.max_epochs or 1) if last else 1
        outputs = self.network.run_free(periods * PERIOD)
        self.output.copy_(outputs[:, -PERIOD:])
        loss = (outputs - self.target.repeat(1, periods)).abs().mean(1)
        self.alive &= loss.isfinite() & self.network.finite()
        self.metrics["val_loss"] = loss.masked_fill(~self.alive, torch.nan)
        self.log("val_loss", self.metrics["val_loss"].nanmedian(), batch_size=1)

    def example_outputs(self) -> dict[str, Any]:
        """The end of the last free run, [V, 600] each."""
        return {"output": self.output[:, -EXAMPLE_STEPS:], "target": self.target[:, -EXAMPLE_STEPS:]}
