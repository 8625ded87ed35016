"""What this does on a GPU: `python bench/device.py`, about three minutes on an H100, no network.

Writes FOLDER/device.json after every row, and FOLDER/device.md, a table per part (`--into FOLDER`, by default the
current one). Select parts by name, `python bench/device.py training`; `peaks` always runs, because shares of the peak
need it. `--device cpu --quick` runs the same code at the size of a toy. A part that fails is recorded with its
traceback, and the others go on. `correctness`, `training` and `spectra` have a limited time each, and name what does
not fit as left out; the other parts run to their end, on a slower GPU in more time.

Packages: those that `pip install .` installs. Besides, on request: torchrecurrent (one cell of it is checked). With
`AELLE_DATA` set to the folder of MNIST its images are used; without it random ones of the same shape, which take the
same time.

peaks        what large matrix products and a large copy reach.
correctness  the device against the CPU: exponents, orthonormalised after every step (float64: 1e-9 nats), after as many
             as the error budget allows (1e-6 is promised), and the resolved ones in float32 (1e-3); FORCE; gradients of
             a training step.
training     samples per second of V networks side by side, and of one `nn.LSTM` by cuDNN (whose default is TF32), which
             is the rate of any number of them one after another; both in steady state, without Lightning.
force        a step of FORCE, for V networks side by side.
spectra      seconds, beside a batched `torch.linalg.qr` loop and a parallel prefix scan. These two are timed on fewer
             sequences where they would take too long, and multiplied.
early        `experiment=smnist_early` (200 LSTMs of 64, 60,000 images, spectra after each epoch) by Lightning without a
             run folder: two epochs, and the second one times 19 for the rest.
"""

import argparse
import json
import math
import platform
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from device_early import early
from device_parts import correctness, force, peaks, spectra, training
from device_sizes import FULL, QUICK, Clock, Sizes, synchronize

PARTS: dict[str, Callable[..., Iterable[dict[str, Any]]]] = {
    part.__name__: part for part in (peaks, correctness, early, training, force, spectra)
}


@dataclass
class Report:
    """What has been measured so far, on disk after every row."""

    folder: Path
    found: dict[str, Any] = field(default_factory=dict)

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "device.json").write_text(json.dumps(self.found, indent=1, allow_nan=False) + "\n")
        (self.folder / "device.md").write_text(as_markdown(self.found))


def measure(report: Report, names: Iterable[str], device: torch.device, sizes: Sizes) -> None:
    report.found["machine"] = machine(device)
    for name in ["peaks", *(name for name in names if name != "peaks")]:
        since, rows = perf_counter(), []
        part = report.found[name] = {"rows": rows}
        try:
            for row in PARTS[name](device, sizes, Clock(sizes.seconds[name]), report.found):
                rows.append({column: as_json(value) for column, value in row.items()})
                report.write()
                print(name, row, flush=True)
        except Exception as error:
            part["error"], part["traceback"] = (
                f"{type(error).__name__}: {error}".splitlines()[0],
                traceback.format_exc(),
            )
            print(name, "FAILED", part["error"], flush=True)
        synchronize(device)
        part["seconds"] = round(perf_counter() - since, 1)
        report.write()


def machine(device: torch.device) -> dict[str, Any]:
    of_gpu = {}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        of_gpu = {
            "gpu": properties.name,
            "gpu memory, GiB": round(properties.total_memory / 2**30),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return {
        "device": str(device),
        **of_gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "float32 products": torch.get_float32_matmul_precision(),
    }


def as_markdown(found: dict[str, Any]) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in found["machine"].items()), ""]
    for name, part in found.items():
        if name == "machine":
            continue
        lines += [f"## {name} ({part.get('seconds', '?')} s)", ""]
        if "error" in part:
            lines += [f"failed: {part['error']}", ""]
        if part["rows"]:
            columns = list(dict.fromkeys(column for row in part["rows"] for column in row))
            lines += [as_row(columns), as_row(["---"] * len(columns))]
            lines += [as_row([as_text(row.get(column, "")) for column in columns]) for row in part["rows"]] + [""]
    return "\n".join(lines)


def as_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_json(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become their names."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def as_text(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--quick", action="store_true", help="at the size of a toy")
    parser.add_argument("--into", type=Path, default=Path("."), metavar="FOLDER")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    if chosen.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU: --device cpu --quick runs the same code on a CPU")
    if chosen.device.index is not None:
        torch.cuda.set_device(chosen.device)
    measure(Report(chosen.into), chosen.parts or PARTS, chosen.device, QUICK if chosen.quick else FULL)
    print((chosen.into / "device.md").read_text())


if __name__ == "__main__":
    main()
