"""Searches by the command line: study, run folders and tables say the same, whatever happens to a job."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from aelle.runs.reader import read_run, run_folders
from aelle.search import learning
from aelle.search.study import Study
from aelle.sweep.retraining import retraining
from aelle.sweep.table import load_sweep
from sweeps import ROOT, SMALL, runs

SEARCH = ["-m", "experiment=digits", *SMALL, "search=optuna", "cell=[lstm,gru]", "size=14", "search.prune=median"]

JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def study_of(sweep: Path) -> optuna.Study:
    return optuna.load_study(study_name=sweep.name, storage=f"sqlite:///{sweep.resolve()}/study.db")


def by_number(sweep: Path) -> dict[int, tuple[dict, list[dict]]]:
    """Each variant's row and its epochs, of the complete runs."""
    found: dict[int, tuple[dict, list[dict]]] = {}
    for run in runs(sweep):
        if run.status["state"] == "complete":
            for row in run.variants.to_pylist():
                assert row["variant"] not in found, "trained twice"
                epochs = [epoch for epoch in run.epochs.to_pylist() if epoch["variant"] == row["variant"]]
                found[row["variant"]] = (row, sorted(epochs, key=lambda epoch: epoch["epoch"]))
    return found


def assert_study_is_of(sweep: Path, size: int) -> None:
    """What the study says of every trial is what the run folders say of its variant."""
    trials, trained = study_of(sweep).trials, by_number(sweep)
    assert [trial.number for trial in trials] == list(range(size)) and sorted(trained) == list(range(size))
    for trial in trials:
        row, epochs = trained[trial.number]
        assert {name: row[name] for name in trial.params} == trial.params
        assert trial.intermediate_values == {one["epoch"]: one["val_loss"] for one in epochs[1:]}
        assert trial.user_attrs["state"] == row["state"]
        if row["state"] == "complete":
            assert trial.state == TrialState.COMPLETE and trial.value == epochs[-1]["val_loss"]
        else:
            assert trial.state == TrialState.PRUNED
        last = max(epochs, key=lambda one: one["epoch"])
        assert trial.user_attrs["largest exponent"] == pytest.approx(max(last["spectrum"]))


def test_a_search_tells_its_study_what_its_runs_say_and_can_be_continued(main):
    code, out, err = main("train.py", *SEARCH)
    assert code == 0, err
    sweep = Path("outputs/digits")
    assert_study_is_of(sweep, 14)
    assert "14 variants proposed by tpe" in out and "optuna-dashboard sqlite:///" in out
    best = study_of(sweep).best_trial
    assert f"best: variant {best.number}, final validation loss {best.value:.4g}" in out
    table = load_sweep(sweep)
    assert table.size == 14 and not table.problems

    # Nothing is left; then more trials of the same study.
    before = {path: path.stat().st_mtime_ns for path in sweep.glob("*/epochs.parquet")}
    code, out, err = main("train.py", *SEARCH)
    assert code == 0 and "the study has 14 trials, 14 of them ended" in out
    code, out, err = main("train.py", *SEARCH, "size=16")
    assert code == 0, err
    assert_study_is_of(sweep, 16)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert load_sweep(sweep).size == 16
    code, out, err = main("aelle/__main__.py", "status", str(sweep))
    assert code == 0 and "16 variants in" in out and "0 not started" in out and "damaged" not in out
    # Fewer, or proposed in another way, is another sweep.
    for other in ("size=14", "search.prune=hyperband"):
        code, out, err = main("train.py", *SEARCH, *(["size=16"] if other != "size=14" else []), other)
        assert code == 2 and "started with other settings" in err


@pytest.mark.long
def test_a_search_learns_from_what_has_ended(main, monkeypatch):
    monkeypatch.setattr(learning, "MIN_KNOWN", 10)
    code, out, err = main("train.py", *SEARCH, "size=20", "pack_size=10", "search.prune=aelle", "epochs=4")
    assert code == 0, err
    sweep = Path("outputs/digits")
    assert out.count("from now on, one is stopped whose chance of a final loss") == 2, out
    trials = study_of(sweep).trials
    assert_study_is_of(sweep, 20)
    late = [trial.user_attrs["chance by epoch"] for trial in trials if "chance by epoch" in trial.user_attrs]
    assert late and all(0 <= chance <= 1 for one in late for chance in one.values())
    for trial in trials:
        chances = trial.user_attrs.get("chance by epoch", {})
        # After epoch e of 4, stopped below a fifth of what is left of the training.
        poor = [int(e) for e, chance in chances.items() if 1 <= int(e) < 4 and chance < 0.2 * (1 - int(e) / 4)]
        assert poor == ([trial.user_attrs["epochs trained"]] if trial.state == TrialState.PRUNED else [])
    assert {TrialState.PRUNED, TrialState.COMPLETE} == {trial.state for trial in trials[10:]}


