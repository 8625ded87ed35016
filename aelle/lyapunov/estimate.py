"""Lyapunov spectra of driven recurrent networks.

The state of a network h_t = f(h_{t-1}, x_t) is driven by an input sequence. With J_t = ∂h_t/∂h_{t-1} the exponents are
λ_i = (1/T) Σ_t log (R_t)_ii, Q_t R_t = J_t Q_{t-1}, Q_0 = I: natural logarithm, nats per step (Benettin et al. 1980;
for recurrent networks Engelken et al. 2023, Vogt et al. 2024).

Axes: V variant, B sequence, T step, I input, N state dimension, K exponent.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from aelle.cells.in_use import stack_in_use
from aelle.cells.module_cell import ModuleStack
from aelle.cells.stack import Stack, is_recurrent, with_own_forward
from aelle.cells.without_trace import all_without_trace, random_states_kept
from aelle.lyapunov.checks import (
    averaged_steps,
    check_dense,
    check_noise,
    check_options,
    check_positive,
    check_until,
    check_whole,
    checked_inputs,
    checked_k,
    finite,
)
from aelle.lyapunov.chunks import Chunk
from aelle.lyapunov.driven_cells import DrivenCells
from aelle.lyapunov.driven_map import DrivenMap
from aelle.lyapunov.driven_stack import DrivenStack
from aelle.lyapunov.ensemble import Ensemble, measure
from aelle.lyapunov.spectrum import Spectrum
from aelle.lyapunov.step import Jacobian, Step, by_layer, flat_state, modules_of, own_module

StartingState = Tensor | tuple[Tensor, ...] | None


@torch.no_grad()
def lyapunov_spectrum(
    network: nn.Module | Callable,
    inputs: Tensor | PackedSequence | None = None,
    *,
    steps: int | None = None,
    until: float | None = None,
    max_steps: int = 1_000_000,
    state: StartingState = None,
    jacobian: Jacobian | None = None,
    k: int | None = None,
    over: str = "hidden",
    warmup: int = 0,
    dt: float = 1.0,
    orthonormalize_every: int | str = "auto",
    product: str = "tangent",
    history: bool = False,
    diverged: str = "raise",
    stochastic: bool = False,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> Spectrum:
    """Lyapunov exponents of a recurrent network or of any differentiable map, nats per step.

    `network`: `nn.RNN`, `nn.GRU`, `nn.LSTM` (any number of layers), their `*Cell` forms, or a callable
    `step(x, state) -> state` for one sequence (state: a tensor [N] or a tuple of tensors; x: [I], or None for an
    autonomous map). Modules are measured in evaluation mode, and are as before afterwards. They start from zeros,
    or from `state`: as PyTorch has it ([layers, B, H], or a tuple of h and c), or flat, layer by layer, h before c; a
    callable needs `state`: [N], the same for every sequence, or [B, N], one for each. `jacobian(x, state) -> [N, N]`:
    ∂(new state)/∂(state), instead of automatic differentiation; the fastest way.

    `inputs` [B, T, I]: the first `warmup` steps only advance the state and align the tangent directions, the rest are
    averaged. Without inputs, `steps` steps are averaged after `warmup` ones, or as many as it takes until no exponent's
    standard error exceeds `until`, `max_steps` at most (then with a warning). `dt`: the length of a step; exponents,
    their standard errors and `until` are per unit of time.

    `over`: "hidden", ∂h/∂h with the cell state held fixed, or "full", the whole state; for a tuple state, "hidden" is
    its first tensor. `k`: the leading k exponents in QR's order. `orthonormalize_every`: "auto" stays within 1e-6 nats
    of a QR at every step in float64 (in float32, along the same trajectory, within 1e-3 for the exponents that
    `Spectrum.resolved` counts); a number of steps is reduced only if the product would leave the range of float64.
    `product`: "tangent", J_t ··· J_1, or "transposed", J_tᵀ ··· J_1ᵀ, as in the paper's code. `history`: keep the
    running exponents, for a convergence plot. `diverged`: "raise" if a trajectory does not stay finite, or "nan", its
    exponents being NaN and the means over the others. `stochastic`: the step draws noise from PyTorch's global
    generators, which are seeded from `generator` for every step and left as they were; the same noise serves the state
    and its derivative. `dtype`: the precision of states, slopes and results. In float32, tangent vectors are multiplied
    and factorised in float32, too, if there are 64 dimensions or more and nine tenths of the exponents can be had from
    that, else in float64; forward-mode derivatives, of a large callable or of a cell that is a module, always multiply
    in `dtype`.

    Returns a `Spectrum`: exponents [K] with their standard errors, in nats per step, descending.

    Raises ValueError, naming the cause, for bidirectional and projected networks, packed inputs, wrong shapes, values
    or options, non-finite weights, inputs or states, a step that gives two answers to the same question, and a
    trajectory that does not stay finite.

    Source: Benettin et al. 1980; of driven recurrent networks Engelken et al. 2023, Vogt et al. 2022. Instead of a QR
    at every step, an LU with row pivoting every few steps (`aelle.lyapunov.orthonormalize`).
    """
    check_options(over, product, orthonormalize_every, dtype)
    check_positive("dt", dt, "the length of a step")
    if diverged not in ("raise", "nan"):
        raise ValueError(f'diverged={diverged!r}: choose "raise" or "nan" (exponents are means over the others)')
    if isinstance(inputs, PackedSequence):
        raise ValueError(
            "inputs are a PackedSequence: give [B, T, I], sequences of the same length (group them by length)"
        )
    if is_recurrent(network):
        if jacobian is not None or stochastic:
            raise ValueError(
                f"jacobian and stochastic are for a step(x, state); of {type(network).__name__} both are known"
            )
        for name, parameter in network.named_parameters():
            finite(f"{type(network).__name__}.{name}", parameter.detach(), None, dtype)
        ensemble = _of_stack(stack_in_use(network), inputs, state, over == "full", dtype)
    else:
        noise = check_noise(stochastic, generator, jacobian)
        ensemble = _of_map(network, inputs, state, over == "full", dtype, jacobian, noise)
    if until is not None:
        check_until(until, inputs, steps, max_steps, ensemble.B)
        steps = max_steps
    with _undisturbed(network, jacobian, ensemble.device, evaluation=not stochastic):
        measured = measure(
            ensemble,
            K=checked_k(k, ensemble.N),
            warmup=warmup,
            steps=averaged_steps(inputs, steps, warmup),
            every=orthonormalize_every,
            transposed=product == "transposed",
            history=history,
            in_blocks=True,
            until=until,
            dt=dt,
            among_finite=diverged == "nan",
        )
    lost = ~measured.per_sequence[0].isfinite().all(-1)
    if lost.any() and diverged == "raise":
        raise ValueError(
            f"the state of sequences {lost.nonzero()[:, 0].tolist()}, or its derivative, became NaN or infinite in "
            f"{dtype}: the network diverges from this state under these inputs; give fewer steps, another state, or "
            'diverged="nan"'
        )
    spectrum = measured.of_variant(0)
    if until is not None and not lost.any() and not (spectrum.stderr <= until).all():
        largest = float(spectrum.stderr.max())
        known = f"{largest:.2g}, above" if largest == largest else "unknown, as they are too few, not below"
        warnings.warn(
            f"after max_steps={max_steps} steps the largest standard error is {known} until={until}",
            stacklevel=3,
        )
    return spectrum


@contextmanager
def _undisturbed(step: object, jacobian: object, device: torch.device, evaluation: bool) -> Iterator[None]:
    """Inside, the module that a step is, or is a method of, is in evaluation mode; afterwards all modules that it uses,
    and the global random states, are as before."""
    own = own_module(step)
    others = [module for module in (*modules_of(step), *modules_of(jacobian)) if module is not own]
    with (
        random_states_kept({device}),
        all_without_trace([] if own is None else [own], evaluation),
        all_without_trace(others, evaluation=False),
    ):
        yield


@torch.no_grad()
def population_spectrum(
    weights: Stack | ModuleStack,
    inputs: Tensor,
    *,
    k: int | None = None,
    over: str = "hidden",
    dtype: torch.dtype = torch.float64,
) -> Spectrum:
    """Spectra of V networks, each driven from the zero state by the same B sequences of T steps, inputs [B, T, I]; nats
    per step.

    `weights`: a population's `stack`. `k`: the leading k exponents, or all if there are fewer, so that one k suits
    every shape. `over`, `dtype` and errors as in `lyapunov_spectrum`; for cells that are modules it is always the full
    state. Every field of the result has a leading V axis. A variant with non-finite weights, or one that diverges under
    the inputs, gets NaN and does not affect the others.
    """
    check_options(over, "tangent", "auto", dtype)
    if k is not None:
        check_whole("k", k, 1)
    inputs = checked_inputs(inputs, weights.input_size, weights.device, dtype)
    sound = weights.to(dtype).finite()
    N, steps = weights.dimension(over == "full"), averaged_steps(inputs, None, 0)
    K = min(k or N, N)
    rates = torch.full((len(weights), len(inputs), K), torch.nan, dtype=dtype, device=weights.device)
    resolved = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
    if sound.any():
        ensemble = _of_stack(weights.map(lambda w: w[sound]), inputs, None, over == "full", dtype)
        found = measure(ensemble, K=K, warmup=0, steps=steps)
        rates[sound], resolved[sound] = found.per_sequence, found.resolved
    return replace(Spectrum.from_rates(rates, steps, N), resolved=resolved)


def _of_stack(
    stack: Stack | ModuleStack, inputs: Tensor | None, state: StartingState, full: bool, dtype: torch.dtype
) -> Ensemble:
    """Modules are a user's functions, and so run on one thread."""
    inputs = checked_inputs(inputs, stack.input_size, stack.device, dtype)
    stack = stack.to(dtype)
    start, carried = None, stack.dimension(full=True)
    if state is not None:
        layers = len(stack.layers) if isinstance(stack, Stack) else 1
        parts = carried // stack.dimension(full=False)
        start = flat_state(by_layer(state, layers, parts), len(inputs), stack.device, dtype)[0]
        if start.shape[-1] != carried:
            raise ValueError(
                f"state of {start.shape[-1]} numbers: give the {carried} of the network, layer by layer, h before c, "
                f"or [{layers}, B, H] as PyTorch has it"
            )

    def part(chunk: Chunk) -> tuple[DrivenStack | DrivenCells, Any]:
        variants, sequences = chunk
        some, x = stack.map(lambda w: w[variants]), inputs[sequences]
        system = DrivenStack(some, x, full) if isinstance(some, Stack) else DrivenCells(some, x)
        return system, system.start(None if start is None else start[None, sequences])

    analytic = isinstance(stack, Stack)
    N, weights = stack.dimension(full), stack.weights
    return Ensemble(len(stack), len(inputs), N, stack.device, dtype, analytic, part, weights)


