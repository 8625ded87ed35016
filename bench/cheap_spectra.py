"""How cheap spectra may be for early prediction: `python bench/cheap_spectra.py [SWEEP …]`, all of them by default.

Each sweep is trained once, on one thread. Before training and after every epoch, the same networks are measured under
every setting: the number of sequences; how many steps of each, its first or its last ones, from the zero state; how
many leading exponents; and the precision. A row per setting: the CPU time of all its spectra over that of the training
without any; and two ROC AUCs of early prediction, means over the epochs up to the middle of the training, with the
difference from exact spectra:

spectrum     a support vector machine with a Gaussian kernel that sees the spectrum after that epoch alone, resampled to
             32 points. (The best initial weights are neither the smallest nor the largest, so that a linear model of
             spectra hardly ranks `digits`.)
recommended  `aelle.EarlyPredictor`, which sees losses, hyperparameters and spectra so far; only for some settings.

Variants are predicted by fits to others: repeated stratified folds. The standard error of a difference is that of the
folds' differences, with the correction for fits that share variants (Nadeau & Bengio 2003).

`smnist` is a small one: 100 LSTMs and GRUs of 32 units in the search space of `digits`, which learn from 5 % of the
images for 12 epochs and are validated on 600. With all images training takes twenty times as long, and spectra as long
as here.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import thread_time
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from jaxtyping import Bool, Float
from omegaconf import OmegaConf
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from aelle.analysis.scores import roc_auc
from aelle.commands.launch import register_resolvers
from aelle.data.images import Part
from aelle.lyapunov.spectrum import curve, signed_log
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import observed
from aelle.sweep.arrays import table_of
from aelle.sweep.options import with_names
from aelle.sweep.plan import Plan
from aelle.training.parts import Parts

CONF = Path(__file__).resolve().parent.parent / "conf"

SWEEPS = {
    "digits": ("experiment=digits", "reference=null"),
    "recall": ("experiment=recall",),
    "smnist": (
        *("experiment=smnist_early", "size=100", "epochs=12", "keep=0.05", "hidden_size=32", "cell=[lstm,gru]"),
        *('p="log_uniform(0.05,3)"', 'learning_rate="log_uniform(1e-3,1e-1)"', "task.threshold=0.5"),
    ),
}

EVALUATED = 600
"""Sequences of the validation and of the test part that are evaluated after each epoch, at most."""

POINTS = 32
"""Of the resampled spectrum."""

FOLDS = 5


class Setting(NamedTuple):
    """`steps`: the share of each sequence's steps that is measured; below 0, its last ones. `k`: None for all."""

    sequences: int
    steps: float = 1
    k: int | None = None
    precision: str = "float64"

    def __str__(self) -> str:
        parts = [f"{self.sequences} sequences" if self.sequences > 1 else "1 sequence"]
        if self.steps != 1:
            parts.append(f"{'first' if self.steps > 0 else 'last'} {abs(self.steps):g} of the steps")
        if self.k is not None:
            parts.append(f"k = {self.k}")
        return ", ".join([*parts, *([self.precision] if self.precision != "float64" else [])])

    def probe(self, probe: Float[Tensor, "B T I"]) -> Float[Tensor, "b t I"]:
        some, steps = probe[: self.sequences], max(1, round(abs(self.steps) * probe.shape[1]))
        return some[:, :steps] if self.steps > 0 else some[:, -steps:]


EXACT = Setting(32)

SETTINGS = [
    EXACT,
    *(Setting(sequences) for sequences in (16, 8, 4, 2, 1)),
    *(Setting(sequences, steps) for steps in (0.5, -0.5, 0.25, -0.25) for sequences in (32, 8)),
    *(Setting(8, k=k) for k in (16, 8, 4, 1)),
    Setting(32, k=4),
    Setting(2, k=8),
    Setting(8, precision="float32"),
]

WITH_PREDICTOR = [EXACT, Setting(8), Setting(8, k=4)]
"""The settings that the recommended predictor is fitted to: it takes longer than all the rest."""


class Measured(NamedTuple):
    """A sweep's validation losses, NaN of diverged variants; its hyperparameters; for each setting, spectra padded with
    NaN and CPU seconds; and the CPU seconds of training without them."""

    losses: Float[np.ndarray, "V E"]
    hyperparameters: dict[str, list[Any]]
    spectra: dict[Setting, Float[np.ndarray, "V E K"]]
    seconds: dict[Setting, float]
    training: float
    threshold: float

    @property
    def low(self) -> Bool[np.ndarray, "V"]:
        return np.asarray(self.losses[:, -1] < self.threshold)