def test_a_pruner_of_optunas_decides_after_every_epoch(main):
    rule = "search.prune={_target_: optuna.pruners.ThresholdPruner, upper: 2.0, n_warmup_steps: 2}"
    code, _, err = main("train.py", *SEARCH, rule, "epochs=4")
    assert code == 0, err
    trials = study_of(Path("outputs/digits")).trials
    for trial in trials:
        high = [epoch for epoch, loss in sorted(trial.intermediate_values.items()) if epoch >= 2 and loss > 2.0]
        stopped = [epoch for epoch in high if epoch < 4][:1]
        assert (trial.state == TrialState.PRUNED) == bool(stopped)
        assert max(trial.intermediate_values) == (stopped[0] if stopped else 4)
        assert trial.user_attrs.get("stopped after epoch") == (stopped[0] if stopped else None)
    assert {trial.state for trial in trials} == {TrialState.PRUNED, TrialState.COMPLETE}


def test_a_decision_is_not_asked_for_again():
    trial, sweep = object.__new__(Study), optuna.create_study(pruner=optuna.pruners.SuccessiveHalvingPruner())
    trial.study, trial._stopped = sweep, {3: 2}
    assert trial.prunes(3, 2)


def test_a_search_and_its_study_belong_together(main):
    code, _, err = main("train.py", *SEARCH, "size=4")
    assert code == 0, err
    sweep = Path("outputs/digits")
    (sweep / "study.db").rename("elsewhere.db")
    code, _, err = main("train.py", *SEARCH, "size=4")
    assert code == 2 and "study.db: the study of outputs/digits is not there" in err and err.count("\n") == 1
    code, _, err = main("train.py", *SEARCH, "size=4", f"search.storage=sqlite:///{Path('elsewhere.db').resolve()}")
    assert code == 0, err
    # A search that was killed before it had anything begins anew.
    Path("k/digits").mkdir(parents=True)
    Path("k/digits/study.id").write_text("of a study that was not written")
    assert main("train.py", *SEARCH, "size=2", "outputs=k")[0] == 0
    # Another folder with the same storage, and a study of somebody else's.
    code, _, err = main(
        "train.py", *SEARCH, "size=4", "outputs=o", f"search.storage=sqlite:///{Path('elsewhere.db').resolve()}"
    )
    assert code == 2 and "is not that of o/digits" in err
    optuna.create_study(study_name="digits", storage="sqlite:///theirs.db").add_trial(
        optuna.trial.create_trial(params={}, value=1.0)
    )
    code, _, err = main(
        "train.py", *SEARCH, "size=4", "outputs=t", f"search.storage=sqlite:///{Path('theirs.db').resolve()}"
    )
    assert code == 2 and "is not that of t/digits" in err


def test_a_run_that_was_lost_is_trained_again(main):
    assert main("train.py", *SEARCH, "size=4", "search.prune=null")[0] == 0
    sweep = Path("outputs/digits")
    lost = next(sweep.glob("pack-*"))
    before = read_run(lost).epochs["val_loss"].to_pylist()
    (lost / "epochs.parquet").write_bytes(b"gone")
    code, out, err = main("train.py", *SEARCH, "size=4", "search.prune=null")
    assert code == 0 and "that had ended are missing or damaged: they are trained again" in out, err
    assert read_run(lost).epochs["val_loss"].to_pylist() == before
    assert_study_is_of(sweep, 4)


