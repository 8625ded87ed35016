"""The parts of `bench/device.py`: each yields rows, dictionaries from column to value, None if it was not measured.

Axes: V variant, B sequence, T step, I input, H unit, N state dimension, K exponent.
"""

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

import torch
from device_reference import cudnn_step, prefix_scan, qr_loop
from device_sizes import Clock, Sizes, data_of, seconds, synchronize
from torch import Tensor, nn

from aelle import lyapunov_spectrum
from aelle.cells import CELLS, Weights
from aelle.cells.stack import Stack
from aelle.data.images import Sequences
from aelle.lyapunov.estimate import population_spectrum
from aelle.lyapunov.spectrum import Spectrum
from aelle.tasks.classification import SequenceClassification
from aelle.tasks.force_network import RankOne
from aelle.variants import Variant, draw

Rows = Iterator[dict[str, Any]]
Found = dict[str, Any]
BATCH, STEPS, PIXELS, FORCE_STEPS = 100, 28, 28, 200


def variants(V: int, hidden_size: int, cell: str = "lstm") -> list[Variant]:
    """Of the experiment `smnist_early`."""
    space = {"cell": cell, "hidden_size": hidden_size, "p": "uniform(2.0, 2.5)"}
    return [draw({**space, "learning_rate": 0.01, "batch_size": BATCH}, 0, n) for n in range(V)]


# --- peaks ---


def peaks(device: torch.device, sizes: Sizes, _clock: Clock, _found: Found) -> Rows:
    """What a large matrix product and a large copy reach here."""
    n, repeats = sizes.matrix, 10 if device.type == "cuda" else 1
    for dtype in (torch.float32, torch.float64):
        A, B = torch.randn(2, n, n, dtype=dtype, device=device)
        product = partial(torch.mm, A, B)
        product()
        yield {"what": f"{name_of(dtype)} products, TFLOP/s", "value": 2e-12 * n**3 / seconds(product, device, repeats)}
    A = torch.rand(4 * n, n, device=device)
    copy = partial(torch.empty_like(A).copy_, A)
    copy()
    yield {"what": "copy, TB/s read and written", "value": 2e-12 * 4 * A.numel() / seconds(copy, device, repeats)}


def peak(found: Found, dtype: torch.dtype) -> float | None:
    """TFLOP/s, None if measuring it failed."""
    rows = found.get("peaks", {}).get("rows", [])
    return next((row["value"] for row in rows if row["what"].startswith(name_of(dtype))), None)


def share(achieved: float, peak: float | None) -> float | None:
    """Per cent."""
    return peak and 100 * achieved / peak


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# --- correctness ---


def correctness(device: torch.device, sizes: Sizes, clock: Clock, _found: Found) -> Rows:
    N = 96 if sizes.sequences > 8 else 6
    x = torch.rand(min(sizes.sequences, 8), STEPS, 16, generator=torch.Generator().manual_seed(1))
    for what, network, options in networks(N):
        if isinstance(network, str):
            yield {"what": what, "note": network}
            continue
        yield {"what": what, **apart(what, network, x, options, device)}
        if clock.left < 0:
            yield {"what": "the other networks", "note": "left out: no time"}
            break
    what = f"FORCE, {FORCE_STEPS} free steps after {FORCE_STEPS} of learning"
    yield {"what": what, "float64": force_apart(device, torch.float64), "goal of float64": 1e-9}
    for cell in CELLS:
        what = f"gradients of a training step, {cell}"
        yield {"what": what, "float64": gradients_apart(cell, device), "goal of float64": 1e-9}


def networks(N: int) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    torch.manual_seed(0)
    wide = nn.LSTM(16, N, batch_first=True)
    for name, parameter in wide.named_parameters():
        nn.init.zeros_(parameter) if "bias" in name else nn.init.uniform_(parameter, -2, 2)
    yield "LSTM", nn.LSTM(16, N, batch_first=True), {}
    yield "LSTM, weights in [−2, 2]", wide, {}
    yield "LSTM, full state", nn.LSTM(16, N, batch_first=True), {"over": "full"}
    yield "LSTM, two layers", nn.LSTM(16, N, 2, batch_first=True), {}
    yield "LSTM, transposed", nn.LSTM(16, N, batch_first=True), {"product": "transposed"}
    yield "LSTM, leading 5, warm-up 4", nn.LSTM(16, N, batch_first=True), {"k": 5, "warmup": 4}
    yield "GRU", nn.GRU(16, N, batch_first=True), {}
    yield "RNN", nn.RNN(16, N, batch_first=True), {}
    try:
        from torchrecurrent import MGUCell
    except ImportError:
        yield "MGUCell of torchrecurrent", "left out: not installed", {}
    else:
        yield "MGUCell of torchrecurrent", MGUCell(16, N), {"state": torch.zeros(N)}