class Auc(NamedTuple):
    """ROC AUCs, one for each split and epoch."""

    of: Float[np.ndarray, "splits E"]

    def mean(self) -> float:
        return float(self.of.mean())

    def minus(self, exact: "Auc") -> tuple[float, float]:
        """The difference and its standard error."""
        differences = (self.of - exact.of).mean(1)
        n = len(differences)
        return float(differences.mean()), float((differences.var(ddof=1) * (1 / n + 1 / (FOLDS - 1))) ** 0.5)


class Measuring(pl.Callback):
    """Measures a population under every setting. `losses`: a column [V] per epoch; `seconds`: of each setting."""

    def __init__(self, probe: Float[Tensor, "B T I"], settings: list[Setting], over: str):
        self.probe, self.over = probe, over
        self.losses: list[np.ndarray] = []
        self.spectra: dict[Setting, list[np.ndarray]] = {setting: [] for setting in settings}
        self.seconds = dict.fromkeys(settings, 0.0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        # The first call compiles.
        self._measured(pl_module, EXACT)
        self._measure(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._measure(pl_module)

    def _measure(self, module: Any) -> None:
        self.losses.append(torch.where(module.diverged(), torch.nan, module.metrics["val_loss"]).double().numpy())
        for setting, found in self.spectra.items():
            since = thread_time()
            exponents = self._measured(module, setting)
            self.seconds[setting] += thread_time() - since
            found.append(exponents.double().numpy())

    def _measured(self, module: Any, setting: Setting) -> Tensor:
        dtype = getattr(torch, setting.precision)
        probe = setting.probe(self.probe)
        return module.network.spectrum(probe, over=self.over, dtype=dtype, steps=None, k=setting.k).exponents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="*", metavar="SWEEP", help=f"one of {', '.join(SWEEPS)}; default: all")
    parser.add_argument("--option", action="append", default=[], help="an option of train.py, e.g. size=50")
    parser.add_argument("--repeats", type=int, default=10, help=f"of the {FOLDS} folds; 0: costs only")
    parser.add_argument("--predictor", type=int, default=1, help="repeats for the recommended predictor; 0: without")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| sweep | setting | share of training | ROC AUC, spectrum | − exact | ROC AUC, recommended | − exact |")
    print("|---|---|---|---|---|---|---|")
    for name in options.sweeps or SWEEPS:
        sweep = measured([*SWEEPS[name], *options.option], SETTINGS)
        for row in rows(name, sweep, options.repeats, options.predictor):
            print(row, flush=True)


def measured(overrides: list[str], settings: list[Setting]) -> Measured:
    """Train a sweep, pack by pack."""
    config = with_names(configuration(overrides))
    parts = Parts(config)
    parts.data = replace(parts.data, val=some(parts.data.val), test=some(parts.data.test))
    probe, over = parts.data.probe(max(setting.sequences for setting in settings)), config["lyapunov"]["over"]
    callbacks, variants, training = [], [], 0.0
    for pack in Plan(config, Path()).packs():
        callback, module = Measuring(probe, settings, over), parts.module(parts.data, pack)
        trainer = parts.trainer([callback], enable_checkpointing=False)
        trainer.validate(module, verbose=False)
        since = thread_time()
        trainer.fit(module)
        training += thread_time() - since - sum(callback.seconds.values())
        callbacks.append(callback)
        variants += pack
    varied = {name: [v.hyperparameters[name] for v in variants] for name in variants[0].hyperparameters}
    return Measured(
        np.concatenate([np.stack(one.losses, 1) for one in callbacks]),
        {name: values for name, values in varied.items() if len(set(map(str, values))) > 1},
        {one: padded([np.stack(callback.spectra[one], 1) for callback in callbacks]) for one in settings},
        {one: sum(callback.seconds[one] for callback in callbacks) for one in settings},
        training,
        config["task"]["threshold"],
    )


def configuration(overrides: list[str]) -> dict[str, Any]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides), resolve=True)  # pyright: ignore[reportReturnType]


def some(part: Part) -> Part:
    return Part(part.x[:EVALUATED], part.y[:EVALUATED])