def test_no_password_is_written_or_printed(main):
    storage = f"sqlite:///{Path('study.db').resolve()}?password=secret99"
    code, out, err = main("train.py", *SEARCH, "size=3", f"search.storage='{storage}'")
    written = [file for file in Path("outputs").rglob("*") if file.is_file() and b"secret99" in file.read_bytes()]
    assert code == 0 and "secret99" not in out + err, err
    # Hydra's record of the command has what was given in words.
    assert [file.name for file in written] == ["multirun.yaml"]
    for wrong in ("secret99@host:abc/x", "postgresql://u:secret99@localhost:abc/x"):
        code, out, err = main("train.py", *SEARCH, "sweep=b", f"search.storage='{wrong}'")
        assert code == 2 and "secret99" not in err and "give a URL" in err


def test_a_failing_training_is_a_failed_trial(main, tmp_path, monkeypatch):
    (tmp_path / "failing_search.py").write_text(
        "from aelle.tasks import SequenceClassification\n"
        "class Failing(SequenceClassification):\n"
        "    def on_train_epoch_start(self):\n"
        "        super().on_train_epoch_start()\n"
        "        if self.variants[0].value('cell') == 'gru':\n"
        "            raise RuntimeError('no luck')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, _, err = main(
        "train.py", *SEARCH, "size=8", "pack_size=8", "task.module._target_=failing_search.Failing", "seed=1"
    )
    assert code == 1 and "failed: pack-" in err and "run the same command again" in err
    states = {trial.params["cell"]: trial.state for trial in study_of(Path("outputs/digits")).trials}
    assert states == {"lstm": TrialState.COMPLETE, "gru": TrialState.RUNNING}
    # As in any sweep, what has failed is trained by the same command once the reason is gone.
    (tmp_path / "failing_search.py").write_text("from aelle.tasks import SequenceClassification as Failing")
    sys.modules.pop("failing_search")
    code, _, err = main(
        "train.py", *SEARCH, "size=8", "pack_size=8", "task.module._target_=failing_search.Failing", "seed=1"
    )
    assert code == 0, err
    assert_study_is_of(Path("outputs/digits"), 8)


def test_a_study_that_cannot_be_written_for_a_while_does_not_stop_the_training(main, monkeypatch):
    report, refused = optuna.trial.Trial.report, []

    def failing(trial, value, step):
        if step == 1 and len(refused) < 2:
            refused.append(step)
            raise optuna.exceptions.StorageInternalError("gone for a while")
        report(trial, value, step)

    monkeypatch.setattr(optuna.trial.Trial, "report", failing)
    code, out, err = main("train.py", *SEARCH, "search.prune=null", "size=5")
    assert code == 0, err
    assert len(refused) == 2 and "the study cannot be written (gone for a while); training continues" in out
    assert_study_is_of(Path("outputs/digits"), 5)


def test_what_a_user_has_enqueued_is_trained_within_the_size(main):
    assert main("train.py", *SEARCH, "size=5")[0] == 0
    study_of(Path("outputs/digits")).enqueue_trial({"cell": "gru", "p": 2.25})
    study_of(Path("outputs/digits")).enqueue_trial({"cell": "lstm", "p": 2.75})
    study_of(Path("outputs/digits")).enqueue_trial({"cell": "elman"})
    code, _, err = main("train.py", *SEARCH, "size=9", "pack_size=5")
    # One that is not of the space has failed, and the others are trained.
    assert code == 1 and err.count("trial 7 of the study is not of the search space") == 1, err
    trials = study_of(Path("outputs/digits")).trials
    assert [trial.params["p"] for trial in trials[5:7]] == [2.25, 2.75]
    over = {TrialState.COMPLETE, TrialState.PRUNED}
    assert [trial.state for trial in trials if trial.state not in over] == [TrialState.FAIL] and len(trials) == 9


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["search=nothing"], "search=nothing does not exist: choose one of optuna"),
        (["search.prune=best"], "search.prune=best: choose aelle, median, hyperband, null, or a class"),
        (["search.prune={_target_: optuna.pruners.Nothing}"], "search.prune: .*; choose aelle"),
        (["search.prune={_target_: optuna.samplers.RandomSampler}"], "is not a BasePruner of Optuna's"),
        (["search.sampler=best"], "search.sampler=best: choose tpe, random, or a class"),
        (["search.sampler={_target_: optuna.samplers.TPESampler, nonsense: 1}"], "nonsense"),
        (["search.storage=here.db"], "search.storage: give a URL"),
        (["search.storage=nodatabase://x"], "search.storage: "),
        (["search.sampler={_target_: optuna.samplers.RandomSampler, seed: 1}"], "leave seed out"),
        (["+search.foo=1"], "it has .*foo.*; choose search=optuna"),
        (["+trainer.min_epochs=2"], "trainer.min_epochs and search.prune cannot be combined"),
        (["search.sampler={_target_: optuna.samplers.GridSampler, search_space: {p: [2.0]}}"], "search.sampler: "),
        (["search.workers=0"], "search.workers=0: give a whole number"),
        (["repeats=2"], "repeats=2 and search=optuna cannot be combined"),
        (["variants=3"], "variants=3 and search=optuna cannot be combined"),
        (["reference={size: 2}"], "reference and search=optuna cannot be combined"),
        (["cell=lstm", "p=1.0"], "nothing to search"),
        (["prediction.prune=0.1", "prediction.model=x"], "does not exist|cannot be combined"),
        (["size=null"], "size"),
    ],
)
def test_what_no_search_could_use_is_one_line(main, given, said):
    code, _, err = main("train.py", *SEARCH, *given)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    assert re.search(said, err), err
    assert not list(Path("outputs").glob("*/pack-*"))


