"""Prune the trials of one's own Optuna objective by their chance of low error.

    python examples/optuna_pruning.py

A first study runs without pruning, and a predictor learns from its losses and spectra. In a second one, trials to which
it gives little chance are stopped. The picture is written to `optuna_pruning.svg`.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import optuna
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aelle
from aelle.integrations.optuna import AeLLEPruner

torch.manual_seed(0)
X = torch.randn(600, 12, 1)  # [n, T, I]: is the sum of the sequence above zero?
Y = (X.sum((1, 2)) > 0).float()
TRAIN, VAL = TensorDataset(X[:400], Y[:400]), TensorDataset(X[400:], Y[400:])
EPOCHS, QUIET = 6, ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


class SignOfSum(pl.LightningModule):
    def __init__(self, gain: float, learning_rate: float):
        super().__init__()
        self.rnn, self.readout, self.learning_rate = nn.GRU(1, 12, batch_first=True), nn.Linear(12, 1), learning_rate
        self.rnn.weight_hh_l0.data *= gain
        self.val_losses: list[float] = []

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        logits = self.readout(self.rnn(batch[0])[0][:, -1])[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(logits, batch[1])

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        self.val_losses.append(float(self.training_step(batch, _)))
        self.log("val_loss", self.val_losses[-1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.learning_rate)


LYAPUNOV = aelle.LyapunovCallback("rnn", probe=X[400:408])


def objective(trial: optuna.Trial) -> float:
    torch.manual_seed(trial.number)
    gain, rate = trial.suggest_float("gain", 0.1, 6, log=True), trial.suggest_float("learning_rate", 1e-4, 1, log=True)
    module, pruner = SignOfSum(gain, rate), trial.study.pruner
    callbacks = [LYAPUNOV, pruner.callback(trial)] if isinstance(pruner, AeLLEPruner) else [LYAPUNOV]
    trainer = pl.Trainer(max_epochs=EPOCHS, callbacks=callbacks, **dict.fromkeys(QUIET, False))
    try:
        trainer.fit(module, DataLoader(TRAIN, batch_size=50, shuffle=True), DataLoader(VAL, batch_size=200))
    finally:  # of a pruned trial, too; the first loss is that of Lightning's sanity check, before training
        trial.set_user_attr("losses", module.val_losses)
        trial.set_user_attr("spectra", [spectrum.exponents.tolist() for spectrum in LYAPUNOV.spectra.values()])
    return module.val_losses[-1]


def main(known: int = 30, new: int = 20) -> tuple[optuna.Study, optuna.Study]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    first = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    first.optimize(objective, known)
    losses, spectra = ([trial.user_attrs[name] for trial in first.trials] for name in ("losses", "spectra"))
    params = pd.DataFrame([trial.params for trial in first.trials])
    predictor = aelle.EarlyPredictor(threshold=0.2).fit(losses, spectra, params)
    pruner = AeLLEPruner(predictor, LYAPUNOV, below=0.1)
    second = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), pruner=pruner)
    second.optimize(objective, new)
    plt.style.use(Path(__file__).with_name("gallery.mplstyle"))
    figure, panels = plt.subplots(1, 2, sharey=True)
    for axes, study, title in zip(
        panels, (first, second), ("without pruning", "pruned below a chance of 10 %"), strict=True
    ):
        for trial in study.trials:
            color = "C1" if trial.user_attrs["losses"][-1] > 0.2 else "C0"
            axes.plot(trial.user_attrs["losses"], color=color, linewidth=1)
        axes.set(title=title, xlabel="epoch", yscale="log")
    panels[0].set_ylabel("validation loss (nats)")
    figure.savefig("optuna_pruning.svg")
    for name, study in (("first", first), ("second", second)):
        epochs = sum(len(trial.user_attrs["losses"]) - 1 for trial in study.trials)
        print(
            f"{name} study: {epochs} of {EPOCHS * len(study.trials)} epochs trained, best loss {study.best_value:.3f}"
        )
    return first, second


if __name__ == "__main__":
    main()