def padded(spectra: list[Float[np.ndarray, "v E _"]]) -> Float[np.ndarray, "V E K"]:
    K = max(one.shape[-1] for one in spectra)
    pads = [((0, 0), (0, 0), (0, K - one.shape[-1])) for one in spectra]
    return np.concatenate([np.pad(one, pad, constant_values=np.nan) for one, pad in zip(spectra, pads, strict=True)])


def rows(name: str, sweep: Measured, repeats: int, of_predictor: int) -> Iterator[str]:
    low, named = sweep.low, presets()
    yield f"| {name} | {len(low)} variants, {100 * low.mean():.0f} % low-error | {sweep.training:.0f} s | | | | |"
    alone = {one: of_spectrum(sweep, one, repeats) for one in sweep.spectra} if repeats else {}
    few = [one for one in WITH_PREDICTOR if one in sweep.spectra and of_predictor]
    recommended = {one: of_recommended(sweep, one, of_predictor) for one in few}
    for one, seconds in sweep.seconds.items():
        setting = f"**{named[one]}**: {one}" if one in named else str(one)
        cells = [name, setting, f"{100 * seconds / sweep.training:.1f} %"]
        yield "| " + " | ".join([*cells, *compared(one, alone), *compared(one, recommended)]) + " |"


def presets() -> dict[Setting, str]:
    """The names of the settings that `lyapunov=NAME` chooses."""
    names = [file.stem for file in (CONF / "lyapunov").glob("*.yaml")]
    options = {name: configuration([f"lyapunov={name}"])["lyapunov"] for name in names}
    return {Setting(one["sequences"], 1, one["k"], one["precision"]): name for name, one in options.items()}


def compared(one: Setting, auc: dict[Setting, Auc]) -> tuple[str, str]:
    if one not in auc:
        return "", ""
    if one == EXACT:
        return f"{auc[one].mean():.3f}", ""
    difference, error = auc[one].minus(auc[EXACT])
    return f"{auc[one].mean():.3f}", f"{difference:+.4f} ± {error:.4f}"


def folds(low: Bool[np.ndarray, "V"], repeats: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=0).split(low, low)


def early(sweep: Measured) -> range:
    """Before training and up to the middle of it."""
    return range((sweep.losses.shape[1] - 1) // 2 + 1)


def of_spectrum(sweep: Measured, setting: Setting, repeats: int) -> Auc:
    low = sweep.low
    columns = [curves(sweep.spectra[setting][:, epoch]) for epoch in early(sweep)]

    def auc(known: np.ndarray, others: np.ndarray, at: Float[np.ndarray, "V M"]) -> float:
        finite = np.isfinite(at).all(1)
        known = known[finite[known]]
        machine = make_pipeline(StandardScaler(), SVC(C=10)).fit(at[known], low[known])
        scores = np.full(len(low), -np.inf)
        scores[finite] = machine.decision_function(at[finite])
        return roc_auc(low[others], scores[others])

    return Auc(np.array([[auc(*split, at) for at in columns] for split in folds(low, repeats)]))


def curves(spectra: Float[np.ndarray, "V K"]) -> Float[np.ndarray, "V M"]:
    """Of each variant over its own exponents; NaN where it has diverged."""
    lengths = np.isfinite(spectra).sum(1)
    found = np.full((len(spectra), POINTS), np.nan)
    for length in np.unique(lengths[lengths > 0]):
        of_length = lengths == length
        found[of_length] = signed_log(curve(spectra[of_length, :length], POINTS))
    return found


def of_recommended(sweep: Measured, setting: Setting, repeats: int) -> Auc:
    low, hyperparameters = sweep.low, {name: np.array(values) for name, values in sweep.hyperparameters.items()}
    table = replace(table_of(sweep.losses, sweep.spectra[setting], hyperparameters), threshold=sweep.threshold)

    def aucs(known: np.ndarray, others: np.ndarray) -> list[float]:
        predictor = EarlyPredictor(sweep.threshold).fit(table.take(known))
        unknown = table.take(others)
        found = [predictor.predict(observed(unknown, epoch)) for epoch in early(sweep)]
        return [roc_auc(low[others], one.chance) for one in found]

    return Auc(np.array([aucs(*split) for split in folds(low, repeats)]))


if __name__ == "__main__":
    main()