def apart(what: str, network: nn.Module, x: Tensor, options: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The largest differences of any exponent of any sequence, nats per step; in float32, of the resolved means."""

    def found(at: torch.device, dtype: torch.dtype, every: int | str = "auto") -> Spectrum:
        chosen = {**options, "state": options["state"].to(at)} if "state" in options else options
        return lyapunov_spectrum(network.to(at), x.to(at), dtype=dtype, orthonormalize_every=every, **chosen)

    cpu = torch.device("cpu")
    reference = found(cpu, torch.float64, 1)
    exact, auto = (found(device, torch.float64, every).per_sequence.cpu() for every in (1, "auto"))
    row = {
        "float64": largest(exact - reference.per_sequence),
        "float64, auto": largest(auto - reference.per_sequence),
        "goal of float64": 1e-9,
    }
    for name, at in (("float32", device), ("float32 of the CPU", cpu)):
        single = found(at, torch.float32)
        resolved = int(single.resolved)
        row[name] = largest((single.exponents.cpu() - reference.exponents)[:resolved])
        row[f"{name}, resolved"] = f"{resolved} of {len(single.exponents)}"
    return {**row, "goal of float32": 1e-3}


def largest(difference: Tensor) -> float:
    """NaN also where nothing is left to compare."""
    return float(difference.abs().max()) if difference.numel() else float("nan")


def force_apart(device: torch.device, dtype: torch.dtype, steps: int = FORCE_STEPS) -> float:
    """The largest difference of an output in `steps` free steps after as many of learning."""
    outputs = []
    for at in (torch.device("cpu"), device):
        network = RankOne(40, [1.2, 1.5], [0, 1]).to(at, dtype)
        network.learn_side_by_side(torch.linspace(0, 6, steps, dtype=dtype, device=at).sin().expand(2, -1))
        outputs.append(network.run_free_side_by_side(steps).cpu())
    return largest(outputs[0] - outputs[1])


def gradients_apart(cell: str, device: torch.device) -> float:
    """Relative to the largest gradient of each parameter, in float64."""
    found = []
    for at in (torch.device("cpu"), device):
        module = SequenceClassification(data_of(200)[0], variants(3, 16, cell)).to(at, torch.float64)
        batch = torch.arange(3 * BATCH, device=at).view(3, BATCH) % 200
        module.backward(module.training_step(batch, 0))
        found.append([p.grad.cpu() for p in module.parameters() if p.grad is not None])
    return max(largest((a - b) / a.abs().max()) for a, b in zip(*found, strict=True))


# --- training ---


def training(device: torch.device, sizes: Sizes, clock: Clock, found: Found) -> Rows:
    data = data_of(sizes.images)[0]
    x, y = data.train.x.to(device), data.train.y.to(device)
    for H in sizes.hidden:
        alone = cudnn_step(x, y, H, BATCH, data.classes)
        one = BATCH / steady(alone, device, 0.5)
        for V in sizes.populations:
            if clock.left < 5:
                yield {"V": V, "H": H, "note": "left out: no time"}
                continue
            taken = steady(population_step(data, V, H, device), device, 1)
            rate = V * BATCH / taken
            achieved = 1e-12 * flops(V, H) / taken
            yield {
                "V": V,
                "H": H,
                "milliseconds per step": 1000 * taken,
                "samples/s": round(rate),
                "one nn.LSTM, samples/s": round(one),
                "ratio": rate / one,
                "TFLOP/s": achieved,
                "share of float32 peak, %": share(achieved, peak(found, torch.float32)),
                "memory, GiB": memory(device),
            }


def force(device: torch.device, sizes: Sizes, _clock: Clock, _found: Found) -> Rows:
    """Recursive least squares, side by side."""
    for V, N in sizes.force:
        network = RankOne(N, [1.2] * V, range(V)).to(device)
        target = torch.linspace(0, 6, FORCE_STEPS, device=device).sin().expand(V, -1)
        network.learn_side_by_side(target)
        taken = seconds(partial(network.learn_side_by_side, target), device) / FORCE_STEPS
        yield {"V": V, "N": N, "microseconds per step": 1e6 * taken, "per step and network": 1e6 * taken / V}


def population_step(data: Sequences, V: int, H: int, device: torch.device) -> Callable[[], None]:
    module = SequenceClassification(data, variants(V, H)).to(device)
    optimizer: Any = module.configure_optimizers()
    batches = iter([])

    def train() -> None:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(module.batches)
            batch = next(batches)
        loss = module.training_step(batch.to(device), 0)
        optimizer.zero_grad()
        module.backward(loss)
        module.configure_gradient_clipping(optimizer)
        optimizer.step()

    return train


def flops(V: int, H: int) -> float:
    """Of the matrix products of one training step: forward, and twice that backward."""
    return 3 * 2.0 * V * BATCH * STEPS * 4 * H * (PIXELS + H)


def steady(run: Callable[[], object], device: torch.device, aim: float) -> float:
    """Seconds of one call: the least of three means, each over a part of `aim` seconds."""
    for _ in range(5):
        run()
    repeats = max(1, min(50, round(aim / 3 / seconds(run, device, 2))))
    return min(seconds(run, device, repeats) for _ in range(3))


def memory(device: torch.device) -> float | None:
    """The largest of this process so far, on a GPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None


# --- spectra ---


def spectra(device: torch.device, sizes: Sizes, clock: Clock, found: Found) -> Rows:
    for N, V in sizes.spectra:
        if clock.left < 5:
            yield {"N": N, "V": V, "note": "left out: no time"}
            continue
        x = torch.rand(sizes.sequences, STEPS, PIXELS, dtype=torch.float64, device=device)
        weights = drawn(V, N, device)
        stack = Stack(CELLS["lstm"], (weights,))
        ours = {}
        for dtype in (torch.float64, torch.float32):
            run = partial(population_spectrum, stack, x, dtype=dtype)
            seconds(run, device)
            ours[dtype] = seconds(run, device)
        achieved = 2e-12 * V * sizes.sequences * STEPS * N**3 / ours[torch.float64]
        row = {
            "N": N,
            "V": V,
            "float64, s": ours[torch.float64],
            "float32, s": ours[torch.float32],
            "TFLOP/s of the products alone": achieved,
            "share of float64 peak, %": share(achieved, peak(found, torch.float64)),
        }
        for name, competitor in (("QR loop", qr_loop), ("prefix scan", prefix_scan)):
            row |= extrapolated(name, competitor, weights, x, device, min(3, clock.left / 4), ours[torch.float64])
        yield row


def drawn(V: int, N: int, device: torch.device) -> Weights:
    generator = torch.Generator().manual_seed(N)

    def uniform(*shape: int) -> Tensor:
        return ((torch.rand(shape, dtype=torch.float64, generator=generator) * 2 - 1) * N**-0.5).to(device)

    return Weights(uniform(V, 4 * N, PIXELS), uniform(V, 4 * N, N), uniform(V, 4 * N), uniform(V, 4 * N))


def extrapolated(
    name: str, competitor: Callable, weights: Weights, x: Tensor, device: torch.device, allowed: float, ours: float
) -> dict[str, Any]:
    """Seconds of the competitor on all networks and sequences, from as many as `allowed` seconds permit."""
    total = len(weights.weight_hh) * len(x)
    count = some = min(total, 8)
    taken = 0.0
    measured: Tensor | None = None
    while True:
        V, B = max(1, some // len(x)), min(some, len(x))
        part = Weights(*(w[:V] for w in weights))
        competitor(part, x[:1])  # Warm.
        since = perf_counter()
        measured = competitor(part, x[:B])
        synchronize(device)
        taken, count = perf_counter() - since, V * B
        # The scan holds about four arrays of the Jacobians of all steps, in float64.
        room = memory_room(device) // (4 * STEPS * weights.weight_hh.shape[-1] ** 2 * 8)
        following = int(min(total, 8 * count, room))
        if following <= count or taken * following / count * 1.2 > allowed:
            break
        some = following
    rates = population_spectrum(Stack(CELLS["lstm"], (Weights(*(w[:V] for w in weights)),)), x[:B]).per_sequence
    estimate = taken * total / count
    return {
        f"{name}, s": estimate,
        f"{name} timed on": f"{count} of {total}",
        f"times faster than {name}": estimate / ours,
        f"apart from {name}, nats": largest(rates - measured),
    }


def memory_room(device: torch.device) -> float:
    return torch.cuda.mem_get_info()[0] if device.type == "cuda" else 2**30
