"""A fitted model as a description and arrays, and what makes them one.

Axes: C component, L latent, F column, S autoencoder, V view.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from aelle.files import MODEL_FILES
from aelle.model.autoencoder import Autoencoders
from aelle.model.committee import Committee, Gauge, Weights
from aelle.model.regions import Region
from aelle.model.saved import check_finite, check_learned_from, read_saved, write_saved
from aelle.model.scaling import Scaling

FORMAT = 6


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
    """Write `aelle.json` and `arrays.npz` into a new folder."""
    parameters = {**parameters, "threshold": float(parameters["threshold"]), "alphas": list(parameters["alphas"])}
    description = {"format": FORMAT, "parameters": parameters, "learned_from": learned_from}
    write_saved(folder, MODEL_FILES, description, arrays_of(fitted))


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


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, Any], Fitted]:
    """The parameters, what the model was fitted to, and the result of the fit. Raises ValueError, or what the readers
    of JSON and NPZ raise, if the files are incomplete or do not belong together."""
    description, arrays = read_saved(folder, MODEL_FILES, FORMAT)
    parameters, learned_from = description["parameters"], description["learned_from"]
    check_learned_from(learned_from)
    # A column that does not vary is divided by infinity.
    check_finite(arrays, "scaling.scale")
    if np.isnan(arrays["scaling.scale"]).any():
        raise ValueError("scaling.scale contains NaN")
    weights, gauge = Weights(**_part(arrays, "weights.")), _part(arrays, "gauge.")
    C, L, F, V = (
        parameters["n_components"],
        parameters["latent_size"],
        arrays["scaling.mean"].size,
        arrays["reconstructing"].size,
    )
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
