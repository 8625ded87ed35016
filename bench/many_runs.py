"""A sweep of very many runs, written without training, and how fast it is read: `python bench/many_runs.py /tmp/many`.

800 run folders in the real format: 20,000 variants of `digits` in packs of 25, 20 epochs, 64 exponents, whose spectra
and losses follow `p` with noise. What is in the folder already is kept, so that a second call only reads; then
`python analyze.py sweep=FOLDER/digits` has something to chew on.
"""

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from aelle.commands.launch import register_resolvers
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.table import load_sweep
from aelle.variants import Variant

CONF = Path(__file__).resolve().parent.parent / "conf"


def planned(folder: Path, *overrides: str) -> Plan:
    """A sweep of `digits` below `folder`, as train.py would plan it."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "train",
            [
                "experiment=digits_wide_init",
                "sweep=digits",
                "reference=null",
                f"outputs={folder.resolve()}",
                *overrides,
            ],
        )
    return Plan.of(OmegaConf.to_container(config, resolve=True))  # pyright: ignore[reportArgumentType]


def write(plan: Plan) -> int:
    """Write the packs that are not there yet, as if they had been trained; how many."""
    plan.start()
    written = 0
    for n, variants in enumerate(plan.packs()):
        path = plan.folder / f"pack-{n:04d}"
        if not (path / "status.json").exists():
            run = RunFolder(path, {**plan.config, "pack": n})
            run.begin(variants)
            run.write_epochs(epochs_of(variants, plan.config))
            run.write_variants(variants, ["complete"] * len(variants))
            run.write_status("complete", epoch=plan.config["epochs"], device="none")
            written += 1
    return written


def epochs_of(variants: list[Variant], config: dict[str, Any]) -> pa.Table:
    """Rows as a training writes them. With a larger p, losses stay high and exponents spread."""
    E, K, V = config["epochs"] + 1, variants[0].hyperparameters["hidden_size"], len(variants)
    rng = np.random.default_rng(variants[0].number)
    p = np.array([v.hyperparameters["p"] for v in variants])
    trained = np.linspace(0, 1, E)[:, None]  # [E, 1]
    final = 0.3 + 0.6 * (p - 2) + 0.15 * rng.standard_normal(V)
    losses = np.abs(2.3 * (1 - trained) + trained * final + 0.02 * rng.standard_normal((E, V)))
    spread = (p + 0.2 * trained)[..., None] * np.linspace(0.2, -1.5, K)
    spectra = -np.sort(-(spread + 0.05 * rng.standard_normal((E, V, K))), axis=-1)
    offsets = pa.array(range(0, E * V * K + 1, K), pa.int32())
    floats = {f"{part}_{what}": losses for part in ("val", "test") for what in ("loss", "accuracy")}
    return pa.table(
        {
            "variant": np.tile([v.number for v in variants], E),
            "epoch": np.repeat(np.arange(E), V),
            "seconds": np.full(E * V, 0.1),
            **{name: values.ravel() for name, values in {**floats, "train_loss": losses}.items()},
            "spectrum": pa.ListArray.from_arrays(offsets, pa.array(spectra.ravel())),
            "spectrum_stderr": pa.ListArray.from_arrays(offsets, pa.array(np.full(E * V * K, 0.01))),
            "clamped": np.zeros(E * V, dtype=np.int64),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variants", type=int, default=20_000)
    options = parser.parse_args()

    plan = planned(options.folder, f"size={options.variants}")
    for what, action in (
        ("written", lambda: f"{write(plan)} runs"),
        ("read by load_sweep", lambda: f"{load_sweep(plan.folder).spectra.shape} spectra"),
        ("asked for what is complete", lambda: f"{len(plan.complete())} variants"),
        ("asked again", lambda: f"{len(plan.complete())} variants"),
    ):
        since, cpu = time.perf_counter(), time.process_time()
        found = action()
        print(f"{what}: {found}, {time.perf_counter() - since:.1f} s, {time.process_time() - cpu:.1f} s of CPU")
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
