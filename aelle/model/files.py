"""A fitted model as two files: parameters as JSON, arrays as NPZ. Nothing that could run code when it is read.

Axes: C component, L latent, M point of the spectrum that enters.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aelle.files import MODEL_FILES, replace_atomically
from aelle.model.regions import Region
from aelle.model.scaling import Scaling

FORMAT = 3

PARAMETERS, ARRAYS = MODEL_FILES


class Fitted(NamedTuple):
    """The result of a fit. `network`: the autoencoder's parameters, as a population of one; `n_features`: the number of
    points of the spectra that were given."""

    scaling: Scaling
    region: Region
    center: Float[np.ndarray, "L"]
    components: Float[np.ndarray, "C L"]
    network: dict[str, Tensor]
    n_features: int


def write_model(folder: Path, parameters: dict[str, Any], learned_from: dict[str, Any], fitted: Fitted) -> None:
    """Write `aelle.json` and `arrays.npz`, each replaced atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, "parameters": parameters, "learned_from": learned_from}, indent=2)
    arrays = {"center_": fitted.center, "components_": fitted.components, "n_features_in_": np.array(fitted.n_features)}
    arrays |= {f"network.{name}": tensor.numpy() for name, tensor in fitted.network.items()}
    arrays |= {f"scaling.{name}": np.asarray(value) for name, value in fitted.scaling._asdict().items()}
    arrays |= {f"region.{name}": np.asarray(value) for name, value in fitted.region._asdict().items()}

    def write_arrays(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    replace_atomically(folder / ARRAYS, write_arrays)
    replace_atomically(folder / PARAMETERS, lambda path: path.write_text(text))


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
    C, L, M = parameters["n_components"], parameters["latent_size"], arrays["scaling.mean"].size
    shapes = {"center_": (L,), "components_": (C, L), "n_features_in_": (), "scaling.mean": (M,)}
    shapes |= {"region.intercept": (), "region.linear": (C,), "region.quadratic": (C, C)}
    # NumPy would broadcast some wrong shapes instead of failing.
    if any(arrays[name].shape != shape for name, shape in shapes.items()):
        raise ValueError("the shapes of its arrays do not match its parameters")
    scaling: dict[str, Any] = {
        n: array if array.ndim else array.item() for n, array in _part(arrays, "scaling.").items()
    }
    network = {name: torch.as_tensor(array) for name, array in _part(arrays, "network.").items()}
    region, n_features = Region(**_part(arrays, "region.")), int(arrays["n_features_in_"])
    plane = arrays["center_"], arrays["components_"]
    return parameters, learned_from, Fitted(Scaling(**scaling), region, *plane, network, n_features)


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
