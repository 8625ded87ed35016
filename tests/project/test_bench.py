"""The commands of bench/, each at the size of a toy."""

import json
import sys
from functools import partial

import numpy as np
import pytest
import torch

from aelle.data.images import digits
from aelle.data.sines import FIXED_TARGET, four_sines
from aelle.sweep.table import load_sweep
from aelle.tasks.force_network import RankOne
from sweeps import ROOT, write_arrays


@pytest.fixture
def bench(monkeypatch):
    """Import one of its modules."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return lambda name: __import__(name)


def test_a_sweep_that_was_only_written_is_read_back_whole(bench, tmp_path):
    many_runs = bench("many_runs")
    plan = many_runs.planned(tmp_path, "size=12", "pack_size=5", "hidden_size=[4,8]", "epochs=2")
    assert many_runs.write(plan) == 4 and many_runs.write(plan) == 0
    table = load_sweep(plan.folder)
    assert (
        table.problems == [] and list(table.variants["variant"]) == list(range(12)) and table.variants["complete"].all()
    )
    for n, pack in enumerate(plan.packs()):
        for row in many_runs.epochs_of(pack, plan.config).to_pylist():
            assert table.losses[row["variant"], row["epoch"]] == row["val_loss"]
            if len(row["spectrum"]) == 8:
                np.testing.assert_array_equal(table.spectra[row["variant"], row["epoch"]], row["spectrum"])
        for variant in pack:
            at = table.variants.iloc[variant.number]
            assert at["run"] == f"pack-{n:04d}" and at["p"] == variant.hyperparameters["p"]
    assert plan.complete() == set(range(12)) and plan.unfinished_packs() == []


def rows(printed: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("|")]


def test_every_part_prints_its_rows(bench, tmp_path, capsys):
    training = bench("training")
    options = training.Options(1, torch.device("cpu"), tmp_path / "growth.svg")
    training.population(options, V=2, hidden_size=4, epochs=1)
    training.framework(options, V=2, hidden_size=4, epochs=1)
    training.spectra(options, digits(), V=2, sizes=(4,), steps=2)
    training.growth(options, at={"V": 1, "N": 4, "B": 2, "T": 3}, factors=(1, 2))
    found = rows(capsys.readouterr().out)
    assert len(found) == 1 + 2 + 1 + 4 * 2
    for what, number, *_ in found:
        assert np.isfinite(float(number.rstrip("×% "))), what
    assert options.plot.read_text().count('<g id="axes_') == 4


def test_what_pruning_saves_and_loses_is_measured(bench, tmp_path, monkeypatch, capsys):
    pytest.importorskip("optuna")
    write_arrays(tmp_path / "a.npz")
    pruning = bench("pruning")
    monkeypatch.setattr(sys, "argv", ["pruning.py", f"{tmp_path / 'a.npz'}=0.5", "--rounds", "1"])
    pruning.main()
    _heading, _, whole, ours, lossy, *optunas = rows(capsys.readouterr().out)
    assert whole[:3] == ["no pruning", "100 %", "100 %"] and ours[0] == "EarlyPredictor" and len(optunas) == 3
    for row in (ours, lossy, *optunas):
        assert 0 < float(row[1].rstrip(" %")) < 100 and 0 <= float(row[2].rstrip(" %")) <= 100
        assert float(row[3]) >= float(whole[3])


def test_settings_of_spectra_are_measured_beside_exact_ones(bench, monkeypatch, capsys):
    cheap = bench("cheap_spectra")
    tiny = [word for option in ("size=24", "hidden_size=4", "epochs=2") for word in ("--option", option)]
    monkeypatch.setattr(sys, "argv", ["cheap_spectra.py", "digits", *tiny, "--repeats", "0", "--predictor", "0"])
    threads = torch.get_num_threads()
    cheap.main()
    torch.set_num_threads(threads)
    _heading, _, whole, *found = rows(capsys.readouterr().out)
    assert whole[:2] == ["digits", "24 variants, 0 % low-error"] and len(found) == len(cheap.SETTINGS)
    assert {row[1] for row in found} >= {"**exact**: 32 sequences", "**cheap**: 8 sequences", "8 sequences, k = 4"}
    assert all(float(row[2].rstrip(" %")) > 0 for row in found)

    random = np.random.default_rng(0)
    quality, noise = random.uniform(0, 1, (40, 1, 1)), random.standard_normal((2, 40, 5, 6))
    spectra = {one: -quality - spread * noise[i] for i, (one, spread) in enumerate(TOLD_BY.items())}
    spectra = {cheap.Setting(sequences): exponents for sequences, exponents in spectra.items()}
    losses = np.broadcast_to(quality[..., 0], (40, 5))
    sweep = cheap.Measured(losses, {}, spectra, dict.fromkeys(spectra, 1.0), 4.0, 0.5)
    _, exact, noisy = cheap.rows("made up", sweep, repeats=2, of_predictor=0)
    assert float(exact.split(" | ")[3]) > 0.95 and "| 25.0 % |" in exact
    difference, _, error = noisy.split(" | ")[4].partition(" ± ")
    assert float(difference) < -0.2 and 0 < float(error) < 0.2


TOLD_BY = {32: 0.01, 2: 10.0}
"""How much spectra of so many sequences vary beside what they say."""


def test_choices_of_aelle_are_measured_beside_linear_models(bench, tmp_path, monkeypatch, capsys):
    write_arrays(tmp_path / "a.npz")
    line = ["autoencoders.py", f"{tmp_path / 'a.npz'}=0.5", "--splits", "1", "--words", "one view"]
    monkeypatch.setattr(sys, "argv", line)
    bench("autoencoders").main()
    out = capsys.readouterr().out
    assert "a: 60 variants; the loss head is " in out and out.count("… one view of everything") == 1
    for name in ("best linear model", "AeLLE, loss head", "AeLLE, plane"):
        (cells,) = [line for line in out.splitlines() if line.startswith(name)]
        assert len(cells.removeprefix(name).split()) == 4 and float(cells.split()[-1]) > 90


def test_cells_are_measured_beside_their_members(bench, monkeypatch, capsys):
    cells = bench("cells")
    line = ["cells.py", "lem", "LipschitzRNN", "--variants", "2", "--units", "4", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", line)
    cells.main()
    _heading, _, *found = rows(capsys.readouterr().out)
    assert [row[0] for row in found] == ["lem", "LipschitzRNN"]
    assert all(np.isfinite(float(row[2].rstrip("×"))) for row in found)
    of_members = cells.one_by_one
    monkeypatch.setattr(cells, "one_by_one", lambda members, x, y: of_members(members, 1.001 * x, y))
    with pytest.raises(SystemExit, match="do not do the same"):
        cells.main()


def test_competitors_that_do_other_work_are_found_out(bench, monkeypatch, capsys):
    training, one_by_one = bench("training"), bench("one_by_one")
    of_network = one_by_one.member_state
    wrong = lambda network: {name: 1.001 * tensor for name, tensor in of_network(network).items()}  # noqa: E731
    monkeypatch.setattr(one_by_one, "member_state", wrong)
    with pytest.raises(SystemExit, match="nats apart"):
        training.population(training.Options(1, torch.device("cpu")), V=2, hidden_size=4, epochs=1)


def test_what_a_gpu_is_measured_by_runs_on_a_cpu(bench, tmp_path, monkeypatch):
    device = bench("device")
    monkeypatch.setattr(sys, "argv", ["device.py", "--device", "cpu", "--quick", "--into", str(tmp_path)])
    device.main()
    found = json.loads((tmp_path / "device.json").read_text())
    assert list(found) == ["machine", *device.PARTS]
    for name in device.PARTS:
        assert "error" not in found[name], found[name]["traceback"]
        assert found[name]["rows"] and f"## {name} " in (tmp_path / "device.md").read_text()
    for row in found["correctness"]["rows"]:
        assert row.get("float64", 0) < 1e-9, row
    assert all(row["apart from QR loop, nats"] < 1e-6 for row in found["spectra"]["rows"])
    assert all(row["apart from prefix scan, nats"] < 1e-4 for row in found["spectra"]["rows"])


def test_one_part_alone_knows_the_peak(bench, tmp_path, monkeypatch):
    device = bench("device")
    command = ["device.py", "training", "--device", "cpu", "--quick", "--into", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    device.main()
    found = json.loads((tmp_path / "device.json").read_text(), parse_constant=pytest.fail)
    assert list(found) == ["machine", "peaks", "training"]
    assert found["training"]["rows"][0]["share of float32 peak, %"] > 0


def test_what_is_no_number_is_still_json(bench, tmp_path, monkeypatch):
    device = bench("device")
    rows = [{"what": "lost", "float64": float("nan")}, {"what": "a CPU's", "memory, GiB": None}]
    monkeypatch.setitem(device.PARTS, "force", lambda *_: rows)
    device.measure(device.Report(tmp_path), ["force"], torch.device("cpu"), device.QUICK)
    found = json.loads((tmp_path / "device.json").read_text(), parse_constant=pytest.fail)
    assert found["force"]["rows"] == [{**rows[0], "float64": "nan"}, rows[1]]
    assert "| nan |" in (tmp_path / "device.md").read_text() and "not measured" in (tmp_path / "device.md").read_text()


def test_a_folder_without_mnist_is_not_downloaded_into(bench, tmp_path, monkeypatch):
    sizes = bench("device_sizes")
    monkeypatch.setenv("AELLE_DATA", str(tmp_path))
    monkeypatch.setattr(sizes, "mnist", lambda root: pytest.fail("would download"))
    assert sizes.data_of(sizes.FULL.images)[1] == "random images"


def test_a_part_that_fails_leaves_the_others_alone(bench, tmp_path, monkeypatch):
    device = bench("device")

    def failing(*_):
        yield {"what": "the first row"}
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(device.PARTS, "correctness", failing)
    report = device.Report(tmp_path)
    device.measure(report, ["correctness", "peaks"], torch.device("cpu"), device.QUICK)
    found = json.loads((tmp_path / "device.json").read_text())
    assert found["correctness"]["error"] == "RuntimeError: no kernel image" and found["correctness"]["rows"]
    assert "failing" in found["correctness"]["traceback"] and found["peaks"]["rows"]


def test_the_time_to_the_help_is_measured(bench):
    found = bench("starting").first_help("analyze.py")
    assert 0 < found.cpu < 60 and found.wall > 0


def test_callables_are_timed_beside_what_gives_the_same_exponents(bench, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["callables.py", "--steps", "300", "--rounds", "1"])
    threads = torch.get_num_threads()
    bench("callables").main()
    torch.set_num_threads(threads)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("aelle", "numpy"))]
    lorenz, gru = [line.split()[-3:] for line in lines[:3]], [line.split()[-3:] for line in lines[3:]]
    assert lorenz[0] == lorenz[1] == lorenz[2] and gru[0] == gru[1]


def test_memory_is_estimated_and_measured(bench):
    memory = bench("memory")
    small = ("recall", 2, {"cell": "gru", "hidden_size": 4})
    for row in (memory.training(*small), memory.evaluation(*small), memory.spectrum("lstm", 4, None)):
        assert row.estimated > 0 and row.measured > 0, row.what


def test_free_runs_are_those_that_the_training_ended_with(bench, main, tmp_path, monkeypatch, capsys):
    free_runs = bench("free_runs")
    line = ["experiment=target", "size=6", "pack_size=4", "hidden_size=30", "epochs=2", "lyapunov.steps=20"]
    code, _, err = main("train.py", "-m", *line)
    assert code == 0, err
    losses = load_sweep("outputs/target").final_loss
    threshold = float(np.median(losses))

    again = {f"again {i}": (free_runs.undisturbed, (1, 2)) for i in range(2)}
    displaced = {"displaced by 0.5": (partial(free_runs.displaced, noise=0.5), (2,))}
    monkeypatch.setattr(free_runs, "CASES", {"again 0": again["again 0"], **displaced, "again 1": again["again 1"]})
    monkeypatch.setattr(sys, "argv", ["free_runs.py", "outputs/target", "--threshold", f"{threshold!r}"])
    free_runs.main()
    title, _, _heading, *first, _, third, fourth = capsys.readouterr().out.splitlines()
    assert title == f"target: 6 networks, low-error below {threshold}"
    assert first[1].split()[:7] == ["again", "0", "2", "50%", "(19", "to", "81)"]
    assert [line.replace("0", "1", 1) for line in first] == [third, fourth]

    for module in free_runs.trained(tmp_path / "outputs/target", 6):
        as_it_is = module.network.run_free(2 * free_runs.PERIOD)
        in_time = free_runs.errors(as_it_is, module.target).in_time
        np.testing.assert_allclose(in_time.mean(1), losses[[v.number for v in module.variants]], rtol=1e-6)


def test_a_target_at_another_time_is_found(bench):
    free_runs = bench("free_runs")
    f = torch.as_tensor(four_sines(*FIXED_TARGET)).float()[None]
    output = torch.cat([f, f.roll(3 * free_runs.SHIFT, 1), f.roll(-free_runs.SHIFT, 1)], 1)
    in_time, at_any_time = free_runs.errors(output, f)
    assert in_time[0, 0] == 0 and (in_time[0, 1:] > 0.03).all()
    assert torch.equal(at_any_time, torch.zeros(1, 3))


def test_networks_are_displaced_as_it_says(bench):
    free_runs = bench("free_runs")
    random, steps = torch.Generator(), 50
    unit = free_runs.STEPS_PER_UNIT_OF_TIME

    def net() -> RankOne:
        found = RankOne(40, [1.5, 1.2], [0, 1])
        found.learn(torch.ones(2, 400))
        return found

    as_it_is = net().run_free(steps)
    assert torch.equal(free_runs.undisturbed(net(), steps, random), as_it_is)
    assert torch.allclose(free_runs.with_noise(net(), steps, random, noise=0.0), as_it_is, atol=1e-4)
    noisy = free_runs.with_noise(net(), steps, random, noise=0.5)
    assert (
        torch.equal(noisy[:, :unit], as_it_is[:, :unit]) and not torch.isclose(noisy, as_it_is)[:, unit:].any(1).all()
    )
    for run in (partial(free_runs.displaced, noise=0.5), free_runs.anew):
        one, two = net(), net()
        # What a state was is forgotten by `anew` alone.
        two.x += 1
        ran = [run(found, steps, random.manual_seed(3)) for found in (one, two)]
        assert not torch.allclose(ran[0], as_it_is)
        assert torch.equal(*ran) == (run is free_runs.anew)


@pytest.mark.parametrize("what", ["no folder", "another task", "not complete"])
def test_networks_that_are_not_trained_are_refused(bench, small_sweep, tmp_path, main, what):
    free_runs = bench("free_runs")
    if what == "not complete":
        main("train.py", "-m", "experiment=target", "size=2", "hidden_size=10", "epochs=1", "lyapunov.steps=9")
        (tmp_path / "outputs/target/pack-0000/status.json").unlink()
    folder = {"no folder": tmp_path / "none", "another task": small_sweep}.get(what, tmp_path / "outputs/target")
    with pytest.raises(
        SystemExit, match="start the sweep again" if what == "not complete" else "is no sweep of target"
    ):
        free_runs.trained(folder, 1)


def test_a_budget_buys_what_ended_within_it(bench, capsys):
    optuna = pytest.importorskip("optuna")
    search = bench("search")

    def trial(number: int, epochs: int, loss: float | None):
        state = optuna.trial.TrialState.PRUNED if loss is None else optuna.trial.TrialState.COMPLETE
        found = optuna.trial.create_trial(state=state, value=loss, user_attrs={"epochs trained": epochs})
        found.number = number
        return found

    trials = [trial(2, 10, 0.1), trial(0, 10, 0.5), trial(1, 5, None), trial(3, 5, None)]
    assert search.outcome(trials, budget=2) == ([np.inf, 0.5, 0.5, 0.5], (2, 1))
    assert search.outcome(trials, budget=3) == ([np.inf, 0.5, 0.5, 0.1], (4, 2))
    assert capsys.readouterr().err == ""
    search.outcome(trials, budget=4)
    assert "only 75% of the budget was used" in capsys.readouterr().err
