"""Arrays and tensors as users give them, as NumPy arrays."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from aelle.errors import UserError, in_one_line
from aelle.lyapunov.checks import check_dense


def as_array(values: Any, name: str = "the tensor") -> Any:
    """A tensor as an array; anything else as it is. Raises UserError for a tensor that is not an array of values."""
    if not isinstance(values, Tensor):
        return values
    check_dense(name, values)
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def as_numbers(name: str, values: Any) -> Any:
    """`as_array`. Raises UserError for an array of words, of None, or of complex numbers."""
    array = as_array(values, name)
    if not isinstance(array, np.ndarray):
        return array
    for one in array.flat if array.dtype.kind in "OUS" else ():
        if one is None or isinstance(one, (str, bytes)):
            found = one if one is None else repr(str(one))
            raise UserError(f"{name} contains {found}: give an array of numbers, NaN where they are not known")
    if array.dtype.kind == "c":
        # scikit-learn's words.
        raise UserError(f"{name} in {array.dtype}: Complex data not supported; give real numbers")
    return array


def as_floats(name: str, values: Any) -> np.ndarray:
    """Raises UserError for what is no array of numbers."""
    try:
        array = values if isinstance(values, Tensor) else np.asarray(values)
        return np.asarray(as_numbers(name, array), dtype=float)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {in_one_line(error)}; give an array or a tensor of numbers") from error
