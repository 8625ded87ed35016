"""Closed-loop Lyapunov spectra of forecasters of the Lorenz system, beside those of the system itself.

    python train.py -m experiment=lorenz
    python examples/lorenz_closed_loop.py outputs/lorenz

A network that forecasts the next state is driven by true states for a while, and then by its own forecasts: a dynamical
system without inputs, whose largest exponents are those of the Lorenz system if it has learned its dynamics, and not
only its next steps.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear

import aelle
from aelle.data.lorenz import EXPONENTS, lorenz
from aelle.runs.reader import read_run

Weights = dict[str, Tensor]
State = tuple[Tensor, ...]
TRAJECTORIES = 8


def gates(w: Weights, x: Tensor, h: Tensor) -> Tensor:
    return linear(x, w["weight_ih_l0"], w["bias_ih_l0"]) + linear(h, w["weight_hh_l0"], w["bias_hh_l0"])


def rnn(w: Weights, x: Tensor, state: State) -> State:
    return (gates(w, x, *state).tanh(),)


def lstm(w: Weights, x: Tensor, state: State) -> State:
    h, c = state
    i, f, g, o = gates(w, x, h).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru(w: Weights, x: Tensor, state: State) -> State:
    (h,) = state
    from_x = linear(x, w["weight_ih_l0"], w["bias_ih_l0"]).chunk(3, -1)
    from_h = linear(h, w["weight_hh_l0"], w["bias_hh_l0"]).chunk(3, -1)
    r, z = ((a + b).sigmoid() for a, b in zip(from_x[:2], from_h[:2], strict=True))
    n = (from_x[2] + r * from_h[2]).tanh()
    return ((1 - z) * n + z * h,)


CELLS = {"rnn": (rnn, 1), "gru": (gru, 1), "lstm": (lstm, 2)}
"""The step of each, and the number of tensors in its state."""


def closed_loop_spectrum(w: Weights, cell: str, x: Tensor, steps: int, warmup: int) -> aelle.Spectrum:
    """Of a network of one layer, in nats per step. The loop is closed where the sequences x [B, T, I] end. Raises
    ValueError for another network."""
    if cell not in CELLS or "weight_ih_l1" in w:
        layers = sum(name.startswith("weight_ih_l") for name in w)
        raise ValueError(f"cell={cell}, layers={layers}: this example has the steps of {', '.join(CELLS)} of one layer")
    w = {name: tensor.double() for name, tensor in w.items()}
    step, parts = CELLS[cell]
    state = (x.new_zeros(len(x), w["weight_hh_l0"].shape[1], dtype=torch.float64),) * parts
    for inputs in x.double().unbind(1):
        state = step(w, inputs, state)

    def loop(_: None, state: State) -> State:
        forecast = linear(state[0], w["readout_weight"], w["readout_bias"])
        return step(w, forecast, state)

    return aelle.lyapunov_spectrum(loop, state=state, steps=steps, warmup=warmup, over="full")


def forecaster(run: Path, row: int) -> Weights:
    """The weights after training of one network of a pack."""
    checkpoint = torch.load(run / "checkpoint.ckpt", map_location="cpu", weights_only=True)
    prefix = "network."
    weights = checkpoint["state_dict"].items()
    return {name.removeprefix(prefix): w[row] for name, w in weights if name.startswith(prefix)}


def main(sweep: Path, networks: int, steps: int) -> None:
    table = aelle.load_sweep(sweep)
    best = table.variants.assign(loss=table.final_loss).nsmallest(networks, "loss")
    print(f"exponents in nats per unit of time\n\n{'':24}{'loss':>9}" + "".join(f"{f'λ{i + 1}':>9}" for i in range(4)))
    print(f"{'Lorenz system':33}" + "".join(f"{exponent:9.3f}" for exponent in EXPONENTS))
    for variant in best.itertuples():
        run = sweep / variant.run
        data = read_run(run).config["task"]["data"]
        x = lorenz(**{name: value for name, value in data.items() if name != "_target_"}).val.x[:TRAJECTORIES]
        spectrum = closed_loop_spectrum(forecaster(run, variant.row), variant.cell, x, steps, warmup=steps // 10)
        found = "".join(f"{exponent:9.3f}" for exponent in (spectrum.exponents[:4] / data["dt"]).tolist())
        print(f"{f'variant {variant.variant}, {variant.cell}':24}{variant.loss:9.5f}{found}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--networks", type=int, default=5, help="those with the lowest final losses")
    parser.add_argument("--steps", type=int, default=2000, help="of each trajectory that are averaged")
    given = parser.parse_args()
    try:
        main(given.sweep, given.networks, given.steps)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
