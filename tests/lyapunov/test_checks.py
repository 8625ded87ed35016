"""What a user can mend is one line that says what to give."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from aelle import lyapunov_spectrum
from sweeps import ROOT


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()


LSTM = nn.LSTM(2, 3, batch_first=True)


X = torch.randn(2, 5, 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(network=LSTM), r"inputs=None.*\[B, T, 2\]"),
        (dict(network=LSTM, inputs=X[0]), r"inputs of shape \[5, 2\]"),
        (dict(network=LSTM, inputs=X[:, :0]), r"inputs of shape \[2, 0, 2\]"),
        (dict(network=LSTM, inputs=X[:0]), r"\[0, 5, 2\].*at least one sequence and one step"),
        (dict(network=LSTM, inputs=torch.randn(2, 5, 3)), r"give \[B, T, 2\]"),
        (dict(network=LSTM, inputs=X / 0), "NaN or infinite"),
        (dict(network=LSTM, inputs=X.to(torch.complex64)), "real numbers"),
        (dict(network=LSTM, inputs=pack_sequence([X[0]])), "PackedSequence"),
        (dict(network=LSTM, inputs=X, over="cell"), "over='cell'"),
        (dict(network=LSTM, inputs=X, product="both"), "product='both'"),
        (dict(network=LSTM, inputs=X, orthonormalize_every=0), "orthonormalize_every=0"),
        (dict(network=LSTM, inputs=X, orthonormalize_every="never"), "orthonormalize_every='never'"),
        (dict(network=LSTM, inputs=X, dtype=torch.float16), "torch.float16"),
        (dict(network=LSTM, inputs=X, k=0), "k=0: give a whole number of at least 1"),
        (dict(network=LSTM, inputs=X, k=True), "k=True"),
        (dict(network=LSTM, inputs=X, orthonormalize_every=True), "orthonormalize_every=True"),
        (dict(network=LSTM, inputs=X.double() * 1e300, dtype=torch.float32), "inputs contains values too large for"),
        (dict(network=LSTM, inputs=X, state=torch.zeros(6, dtype=torch.complex64)), "state in torch.complex64"),
        (
            dict(network=LSTM, inputs=X, state=torch.full((6,), 1e300, dtype=torch.float64), dtype=torch.float32),
            "state contains",
        ),
        (
            dict(network=lambda x, s: NoBackward.apply(s), state=torch.zeros(2), steps=3),
            "step cannot be differentiated",
        ),
        (dict(network=LSTM, inputs=X, k=4), "from 1 to 3"),
        (dict(network=LSTM, inputs=X, k=7, over="full"), "from 1 to 6"),
        (dict(network=LSTM, inputs=X, warmup=5), "at least one must be left"),
        (dict(network=LSTM, inputs=X, warmup=-1), "warmup=-1"),
        (dict(network=LSTM, inputs=X, steps=3), "steps=3: the 5 steps of inputs decide"),
        (dict(network=LSTM, inputs=X, state=torch.zeros(3)), "give the 6 of the network"),
        (dict(network=LSTM, inputs=X, state=torch.zeros(3, 6)), "the inputs have 2 sequences"),
        (dict(network=nn.Sequential(LSTM), inputs=X), "state=None: Sequential"),
        (dict(network=torch.tanh, inputs=X), "state=None"),
        (dict(network=lambda x, s: s, state=torch.zeros(2)), "steps=None"),
        (dict(network=lambda x, s: s, state=torch.zeros(2), steps=0), "steps=0"),
        (dict(network=lambda x, s: s, state=torch.zeros(0), steps=3), "state of shape"),
        (dict(network=lambda x, s: s, state=torch.zeros(2, 2, 2), steps=3), "state of shape"),
        (dict(network=lambda x, s: s, state=torch.tensor([torch.inf]), steps=3), "state contains NaN"),
        (dict(network=lambda x, s: s[:1], state=torch.zeros(2), steps=3), "return one of the same shape and dtype"),
        (dict(network=lambda x, s: s.float(), state=torch.zeros(2), steps=3), "return one of the same shape and dtype"),
        (dict(network=lambda x, s: torch.eye(2) @ s, state=torch.zeros(2), steps=3), "choose another dtype="),
    ],
)
def test_what_a_user_can_mend_is_said_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        lyapunov_spectrum(**arguments)
    assert "\n" not in str(caught.value)


WRONG_TYPES = """
import torch
from torch import nn
from aelle import LyapunovCallback, lyapunov_spectrum
net, x, still = nn.LSTM(2, 3, batch_first=True), torch.zeros(2, 5, 2), dict(state=torch.zeros(2), steps=3)
for wrong in (
    lambda: lyapunov_spectrum(net, x, k=2.0),
    lambda: lyapunov_spectrum(net, x, warmup=2.0),
    lambda: lyapunov_spectrum(net, x.numpy()),
    lambda: lyapunov_spectrum(None, **still),
    lambda: lyapunov_spectrum(lambda x, s: s, **still | dict(steps=3.0)),
    lambda: lyapunov_spectrum(lambda x, s: s, **still | dict(state=[0.0, 1.0])),
    lambda: lyapunov_spectrum(lambda x, s: s, **still, dt=True),
    lambda: lyapunov_spectrum(lambda x, s: s, state=torch.zeros(2), until="1e-3"),
    lambda: lyapunov_spectrum(lambda x, s: s, state=torch.zeros(2), until=1e-3, max_steps=1e6),
    lambda: lyapunov_spectrum(lambda x, s: s, **still, stochastic=True, generator=0),
    lambda: LyapunovCallback("rnn", x, every_n_epochs=2.5),
    lambda: LyapunovCallback("rnn", x, every_n_epochs=[1.5]),
):
    try:
        wrong()
    except ValueError as error:
        print(error)
"""


def test_wrong_types_are_said_in_one_line():
    """In a process of their own, without the tests' check of all annotations."""
    done = subprocess.run([sys.executable, "-c", WRONG_TYPES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "k=2.0: give a whole number of at least 1",
        "warmup=2.0: give a whole number of at least 0",
        "inputs of type ndarray: give a tensor, e.g. torch.as_tensor(inputs)",
        "network=None: give nn.RNN, nn.GRU, nn.LSTM, one of their Cells, or a step(x, state)",
        "steps=3.0: without inputs, give the number of steps to average, a whole number of at least 1",
        "state is a list of float: give one tensor, e.g. torch.as_tensor(state), or a tuple of tensors",
        "dt=True: give the length of a step, a finite number above 0",
        "until='1e-3': give the standard error at which to stop, a finite number above 0",
        "max_steps=1000000.0: give a whole number of at least 1",
        "stochastic=True: give generator=torch.Generator().manual_seed(…)",
        "every_n_epochs=2.5: give a whole number of at least 1",
        "every_n_epochs=1.5: give a whole number of at least 0",
    ]
