"""Lyapunov spectra of driven recurrent networks.

The state of a network h_t = f(h_{t-1}, x_t) is driven by an input sequence. With J_t = ∂h_t/∂h_{t-1} the exponents are
λ_i = (1/T) Σ_t log (R_t)_ii, Q_t R_t = J_t Q_{t-1}, Q_0 = I: natural logarithm, nats per step (Benettin et al. 1980;
for recurrent networks Engelken et al. 2023, Vogt et al. 2024).

Axes: V variant, B sequence, T step, I input, N state dimension, K exponent.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from aelle.cells.module_cell import ModuleStack
from aelle.cells.stack import Stack, is_recurrent, stack_of
from aelle.lyapunov.checks import averaged_steps, check_options, check_whole, checked_inputs, checked_k, finite
from aelle.lyapunov.chunks import Chunk
from aelle.lyapunov.driven_cells import DrivenCells
from aelle.lyapunov.driven_map import DrivenMap, Step, flat_state
from aelle.lyapunov.driven_stack import DrivenStack
from aelle.lyapunov.ensemble import Ensemble, measure
from aelle.lyapunov.spectrum import Spectrum

StartingState = Tensor | tuple[Tensor, ...] | None


@torch.no_grad()
def lyapunov_spectrum(
    network: nn.Module | Callable,
    inputs: Tensor | PackedSequence | None = None,
    *,
    steps: int | None = None,
    state: StartingState = None,
    k: int | None = None,
    over: str = "hidden",
    warmup: int = 0,
    orthonormalize_every: int | str = "auto",
    product: str = "tangent",
    history: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Spectrum:
    """Lyapunov exponents of a recurrent network or of any differentiable map, nats per step.

    `network`: `nn.RNN`, `nn.GRU`, `nn.LSTM` (any number of layers), their `*Cell` forms, or a callable
    `step(x, state) -> state` for one sequence (state: a tensor [N] or a tuple of tensors; x: [I], or None for an
    autonomous map). Modules start from zeros, or from `state` (layer by layer, h before c); a callable needs `state`:
    [N], the same for every sequence, or [B, N], one for each.

    `inputs` [B, T, I]: the first `warmup` steps only advance the state and align the tangent directions, the rest are
    averaged. Without inputs, `steps` steps are averaged after `warmup` ones.

    `over`: "hidden", ∂h/∂h with the cell state held fixed, or "full", the whole state; for a tuple state, "hidden" is
    its first tensor. `k`: the leading k exponents in QR's order. `orthonormalize_every`: "auto" stays within 1e-6 nats
    (1e-3 in float32) of a QR at every step; a number of steps is reduced only if the product would leave the range of
    `dtype`. `product`: "tangent", J_t ··· J_1, or "transposed", J_tᵀ ··· J_1ᵀ, as in the paper's code. `history`: keep
    the running exponents, for a convergence plot.

    Raises ValueError, naming the cause, for bidirectional and projected networks, packed inputs, wrong shapes, values
    or options, non-finite weights, inputs or states, and a trajectory that does not stay finite.
    """
    check_options(over, product, orthonormalize_every, dtype)
    if isinstance(inputs, PackedSequence):
        raise ValueError(
            "inputs are a PackedSequence: give [B, T, I], sequences of the same length (group them by length)"
        )
    if is_recurrent(network):
        for name, parameter in network.named_parameters():
            finite(f"{type(network).__name__}.{name}", parameter.detach(), None, dtype)
        ensemble = _of_stack(stack_of(network), inputs, state, over == "full", dtype)
    else:
        ensemble = _of_map(network, inputs, state, over == "full", dtype)
    spectrum = measure(
        ensemble,
        K=checked_k(k, ensemble.N),
        warmup=warmup,
        steps=averaged_steps(inputs, steps, warmup),
        every=orthonormalize_every,
        transposed=product == "transposed",
        history=history,
    )
    lost = ~spectrum.per_sequence[0].isfinite().all(-1)
    if lost.any():
        raise ValueError(
            f"the state of sequences {lost.nonzero()[:, 0].tolist()}, or its derivative, became NaN or infinite in "
            f"{dtype}: the network diverges from this state under these inputs; give fewer steps or another state"
        )
    return spectrum.of_variant(0)


@torch.no_grad()
def population_spectrum(
    weights: Stack | ModuleStack,
    inputs: Tensor,
    *,
    k: int | None = None,
    over: str = "hidden",
    dtype: torch.dtype = torch.float64,
) -> Spectrum:
    """Spectra of V networks, each driven from the zero state by the same B sequences of T steps, inputs [B, T, I].

    `k`: the leading k exponents, or all if there are fewer, so that one k suits every shape. `over`, `dtype` and errors
    as in `lyapunov_spectrum`; for cells that are modules it is always the full state. Every field of the result has a
    leading V axis. A variant with non-finite weights, or one that diverges under the inputs, gets NaN and does not
    affect the others.
    """
    check_options(over, "tangent", "auto", dtype)
    if k is not None:
        check_whole("k", k, 1)
    inputs = checked_inputs(inputs, weights.input_size, weights.device, dtype)
    sound = weights.to(dtype).finite()
    N, steps = weights.dimension(over == "full"), averaged_steps(inputs, None, 0)
    K = min(k or N, N)
    rates = torch.full((len(weights), len(inputs), K), torch.nan, dtype=dtype, device=weights.device)
    if sound.any():
        ensemble = _of_stack(weights.map(lambda w: w[sound]), inputs, None, over == "full", dtype)
        rates[sound] = measure(ensemble, K=K, warmup=0, steps=steps).per_sequence
    return Spectrum.from_rates(rates, steps, N)


def _of_stack(
    stack: Stack | ModuleStack, inputs: Tensor | None, state: StartingState, full: bool, dtype: torch.dtype
) -> Ensemble:
    """Modules are a user's functions, and so run on one thread."""
    inputs = checked_inputs(inputs, stack.input_size, stack.device, dtype)
    stack = stack.to(dtype)
    start = None if state is None else flat_state(state, len(inputs), stack.device, dtype)[0]
    carried = stack.dimension(full=True)
    if start is not None and start.shape[-1] != carried:
        raise ValueError(
            f"state of {start.shape[-1]} numbers: give the {carried} of the network, layer by layer, h before c"
        )

    def part(chunk: Chunk) -> tuple[DrivenStack | DrivenCells, Any]:
        variants, sequences = chunk
        some, x = stack.map(lambda w: w[variants]), inputs[sequences]
        system = DrivenStack(some, x, full) if isinstance(some, Stack) else DrivenCells(some, x)
        return system, system.start(None if start is None else start[None, sequences])

    analytic = isinstance(stack, Stack)
    return Ensemble(len(stack), len(inputs), stack.dimension(full), stack.device, dtype, analytic, part)


