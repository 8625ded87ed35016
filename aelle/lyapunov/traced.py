"""A function of tensors as a graph of PyTorch operations, which runs without Python."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx


def traced(function: Callable[..., Tensor], *like: Tensor) -> Callable[..., Tensor]:
    """`function` for arguments of these shapes and dtypes; itself where PyTorch cannot trace it.

    For small tensors, calling PyTorch from Python costs several times as much as the operations themselves. Whatever
    in the function is not an operation on tensors is done while tracing and never again, so that results must be
    compared with the function's.
    """
    with warnings.catch_warnings():
        # TorchScript is deprecated, but nothing else in PyTorch runs a graph without a compiler.
        warnings.simplefilter("ignore")
        try:
            graph = make_fx(function)(*like)
            graph.graph.eliminate_dead_code()
            graph.recompile()
            return torch.jit.trace(graph, like, check_trace=False)  # pyright: ignore[reportReturnType]
        except Exception:
            return function
