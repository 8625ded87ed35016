"""A fitted model as two files: parameters as JSON, arrays as NPZ. Nothing that could run code when it is read.

Axes: C component, L latent, F column, S autoencoder, V view.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from aelle.errors import UserError, in_one_line, reason
from aelle.files import MODEL_FILES, replace_atomically
from aelle.model.autoencoder import Autoencoders
from aelle.model.committee import Committee, Gauge, Weights
from aelle.model.regions import Region
from aelle.model.scaling import Scaling
from aelle.model.targets import CLASSES

FORMAT = 5

PARAMETERS, ARRAYS = MODEL_FILES


class Fitted(NamedTuple):
    """The result of a fit; the model has each as an attribute with an underscore. `history`: whether it needs the
    spectra so far; `single_until`: see `aelle.model.samples.last_single`; `n_features_in`: the number of points of the
    spectra that were given, `n_covariates` that of the covariates; `names`: of the columns of either, where they were
    frames."""

    scaling: Scaling
    committee: Committee
    center: Float[np.ndarray, "L"]
    axes: Float[np.ndarray, "L L"]
    errors: Float[np.ndarray, "q"]
    region: Region
    loss_region: Region
    history: bool
    n_features_in: int
    n_covariates: int
    classes: Shaped[np.ndarray, "2"]
    single_until: float
    names: dict[str, Shaped[np.ndarray, "_"]]


def write_model(folder: Path, parameters: dict[str, Any], learned_from: dict[str, Any], fitted: Fitted) -> None:
    """Write `aelle.json` and `arrays.npz`, each replaced atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    text = as_json({"format": FORMAT, "parameters": parameters, "learned_from": learned_from})
    write_arrays(folder / ARRAYS, arrays_of(fitted))
    replace_atomically(folder / PARAMETERS, lambda path: path.write_text(text))


def arrays_of(fitted: Fitted) -> dict[str, np.ndarray]:
    committee = fitted.committee
    arrays = {"center_": fitted.center, "axes_": fitted.axes, "reconstructing": committee.reconstructing}
    arrays |= {"errors_": fitted.errors}
    arrays |= {"history_": np.array(fitted.history), "n_features_in_": np.array(fitted.n_features_in)}
    arrays |= {"n_covariates_": np.array(fitted.n_covariates), "classes_": fitted.classes}
    arrays |= {"single_until_": np.array(fitted.single_until)}
    arrays |= {f"names.{what}": names for what, names in fitted.names.items()}
    arrays |= {f"network.{name}": tensor.numpy() for name, tensor in committee.networks.state_dict().items()}
    parts = {"scaling": fitted.scaling, "region": fitted.region, "loss_region": fitted.loss_region}
    parts |= {"weights": committee.weights} | ({} if committee.gauge is None else {"gauge": committee.gauge})
    for part, values in parts.items():
        arrays |= {f"{part}.{name}": np.asarray(value) for name, value in values._asdict().items()}
    return arrays


def as_json(description: dict[str, Any]) -> str:
    """Numbers of NumPy's are written as Python's."""
    return json.dumps(description, indent=2, default=lambda value: value.item())


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """As NPZ, replaced atomically."""

    def write(file: Path) -> None:
        with file.open("wb") as opened:
            np.savez(opened, allow_pickle=False, **arrays)

    replace_atomically(path, write)


@contextmanager
def reading(folder: Path, description: str, what: str) -> Iterator[None]:
    """Any error becomes a UserError of one line. `description`: the file by which a folder of `what` is known."""
    try:
        yield
    except OSError as error:
        if not folder.exists():
            raise UserError(f"{folder} does not exist") from error
        inner = folder / "model"
        meant = f"; did you mean {inner}?" if (inner / description).exists() else ""
        missing = f"{Path(error.filename or folder).name}: {reason(error)}"
        raise UserError(f"{folder} contains no complete {what} ({missing}{meant})") from error
    except Exception as error:
        raise UserError(f"{folder} contains no complete {what}: {in_one_line(error)}") from error


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, Any], Fitted]:
    """The parameters, what the model was fitted to, and the result of the fit. Raises ValueError, or what the readers
    of JSON and NPZ raise, if the files are incomplete or do not belong together."""
    description = json.loads((folder / PARAMETERS).read_text())
    if description["format"] != FORMAT:
        raise ValueError(f"its format is {description['format']}, and this version reads format {FORMAT}")
    parameters, learned_from = description["parameters"], description.get("learned_from", {})
    if not isinstance(learned_from, dict) or not all(isinstance(one, (str, int)) for one in learned_from.values()):
        raise ValueError("learned_from must have a text or a whole number for each name")
    with np.load(folder / ARRAYS, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    weights, gauge = Weights(**_part(arrays, "weights.")), _part(arrays, "gauge.")
    C, L, F, V = (
        parameters["n_components"],
        parameters["latent_size"],
        arrays["scaling.mean"].size,
        arrays["reconstructing"].size,
    )
    # Models that were saved before these were: fitted to losses, without names.
    arrays = {"classes_": CLASSES, "single_until_": np.array(1.0), **arrays}
    names = _part(arrays, "names.")
    networks = Autoencoders.of_arrays(_part(arrays, "network."))
    S, inner = networks.head.weight.shape[:2]
    shapes = {"center_": (L,), "axes_": (L, L), "n_features_in_": (), "history_": (), "scaling.mean": (F,)}
    shapes |= {
        "n_covariates_": (),
        "scaling.scale": (F,),
        "network.encoder.0.weight": (S, F, arrays["network.encoder.0.weight"].shape[2]),
    }
    shapes |= {"region.intercept": (), "region.linear": (C,), "region.quadratic": (C, C)}
    shapes |= {"loss_region.intercept": (), "loss_region.linear": (1,), "loss_region.quadratic": (1, 1)}
    shapes |= {"classes_": (2,), "single_until_": ()}
    columns = {"spectra": arrays["n_features_in_"].item(), "covariates": arrays["n_covariates_"].item()}
    shapes |= {f"names.{what}": (columns[what],) for what in names}
    shapes |= {"reconstructing": (V,), "weights.of_views": (*weights.stages.shape, V)}
    if gauge:
        shapes |= {"gauge.center": (S * inner + 1,), "gauge.matrix": (S * inner + 1, L)}
    # NumPy would broadcast some wrong shapes instead of failing.
    if any(arrays[name].shape != shape for name, shape in shapes.items()) or S % V:
        raise ValueError("the shapes of its arrays do not match its parameters")
    if arrays["reconstructing"].dtype != bool or arrays["errors_"].ndim != 1 or not arrays["errors_"].size:
        raise ValueError("reconstructing or errors_ are not what this version writes")
    scaling: dict[str, Any] = {
        n: array if array.ndim else array.item() for n, array in _part(arrays, "scaling.").items()
    }
    committee = Committee(networks, weights, Gauge(**gauge) if gauge else None, arrays["reconstructing"])
    region, loss_region = (Region(**_part(arrays, f"{name}.")) for name in ("region", "loss_region"))
    fitted = Fitted(
        scaling=Scaling(**scaling),
        committee=committee,
        center=arrays["center_"],
        axes=arrays["axes_"],
        errors=arrays["errors_"],
        region=region,
        loss_region=loss_region,
        history=bool(arrays["history_"]),
        n_features_in=int(arrays["n_features_in_"]),
        n_covariates=int(arrays["n_covariates_"]),
        classes=arrays["classes_"],
        single_until=float(arrays["single_until_"]),
        names=names,
    )
    return parameters, learned_from, fitted


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