def test_a_pack_of_enqueued_trials_beside_the_space_does_not_end_the_search(main):
    assert main("train.py", *SEARCH, "size=1", "pack_size=1")[0] == 0
    study_of(Path("outputs/digits")).enqueue_trial({"cell": "elman"})
    assert main("train.py", *SEARCH, "size=3", "pack_size=1")[0] == 1
    states = [trial.state for trial in study_of(Path("outputs/digits")).trials]
    assert states[1] == TrialState.FAIL and states.count(TrialState.FAIL) == 1 and len(states) == 3


def test_a_search_needs_a_sweep(main):
    code, _, err = main("train.py", *SEARCH[1:])
    assert code == 2 and "start it with -m" in err


def killed_half_way(cwd: Path, line: list[str], packs: int) -> None:
    """Start the command, and kill all its processes once some packs have begun."""
    process = subprocess.Popen(
        line, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 240
    while len(list(cwd.glob("outputs/digits/pack-*/epochs.parquet"))) < packs and time.monotonic() < until:
        assert process.poll() is None, "it has ended by itself"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.long
@pytest.mark.parametrize(
    "launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]], ids=["basic", "joblib"]
)
def test_a_search_that_was_killed_goes_on_where_it_was(tmp_path, launcher):
    line = [sys.executable, str(ROOT / "train.py"), *SEARCH, "size=24", "epochs=6", *launcher]
    for packs in (2, 4):
        killed_half_way(tmp_path, line, packs)
    sweep = tmp_path / "outputs" / "digits"
    left = [trial for trial in study_of(sweep).trials if trial.state == TrialState.RUNNING]
    assert left
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_study_is_of(sweep, 24)
    # Those that were running have the values that they had.
    now = {trial.number: trial.params for trial in study_of(sweep).trials}
    assert all(now[trial.number] == {**now[trial.number], **trial.params} for trial in left)


@pytest.mark.long
def test_two_processes_serve_one_study(tmp_path):
    line = [sys.executable, str(ROOT / "train.py"), *SEARCH, "size=30", "epochs=5"]
    both = [subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [one.communicate(timeout=400)[0] for one in both]
    sweep = tmp_path / "outputs" / "digits"
    assert [one.returncode for one in both] == [0, 0], outs
    assert_study_is_of(sweep, 30)
    jobs = {trial.user_attrs["job"] for trial in study_of(sweep).trials}
    assert len(jobs) == 2
    for folder in run_folders(sweep):
        numbers = read_run(folder).numbers
        assert len({study_of(sweep).trials[number].user_attrs["job"] for number in numbers}) == 1


@pytest.mark.long
def test_a_searched_variant_trained_again_by_its_command_is_the_same(main):
    assert main("train.py", *SEARCH)[0] == 0
    sweep = load_sweep("outputs/digits")
    found = retraining(Path("outputs/digits"), sweep)
    assert found is not None and found.to_the_end([1]) is None
    number = study_of(Path("outputs/digits")).best_trial.number
    command = found.again([number], "best")
    code, _, err = main("train.py", *shlex.split(command or "")[2:])
    assert code == 0, err
    again = load_sweep("outputs/digits-best")
    np.testing.assert_allclose(again.losses[0], sweep.losses[number], rtol=1e-4)