def _of_map(
    step: Step,
    inputs: Tensor | None,
    state: StartingState,
    full: bool,
    dtype: torch.dtype,
    jacobian: Jacobian | None,
    noise: torch.Generator | None,
) -> Ensemble:
    """On one thread, because a user's function may not be thread-safe."""
    if state is None:
        if own := with_own_forward(step):
            raise ValueError(f"{own}: give its step(x, state) -> state for one sequence, and a state to start from")
        raise ValueError(
            f"state=None: {type(step).__name__} is taken as a step(x, state) -> state and needs an initial state, [N] "
            "or [B, N]; if it is a module that contains an nn.RNN, nn.GRU or nn.LSTM, give that one"
        )
    if not callable(step):
        raise ValueError(f"network={step!r}: give nn.RNN, nn.GRU, nn.LSTM, one of their Cells, or a step(x, state)")
    module = own_module(step) or nn.Module()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if isinstance(step, nn.Module) and tensor.layout == torch.strided:
            check_dense(f"{type(module).__name__}.{name}", tensor)
    device = next((t.device for t in module.parameters()), None)
    driven_by = None if inputs is None else checked_inputs(inputs, None, device, dtype)
    device = device if driven_by is None else driven_by.device
    start, sizes = flat_state(state, None if inputs is None else len(inputs), device, dtype)
    N = start.shape[-1] if full or sizes is None else sizes[0]

    def part(chunk: Chunk) -> tuple[DrivenMap, Tensor]:
        x, some = None if driven_by is None else driven_by[chunk[1]], start[chunk[1]]
        seed = None if noise is None else int(torch.randint(2**62, (), generator=noise, device=noise.device))
        return DrivenMap(step, x, some, sizes, N, jacobian, seed), some

    return Ensemble(1, len(start), N, start.device, dtype, False, part)