def _of_map(step: Step, inputs: Tensor | None, state: StartingState, full: bool, dtype: torch.dtype) -> Ensemble:
    """On one thread, because a user's function may not be thread-safe."""
    if state is None:
        raise ValueError(
            f"state=None: {type(step).__name__} is taken as a step(x, state) -> state and needs an initial state, [N] "
            "or [B, N]; if it is a module that contains an nn.RNN, nn.GRU or nn.LSTM, give that one"
        )
    if not callable(step):
        raise ValueError(f"network={step!r}: give nn.RNN, nn.GRU, nn.LSTM, one of their Cells, or a step(x, state)")
    parameters = step.parameters() if isinstance(step, nn.Module) else ()
    device = next((t.device for t in parameters), None)
    driven_by = None if inputs is None else checked_inputs(inputs, None, device, dtype)
    device = device if driven_by is None else driven_by.device
    start, sizes = flat_state(state, None if inputs is None else len(inputs), device, dtype)
    N = start.shape[-1] if full or sizes is None else sizes[0]

    def part(chunk: Chunk) -> tuple[DrivenMap, Tensor]:
        x = None if driven_by is None else driven_by[chunk[1]]
        return DrivenMap(step, x, start[chunk[1]], sizes, N), start[chunk[1]]

    return Ensemble(1, len(start), N, start.device, dtype, False, part)
