"""How fast the exponents of a callable are, beside other ways to find them: `python bench/callables.py`.

The Lorenz system, 10,000 Runge–Kutta steps of one trajectory (--steps), and a GRU of 64 units that reads 15 sequences
of 50 steps, in one run on one thread. Each competitor takes its turn, three times; the least time of each counts, and
the ratio to the callable of aelle. lyapax (JAX) takes part where it is installed (`pip install lyapax`); its time is
given with and without compilation.

numpy:    the loop that one would write first: a hand-written Jacobian, and a QR at every step.
straightforward: the callable's Jacobian by `torch.func` at every step, and a QR: what a callable costs without blocks.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import jacrev

from aelle import lyapunov_spectrum

DT = 0.01
START = (1.0, 1.0, 20.0)


def runge_kutta(flow: Callable, s):
    a = flow(s)
    b = flow(s + DT / 2 * a)
    c = flow(s + DT / 2 * b)
    return s + DT / 6 * (a + 2 * b + 2 * c + flow(s + DT * c))


def lorenz(stack: Callable) -> Callable:
    def flow(s):
        x, y, z = s
        return stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    return flow


def by_hand(matmul: Callable, matrix: Callable, eye, flow: Callable) -> Callable:
    """The Jacobian of a Runge–Kutta step, by the chain rule."""

    def of_flow(s):
        x, y, z = s
        return matrix([[-10.0, 10.0, 0.0], [28 - z, -1.0, -x], [y, x, -8 / 3]])

    def jacobian(s):
        a = flow(s)
        b = flow(s + DT / 2 * a)
        c = flow(s + DT / 2 * b)
        A = of_flow(s)
        B = matmul(of_flow(s + DT / 2 * a), eye + DT / 2 * A)
        C = matmul(of_flow(s + DT / 2 * b), eye + DT / 2 * B)
        D = matmul(of_flow(s + DT * c), eye + DT * C)
        return eye + DT / 6 * (A + 2 * B + 2 * C + D)

    return jacobian


def rows(values: list) -> Tensor:
    return torch.stack([torch.stack([torch.as_tensor(v, dtype=torch.float64) for v in row]) for row in values])


def numpy_loop(steps: int) -> np.ndarray:
    flow = lorenz(np.array)
    jacobian = by_hand(np.matmul, np.array, np.eye(3), flow)
    s, Q, total = np.array(START), np.eye(3), np.zeros(3)
    for _ in range(steps):
        Q, R = np.linalg.qr(jacobian(s) @ Q)
        total += np.log(np.abs(R.diagonal()))
        s = runge_kutta(flow, s)
    return total / steps / DT


@torch.no_grad()
def straightforward(step: Callable, x: Tensor | None, s: Tensor, steps: int) -> Tensor:
    """[N] of one sequence."""
    Q, total = torch.eye(len(s), dtype=s.dtype), torch.zeros_like(s)
    for t in range(steps):
        x_t = None if x is None else x[t]
        J = jacrev(lambda s, x_t=x_t: step(x_t, s))(s)
        Q, R = torch.linalg.qr(J @ Q)
        total += R.diagonal().abs().log()
        s = step(x_t, s)
    return total / steps


def competitors_for_lorenz(steps: int) -> dict[str, Callable[[], object]]:
    flow = lorenz(torch.stack)
    start = torch.tensor(START, dtype=torch.float64)
    step = lambda _, s: runge_kutta(flow, s)  # noqa: E731
    jacobian = by_hand(torch.matmul, rows, torch.eye(3, dtype=torch.float64), flow)
    few = max(steps // 20, 1)
    return {
        "aelle": lambda: lyapunov_spectrum(step, state=start, steps=steps, dt=DT).exponents,
        "aelle, jacobian=": lambda: (
            lyapunov_spectrum(step, state=start, steps=steps, dt=DT, jacobian=lambda _, s: jacobian(s)).exponents
        ),
        "numpy": lambda: numpy_loop(steps),
        f"straightforward (a {steps // few}th of the steps)": lambda: straightforward(step, None, start, few) / DT,
    }


def competitors_for_gru() -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    gru, cell = nn.GRU(8, 64, batch_first=True), nn.GRUCell(8, 64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in gru.state_dict().items()})
    x = torch.randn(15, 50, 8)
    step = cell.double()
    double = x.double()
    return {
        "aelle": lambda: lyapunov_spectrum(lambda x, h: step(x, h), x, state=torch.zeros(64)).exponents,
        "aelle, nn.GRU": lambda: lyapunov_spectrum(gru, x).exponents,
        "straightforward (one sequence of 15)": lambda: straightforward(
            step, double[0], torch.zeros(64, dtype=torch.float64), 50
        ),
    }


def lyapax_run(steps: int) -> Callable[[], object] | None:
    try:
        import jax
        import jax.numpy as jnp
        import lyapax
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    problem = lyapax.ode_problem(lorenz(jnp.stack), jnp.array(START), DT)
    return lambda: np.asarray(lyapax.lyapunov_spectrum(problem, n_steps=steps).exponents)


def seconds(run: Callable[[], object]) -> tuple[float, object]:
    since = time.perf_counter()
    result = run()
    return time.perf_counter() - since, result


def table(title: str, competitors: dict[str, Callable[[], object]], rounds: int, first: bool = False) -> None:
    """`first`: of the last competitor, also the time of its first run."""
    least, results, compiled = dict.fromkeys(competitors, float("inf")), {}, 0.0
    for i in range(rounds):
        for name, run in competitors.items():
            took, results[name] = seconds(run)
            least[name] = min(least[name], took)
            compiled = took if i == 0 else compiled
    print(f"\n{title}\n{'':42}{'seconds':>10}{'× aelle':>10}   exponents")
    for name, took in least.items():
        exponents = " ".join(f"{e:.3f}" for e in np.asarray(results[name])[:3])
        print(f"{name:42}{took:10.3f}{took / least['aelle']:10.2f}   {exponents}")
    if first:
        print(f"{'lyapax, first run (compiles)':42}{compiled:10.3f}{compiled / least['aelle']:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000, help="of the Lorenz system")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # nn.GRUCell under torch.func
    competitors, other = competitors_for_lorenz(options.steps), lyapax_run(options.steps)
    if other is not None:
        competitors["lyapax"] = other
    table(f"Lorenz, {options.steps} Runge–Kutta steps", competitors, options.rounds, other is not None)
    if other is None:
        print("lyapax is not installed")
    table("GRU of 64 units, 15 sequences of 50 steps", competitors_for_gru(), options.rounds)


if __name__ == "__main__":
    main()
