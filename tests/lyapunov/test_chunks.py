"""Spectra in as little memory as is available: cut into more pieces, and the same."""

import pytest
import torch
from torch import nn

from aelle import lyapunov_spectrum
from aelle.lyapunov import chunks as cut
from aelle.lyapunov import ensemble
from aelle.lyapunov.closed_loop import closed_loop_spectrum
from aelle.lyapunov.estimate import population_spectrum
from aelle.memory import TooLargeError, limited
from aelle.tasks.initialization import Initialization
from aelle.tasks.population import Population

CPU = torch.device("cpu")


class Pieces(list):
    """Into how many each spectrum was cut; `each` and `own`, the bytes of the last one's trajectory and system."""

    each = own = 0


@pytest.fixture
def pieces(monkeypatch) -> Pieces:
    counts = Pieces()

    def counted(V, B, N, device, each, own, threaded):
        found = cut.chunks(V, B, N, device, each, own, threaded)
        counts.append(len(found.pieces))
        counts.each, counts.own = each, own
        return found

    monkeypatch.setattr(ensemble, "chunks", counted)
    torch.set_num_threads(1)
    return counts


def network(kind, layers=1):
    torch.manual_seed(0)
    return getattr(nn, kind)(3, 12, layers, batch_first=True), torch.randn(7, 15, 3)


@pytest.mark.parametrize("options", [{}, {"k": 4}, {"history": True}, {"product": "transposed"}, {"over": "full"}])
@pytest.mark.parametrize("kind, layers", [("LSTM", 1), ("GRU", 2)])
def test_a_cap_cuts_spectra_and_changes_nothing(kind, layers, options, pieces):
    """With a fixed interval, since an automatic one is that of all sequences in a piece."""
    net, x = network(kind, layers)
    whole = lyapunov_spectrum(net, x, orthonormalize_every=1, **options)
    with limited(pieces.own + 2 * pieces.each):
        capped = lyapunov_spectrum(net, x, orthonormalize_every=1, **options)
    assert pieces == [1, 4]
    torch.testing.assert_close(capped.per_sequence, whole.per_sequence, atol=1e-12, rtol=0)
    if whole.history is not None:
        torch.testing.assert_close(capped.history, whole.history, atol=1e-12, rtol=0)


def test_a_cap_cuts_automatic_intervals_within_their_own_error(pieces):
    net, x = network("LSTM")
    whole = lyapunov_spectrum(net, x)
    with limited(pieces.own + pieces.each):
        capped = lyapunov_spectrum(net, x)
    assert pieces == [1, 7]
    torch.testing.assert_close(capped.per_sequence, whole.per_sequence, atol=2e-7, rtol=0)


def test_a_cap_cuts_callables(pieces):
    torch.manual_seed(1)
    W, starts = torch.randn(10, 10, dtype=torch.float64), torch.randn(6, 10)

    def measured():
        return lyapunov_spectrum(lambda _, s: torch.tanh(W @ s), state=starts, steps=20, orthonormalize_every=1)

    whole = measured()
    with limited(2 * pieces.each):
        capped = measured()
    assert pieces == [1, 3]
    torch.testing.assert_close(capped.per_sequence, whole.per_sequence, atol=1e-12, rtol=0)


def test_a_cap_cuts_populations_into_variants_and_then_into_sequences(pieces):
    population = Population("lstm", 3, 12, 2, [Initialization("default")] * 5, range(5))
    x = torch.randn(4, 9, 3)
    whole = population_spectrum(population.stack, x)
    one = 4 * pieces.each + pieces.own
    for room, expected in ((2 * one, 3), (one, 5), (0.75 * one, 10)):
        pieces.clear()
        with limited(room):
            capped = population_spectrum(population.stack, x)
        assert pieces == [expected]
        torch.testing.assert_close(capped.per_sequence, whole.per_sequence, atol=2e-7, rtol=0)


def test_a_cap_cuts_closed_loops(pieces):
    torch.manual_seed(2)
    M, w_f, w, x = torch.randn(3, 9, 9), torch.randn(3, 9), torch.zeros(3, 9), torch.randn(3, 9)
    whole = closed_loop_spectrum(M, w_f, w, x, dt=0.1, steps=10)
    with limited(pieces.own + pieces.each):
        capped = closed_loop_spectrum(M, w_f, w, x, dt=0.1, steps=10)
    assert pieces == [1, 3]
    torch.testing.assert_close(capped.per_sequence, whole.per_sequence, atol=2e-7, rtol=0)


def test_threads_share_what_is_available():
    torch.set_num_threads(2)
    each = cut.trajectory_bytes(64, 64)
    assert cut.chunks(1, 32, 64, CPU, each, threaded=True).threads == 2
    with limited(8 * each):
        found = cut.chunks(1, 32, 64, CPU, each, threaded=True)
    assert found.threads == 2 and all(len(range(32)[b]) <= 4 for _, b in found.pieces) and len(found.pieces) == 8
    with limited(1.5 * each):
        found = cut.chunks(1, 32, 64, CPU, each, threaded=True)
    assert found.threads == 1 and len(found.pieces) == 32


def test_pieces_are_never_larger_than_without_a_cap():
    for V, B, N in ((25, 32, 64), (3, 7, 100), (1, 5, 600)):
        without = cut.chunks(V, B, N, CPU, 1).pieces
        with limited(1e15):
            assert cut.chunks(V, B, N, CPU, 1).pieces == without


def test_a_gpu_with_little_left_gets_smaller_pieces(monkeypatch):
    device, free = torch.device("cuda", 0), 80 * 10**9
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
    each = cut.trajectory_bytes(64, 64)
    assert len(cut.chunks(200, 32, 64, device, each).pieces) == 1
    free = 10**9
    pieces = cut.chunks(200, 32, 64, device, each).pieces
    assert len(pieces) > 3 and max(len(range(200)[v]) for v, _ in pieces) * 32 * each <= 10**9


def test_what_does_not_fit_at_all_is_one_line():
    with (
        limited(10**6),
        pytest.raises(TooLargeError, match=r"512 dimensions needs about .* MB .* 1.0 MB .* k=51") as found,
    ):
        lyapunov_spectrum(nn.GRU(2, 512, batch_first=True), torch.zeros(1, 3, 2))
    assert "\n" not in str(found.value)


def test_an_interval_longer_than_the_trajectory_needs_no_more_than_its_steps():
    net, x = nn.LSTM(1, 64, batch_first=True), torch.rand(2, 6, 1)
    found, same = (lyapunov_spectrum(net, x, orthonormalize_every=every) for every in (10**6, 6))
    assert torch.equal(found.per_sequence, same.per_sequence)
