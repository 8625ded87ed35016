"""Chances while training are those of the finished sweep; what is pruned leaves the others as they would have been."""

import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from aelle.analysis.weights import load_weights
from aelle.commands.collect import collect
from aelle.commands.score import predicted
from aelle.commands.status_text import status_lines
from aelle.errors import UserError
from aelle.predictor.differences import differences
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.runs.reader import read_run, run_folders
from aelle.sweep.plan import Plan
from aelle.sweep.status import sweep_status
from aelle.sweep.table import load_sweep
from aelle.tasks import SequenceClassification
from aelle.training.parts import _cut
from aelle.training.recorder import RunRecorder
from run_files import on_replacing
from sweeps import QUICK, SMALL, KilledError, assert_equal, command, report_of, results, results_of, rows, synthetic

SWEEP = ["train.py", "-m", "experiment=digits", *SMALL]


@pytest.fixture(scope="module")
def model(small_sweep, tmp_path_factory) -> Path:
    """The folder of a model of the small sweep's own variants."""
    table = load_sweep(small_sweep)
    folder = tmp_path_factory.mktemp("model")
    EarlyPredictor(float(np.median(table.final_loss)), aelle={"epochs": 40}).fit(table).save(folder)
    return folder


@pytest.fixture(scope="module")
def expected(small_sweep, model) -> np.ndarray:
    """The chances [V, E] of the sweep that was trained to its end."""
    found, outside = predicted(EarlyPredictor.load(model), load_sweep(small_sweep))
    assert set(outside) == {""}
    return found


@pytest.fixture(scope="module")
def below(expected) -> float:
    """A chance that some of each pack are below after epoch 1, and that none comes near."""
    known = np.sort(expected[:, 1:3].ravel())
    middle = len(known) // 2 + np.diff(known[len(known) // 2 - 2 : len(known) // 2 + 3]).argmax() - 2
    return float(known[middle : middle + 2].mean())


@pytest.fixture(scope="module")
def pruned_once(model, below, tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("pruned")
    done = command(*SWEEP, f"prediction.model={model}", f"prediction.prune={below}", "logger=csv", cwd=cwd)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert f"below {100 * below:.4g} % stopped" in done.stdout
    return cwd / "outputs" / "digits"


@pytest.fixture
def pruned(pruned_once, tmp_path) -> Path:
    """The folder of the small sweep, pruned after epochs 1 and 2."""
    return shutil.copytree(pruned_once, tmp_path / "outputs" / "digits")


def another(folder: Path) -> None:
    """Save another model."""
    EarlyPredictor(0.5, aelle={"epochs": 4}).fit(synthetic()).save(folder)


def stops(expected: np.ndarray, below: float) -> dict[int, int]:
    """The epoch after which each variant is stopped, of those that are."""
    return {v: int(np.argmax(low)) + 1 for v, low in enumerate(expected[:, 1:3] < below) if low.any()}


def test_the_chances_are_those_of_the_finished_sweep_and_change_nothing(main, tmp_path, small_sweep, model, expected):
    code, out, err = main(*SWEEP, f"prediction.model={model}")
    assert code == 0, err
    sweep = tmp_path / "outputs" / "digits"
    found, plain = rows(sweep), rows(small_sweep)
    of_rows = {at: row.pop("chance") for at, row in found.items()}
    assert {row.pop("outside") for row in found.values()} == {""}
    assert found == plain
    np.testing.assert_allclose([of_rows[v, e] for v in range(12) for e in range(4)], expected.ravel(), rtol=1e-9)
    first = read_run(sweep / "pack-0000")
    assert first.status["fingerprint"] == read_run(small_sweep / "pack-0000").status["fingerprint"]
    table = pd.read_csv(first.path / "chances.csv")
    assert len(table) == 5 * 4 and set(table["state"]) == {"complete"}
    np.testing.assert_allclose(table["chance"], [of_rows[v, e] for e in range(4) for v in range(5)], rtol=1e-5)
    best = int(np.argmax(expected[:5, 2]))
    assert out.count("pack 1 of 3: after epoch 0 of 3, each variant's chance of a final validation loss below") == 1
    at = out.index("pack 1 of 3: after epoch 2 of 3\n")
    assert out[at:].splitlines()[1].startswith(f"{best} {100 * expected[best, 2]:3.0f} %")
    assert max(map(len, out.splitlines())) <= 120 and "after epoch 3 of 3" not in out
    assert "12 of 12 variants complete already" in main(*SWEEP)[1]


def test_variants_below_the_chance_are_stopped_and_recorded(pruned, expected, below, small_sweep):
    at = stops(expected, below)
    assert 0 < len(at) < 12 and set(at.values()) <= {1, 2}
    found, plain = rows(pruned), rows(small_sweep)
    assert set(found) == {(v, e) for v in range(12) for e in range(at.get(v, 3) + 1)}
    for key, row in found.items():
        assert row["val_loss"] == pytest.approx(plain[key]["val_loss"], rel=1e-3), key
    for folder in run_folders(pruned):
        run = read_run(folder)
        assert run.pruned == set(at) & set(run.numbers)
        examples = pq.ParquetFile(folder / "examples.parquet").read()["variant"].to_pylist()
        assert examples == [n for n in run.numbers if n not in at]
        of_file = pd.read_csv(folder / "chances.csv").groupby("variant")
        assert dict(of_file["epoch"].max()) == {n: at.get(n, 3) for n in run.numbers}
        assert dict(of_file["state"].first()) == {n: "pruned" if n in at else "complete" for n in run.numbers}
        metrics = pd.read_csv(folder / "metrics.csv").groupby("variant")["state"].first()
        assert dict(metrics) == dict(of_file["state"].first())


def test_readers_know_what_was_pruned(pruned, expected, below, model, main, tmp_path):
    at, survivors = stops(expected, below), [v for v in range(12) if v not in stops(expected, below)]
    table = load_sweep(pruned)
    assert table.problems == [] and list(table.complete().variants["variant"]) == survivors
    weights, problems = load_weights(pruned, table.complete())
    assert problems == [] and weights is not None
    of_pack = torch.load(pruned / "pack-0000" / "checkpoint.ckpt", weights_only=True)["state_dict"]
    of_pack = of_pack["network.weight_hh_l0"].flatten(1)
    members = [v for v in survivors if v < 5]
    rows_of_pack = [list(weights.rows).index(row) for row, v in enumerate(survivors) if v < 5]
    np.testing.assert_array_equal(next(iter(weights.blocks()))[rows_of_pack], of_pack.double().numpy())
    assert len(members) == len(of_pack)

    line = list(status_lines(sweep_status(pruned)))[2]
    assert line == f"variants  {len(survivors)} complete, 0 diverged, {len(at)} pruned, 0 in progress, 0 not started"
    assert sweep_status(pruned).left == 0
    collect(pruned, tmp_path / "all.parquet")
    rows = pq.ParquetFile(tmp_path / "all.parquet").read().to_pandas()
    assert set(rows["variant"][rows["complete"]]) == set(survivors) and set(rows["variant"][~rows["complete"]]) == set(
        at
    )

    out = main(*SWEEP, f"prediction.model={model}", f"prediction.prune={below}")[1]
    assert f"{len(survivors)} of 12 variants complete and {len(at)} pruned already" in out
    assert f"\n{len(survivors)} of 12 variants complete and {len(at)} pruned in outputs/digits\n" in out
    code, out, err = main("analyze.py", f"sweep={pruned}", *QUICK)
    assert code == 0 and f"12 variants, {len(survivors)} complete" in out, err
    assert f"{len(at)} variants pruned: only the others are used for fitting and scoring" in out
    assert f"{len(at)} of 12 variants were pruned." in report_of(out).read_text()
    variants = pd.read_csv(results_of(out) / "variants.csv").set_index("variant")
    assert set(variants.index[variants["state"] == "pruned"]) == set(at)
    assert variants["final_loss"].isna().equals(variants["state"] == "pruned")
    problems = pd.read_csv(results_of(out) / "problems.csv")
    assert set(problems["variant"]) == set(at) and set(problems["state"]) == {"pruned"}
    code, out, err = main("analyze.py", f"sweep={pruned}", f"model={model}")
    told = pd.read_csv(pruned / "chances.csv").set_index("variant")
    assert code == 0 and told.loc[list(at), "chance_epoch_3"].isna().all() and told["chance_epoch_1"].notna().all(), err


def test_another_model_or_chance_is_another_sweep(pruned, model, below, main, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(model, other)
    assert main(*SWEEP, f"prediction.model={other}", f"prediction.prune={below}")[0] == 0
    another(other)
    for line in (
        [f"prediction.model={other}", f"prediction.prune={below}"],
        [f"prediction.model={model}", f"prediction.prune={below / 2}"],
        [],
    ):
        code, _, err = main(*SWEEP, *line)
        rewritten = "other" in " ".join(line)
        words = "is not the model that" if rewritten else "was started with other settings (prediction"
        assert code == 2 and words in err and err.count("\n") == 1 and "{" not in err
    kept = pruned / "pruning-model"
    assert (
        f"resume with prediction.model={kept.relative_to(tmp_path)}"
        in main(*SWEEP, f"prediction.model={other}", f"prediction.prune={below}")[2]
    )
    code, out, err = main(*SWEEP, f"prediction.model={kept}", f"prediction.prune={below}")
    assert code == 0 and "pruned already" in out and "pack 1" not in out, err


def test_the_model_of_a_pruned_sweep_is_never_overwritten(pruned, below, main, tmp_path):
    (pruned / "sweep.json").unlink()
    kept = {file.name: file.read_bytes() for file in (pruned / "pruning-model").iterdir()}
    another(tmp_path / "other")
    code, _, err = main(*SWEEP, f"prediction.model={tmp_path / 'other'}", f"prediction.prune={below}")
    assert code == 2 and err.count("\n") == 1 and "was pruned by the model in" in err
    assert kept == {file.name: file.read_bytes() for file in (pruned / "pruning-model").iterdir()}


def test_what_sets_a_sweep_apart_from_the_models_is_said(main, tmp_path, model, small_sweep):
    fitted = EarlyPredictor.load(model)
    assert differences(fitted, "digits", 3, fitted.threshold, ["p"]) == []
    fitted.learned_from_ = {"task": "array file"}
    assert differences(fitted, "digits", 3, fitted.threshold * (1 + 1e-12), ["p"], 8) == []
    fitted.learned_from_ = {"pruned": 3}
    assert ["to prune" in said for said in differences(fitted, "digits", 3, fitted.threshold, ["p"])] == [True]
    fitted.learned_from_ = {"task": "charrnn", "epochs": 20}
    fitted.save(tmp_path / "model")
    assert EarlyPredictor.load(tmp_path / "model").learned_from_ == fitted.learned_from_
    three = differences(fitted, "digits", 3, 0.5, ["p"])
    words = ["charrnn", "here is below 0.5"]
    assert all(one in said for one, said in zip(words, three, strict=True))
    for call in (SWEEP, ["train.py", *SWEEP[2:], "variants=0", "sweep=single"]):
        code, out, err = main(*call, f"prediction.model={tmp_path / 'model'}")
        assert code == 0 and all(out.count(f"warning: prediction.model: {said}\n") == 1 for said in three), err
    code, out, err = main("analyze.py", f"sweep={small_sweep}", f"model={tmp_path / 'model'}")
    assert code == 0 and all(f"warning: {said}\n" in out for said in three), err


def test_a_model_that_is_not_there_is_one_line_with_a_hint(main, tmp_path, model, small_sweep):
    shutil.copytree(model, tmp_path / "sweep" / "model")
    code, _, err = main("analyze.py", f"sweep={small_sweep}", f"model={tmp_path / 'sweep'}")
    assert code == 2 and err.count("\n") == 1 and "Errno" not in err
    assert f"predictor.json: No such file or directory; did you mean {tmp_path / 'sweep' / 'model'}?" in err


DIGITS = ["experiment=digits_wide_init", "hidden_size=8", "epochs=3", "lyapunov.sequences=4", "reference=null"]


MIXED = [
    *(*DIGITS, "layers=2", "optimizer=rmsprop", "momentum=[0.0,0.5]", "schedule=[cosine,step]", "warmup=0.1"),
    *("keep=[1.0,0.7]", "dropout=[0.0,0.2]", "weight_decay=1e-4", "gradient_clip=[1.0,null]", "readout=[last,mean]"),
]


CHARACTERS = ["experiment=charrnn_small", "hidden_size=4", "keep=0.05", "epochs=3", "lyapunov.sequences=2"]


TARGET = ["experiment=target", "hidden_size=24", "epochs=4", "lyapunov.every_n_epochs=[0,1,3]", "lyapunov.k=4"]


@pytest.mark.parametrize(
    "line, when", [(DIGITS, "before"), (DIGITS, "after"), (MIXED, "after"), (CHARACTERS, "after"), (TARGET, "after")]
)
def test_a_resumed_run_equals_an_uninterrupted_one(main, tmp_path, monkeypatch, line, when):
    """Killed before or after the checkpoint of epoch 2, when some have been pruned after epoch 1."""
    torch.set_num_threads(1)
    line = ["train.py", *line, "size=12"]
    assert main(*line, "variants=0-11", "outputs=unpruned")[0] == 0
    (sweep,) = tmp_path.glob("unpruned/*/")
    table = load_sweep(sweep)
    predictor = EarlyPredictor(float(np.median(table.final_loss)), aelle={"epochs": 10}).fit(table)
    predictor.save(tmp_path / "model")
    seen = predicted(predictor, table)[0][:4, 1:-1]
    best = seen.min(1).max()
    line += ["variants=0-3", f"prediction.model={tmp_path / 'model'}"]
    line.append(f"prediction.prune={(best + seen[:, 0][seen[:, 0] < best].max()) / 2}")
    assert main(*line, "outputs=whole")[0] == 0
    (whole,) = tmp_path.glob("whole/*/variants-*/")
    assert 0 < len(read_run(whole).pruned) < 4

    def killed(path, times):
        if (path.name, times) == ("checkpoint.ckpt", 2):
            raise KilledError

    on_replacing(monkeypatch, **{when: killed})
    with pytest.raises(KilledError):
        main(*line, "outputs=resumed")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (resumed,) = tmp_path.glob("resumed/*/variants-*/")
    assert main(*line, "outputs=resumed")[0] == 0
    assert_equal(results(resumed), results(whole))
    assert read_run(resumed).variants.equals(read_run(whole).variants)
    assert (resumed / "chances.csv").read_text() == (whole / "chances.csv").read_text()


def test_a_diverged_variant_has_no_chance_and_stays(main, tmp_path, monkeypatch, model):
    """Where its gradient was not finite, its weights and its spectrum still are."""
    clip = SequenceClassification.configure_gradient_clipping

    def clipped(self, *given, **options):
        if self.trainer.current_epoch == 0:
            row = [v.number for v in self.variants].index(1)
            for parameter in self.parameters():
                parameter.grad[row] = torch.inf
        clip(self, *given, **options)

    monkeypatch.setattr(SequenceClassification, "configure_gradient_clipping", clipped)
    line = ["train.py", "experiment=digits", *SMALL, "variants=0-3", f"prediction.model={model}"]
    code, out, err = main(*line, "prediction.prune=0.9999999")
    assert code == 0 and "3 variants below 100 % stopped, 1 left" in out, err
    (run,) = map(read_run, tmp_path.glob("outputs/*/variants-*/"))
    assert run.variants["state"].to_pylist() == ["pruned", "diverged", "pruned", "pruned"]
    told = pd.read_csv(run.path / "chances.csv")
    of_one = told["chance"][told["variant"] == 1]
    assert len(of_one) == 4 and of_one.iloc[1:].isna().all() and np.isfinite(of_one.iloc[0])


def test_a_run_without_a_model_is_closed_with_one(main, tmp_path, monkeypatch, model):
    """Interrupted behind its last checkpoint; then there is no epoch left to tell chances of."""
    line = ["train.py", "experiment=digits", *SMALL, "variants=0-2"]
    with monkeypatch.context() as patched:
        patched.setattr("aelle.training.recorder.RunRecorder.finish", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            main(*line)
    code, _, err = main(*line, f"prediction.model={model}")
    (run,) = map(read_run, tmp_path.glob("outputs/*/variants-*/"))
    assert code == 0 and run.status["state"] == "complete", err


def test_a_model_that_is_rewritten_under_way_prunes_nothing_more(main, tmp_path, monkeypatch, model):
    shutil.copytree(model, tmp_path / "model")
    finish = RunRecorder.finish

    def rewrite(*given):
        finish(*given)
        another(tmp_path / "model")

    monkeypatch.setattr(RunRecorder, "finish", rewrite)
    line = ["train.py", "experiment=digits", *SMALL, "pack_size=2", "variants=0-3", "prediction.prune=0.5"]
    code, _, err = main(*line, f"prediction.model={tmp_path / 'model'}")
    assert code == 2 and err.count("\n") == 1 and "has been rewritten" in err
    assert [read_run(path).status["state"] for path in run_folders(tmp_path / "outputs" / "digits")] == ["complete"]
    code, _, err = main(*line, "prediction.model=outputs/digits/pruning-model")
    assert code == 0, err
    assert len(run_folders(tmp_path / "outputs" / "digits")) == 2


@pytest.mark.parametrize("after", [0, 1])
def test_where_no_variant_is_left_the_training_ends(main, tmp_path, monkeypatch, model, after):
    line = ["train.py", "experiment=digits", *SMALL, "variants=0-2", f"prediction.model={model}"]
    line += ["prediction.prune=0.9999999", f"prediction.after={after}"]
    monkeypatch.setattr(
        "aelle.training.chance_report.ChanceReport.finish", lambda *_: (_ for _ in ()).throw(KilledError)
    )
    with pytest.raises(KilledError):
        main(*line)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    code, out, err = main(*line)
    assert code == 0 and "3 variants in" in out and "3 pruned" in out, err
    sweep = tmp_path / "outputs" / "digits"
    (run,) = map(read_run, run_folders(sweep))
    assert run.pruned == {0, 1, 2} and set(run.epochs["epoch"].to_pylist()) == set(range(after + 1))
    assert not (run.path / "examples.parquet").exists()
    assert Plan.of({**run.config, "variants": "0-2"}).complete() == {0, 1, 2}
    code, out, err = main("analyze.py", f"sweep={sweep}", *QUICK)
    assert code == 0 and "0 complete" in out, err


@pytest.mark.parametrize(
    "options, words",
    [
        (["prediction.prune=0.1"], "prediction.prune=0.1 needs a model"),
        (["prediction.prune=1.5", "prediction.model={model}"], "prediction.prune=1.5: give a chance between 0 and 1"),
        (["prediction.prune=true", "prediction.model={model}"], "prediction.prune=True: give a chance"),
        (["prediction.prune=nan", "prediction.model={model}"], "prediction.prune=nan: give a chance"),
        (["prediction.model=3"], "prediction.model=3: give the folder"),
        (["prediction.model=nowhere"], "prediction.model: nowhere does not exist; give"),
        (["prediction.model=nowhere", "prediction.prune=0.1"], "prediction.model=nowhere does not exist: give"),
        (["prediction.after=-1"], "prediction.after=-1: give an epoch"),
        (["prediction=null"], "prediction=None: give prediction.model"),
        (
            ["+trainer.min_epochs=2", "prediction.prune=0.1", "prediction.model={model}"],
            "trainer.min_epochs and prediction.prune cannot be combined",
        ),
        (
            ["prediction.after=3", "prediction.prune=0.1", "prediction.model={model}"],
            "prediction.after=3: a run has 3 epochs",
        ),
        (["prediction.may_lose=0"], "prediction.may_lose=0: give a share"),
        (["prediction.prune=auto"], "prediction.prune=auto needs a model"),
        (["prediction.prune=always", "prediction.model={model}"], "prediction.prune=always: give a chance between"),
        (
            ["prediction.prune=auto", "prediction.model={model}", "task.threshold={threshold}"],
            "prediction.prune=auto: 6 low-error variants are too few to promise that at most 5 % are lost: at least 19",
        ),
        (
            ["prediction.prune=auto", "prediction.may_lose=0.3", "prediction.model={model}", "epochs=2"],
            "prediction.prune=auto: the model was fitted to 3-epoch runs; this sweep has 2: losses are not used; what",
        ),
        (
            ["prediction.prune=auto", "prediction.may_lose=0.3", "prediction.model={model}"],
            "; low-error here is below 0.5; what share of low-error variants is lost cannot be promised then: give",
        ),
        (
            ["prediction.prune=auto", "prediction.may_lose=0.3", "prediction.model={model}", "task.name=other"],
            "prediction.prune=auto: the model was fitted to the task digits; this sweep's is other; what share of low",
        ),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_is_written(main, tmp_path, model, options, words):
    for call in (SWEEP, ["train.py", *SWEEP[2:]]):
        filled = [option.format(model=model, threshold=EarlyPredictor.load(model).threshold) for option in options]
        own = [option.partition("=")[0] for option in filled]
        code, _, err = main(*(one for one in call if one.partition("=")[0] not in own), *filled)
        assert code == 2 and err.count("\n") == 1 and words in err
    assert not (tmp_path / "outputs").exists()


def test_what_the_model_does_not_know_is_never_stopped(main, tmp_path):
    """Networks with a learning rate of 1e-5, pruned by a model that knows rates from 1e-3 to 1e-1."""
    line = ["train.py", "-m", "experiment=digits", *SMALL, "learning_rate='log_uniform(0.001,0.1)'", "size=24"]
    assert main(*line, "sweep=known", "pack_size=24")[0] == 0
    table = load_sweep(tmp_path / "outputs" / "known")
    predictor = EarlyPredictor(float(np.median(table.final_loss)), aelle={"epochs": 10}).fit(table)
    predictor.save(tmp_path / "model")
    line = [one for one in line if not one.startswith(("size=", "learning_rate=", "task.threshold="))]
    line += [
        f"task.threshold={predictor.threshold}",
        "size=6",
        "learning_rate=[0.00001,0.003,0.05]",
        "seed=1",
        f"prediction.model={tmp_path / 'model'}",
    ]
    code, out, err = main(*line, "prediction.prune=auto", "prediction.may_lose=0.3")
    assert code == 0, err
    cut = predictor.cut(0.3, after=1)
    assert (
        f"prediction.prune=auto: variants are stopped below a chance of {100 * cut:.3g} %, by which at most 30 %" in out
    )
    told = "2 variants are outside of what the model knows (learning_rate=1e-05: known is 0.0019 to 0.0653"
    assert told in out and f"): chance {100 * predictor.base_rate_:.0f} %, not stopped\n" in out
    table = load_sweep(tmp_path / "outputs" / "digits")
    assert list(table.variants["state"][[0, 3]]) == ["complete"] * 2 and (table.final_loss[[0, 3]] > 2).all()
    expected, outside = predicted(predictor, table)
    stopped = np.nanmin(np.where(np.isfinite(table.losses), expected, 1)[:, 1:3], axis=1) < cut
    stopped[[0, 3]] = False
    assert list(table.variants["state"] == "pruned") == list(stopped) and stopped.any()
    found = pd.concat([pd.read_csv(run / "chances.csv") for run in run_folders(tmp_path / "outputs" / "digits")])
    early = found[found["epoch"] < 3].set_index("variant")
    assert early.loc[[0, 3], "outside"].str.startswith("learning_rate=1e-05").all()
    assert early.drop([0, 3])["outside"].isna().all() and [bool(one) for one in outside] == [True, False, False] * 2


def test_without_a_promise_auto_does_not_prune():
    """A sweep that lacks a hyperparameter of the known one, and a model of a pruned sweep."""
    of_p = EarlyPredictor(0.5).fit(replace(synthetic(), task="digits", spectra=np.full((60, 4, 1), np.nan)))
    config = {
        "task": {"name": "digits", "threshold": 0.5},
        "epochs": 3,
        "hyperparameters": ["p"],
        "prediction": {"prune": "auto", "may_lose": 0.3, "after": 1},
    }
    assert 0 < (_cut(of_p, config) or 0) < 1
    lacking = (
        "the model knows the hyperparameters p, which this sweep lacks: hyperparameters are not used; what share of"
    )
    with pytest.raises(UserError, match=f"^prediction.prune=auto: {lacking}.* or a model of a sweep like this one$"):
        _cut(of_p, {**config, "hyperparameters": ["hidden_size"]})
    with pytest.raises(UserError, match=r"low-error here is below 0\.4; "):
        _cut(of_p, {**config, "task": {"name": "digits", "threshold": 0.4}})
    pruned = copy(of_p)
    pruned.learned_from_ = {**of_p.learned_from_, "pruned": 3}
    with pytest.raises(UserError, match="the model was fitted to a pruned sweep and knows few poor variants"):
        _cut(pruned, config)
    assert _cut(pruned, {**config, "prediction": {"prune": 0.2}}) == 0.2


def test_losses_and_hyperparameters_predict_where_no_spectrum_is_measured(main, tmp_path, model):
    """And a model that was fitted without spectra prunes, too."""
    line = ["train.py", "experiment=digits", *SMALL, "variants=0-3", "lyapunov.every_n_epochs=[0]"]
    code, out, err = main(*line, f"prediction.model={model}")
    (run,) = map(read_run, tmp_path.glob("outputs/*/variants-*/"))
    assert code == 0 and run.epochs["chance"].null_count == 0, err
    expected = predicted(EarlyPredictor.load(model), load_sweep(run.path.parent))[0][:, 1:]
    rows = run.epochs.filter(pc.field("epoch") > 0).to_pandas().pivot(index="variant", columns="epoch", values="chance")
    np.testing.assert_allclose(rows.to_numpy(), expected, rtol=1e-9)
    known = synthetic()
    EarlyPredictor(0.5).fit(known.losses, None, {"p": known.variants["p"]}).save(tmp_path / "lossy")
    pruned = [f"prediction.model={tmp_path / 'lossy'}", "prediction.prune=0.5", "sweep=lossy"]
    code, out, err = main(*line, *pruned)
    assert code == 0 and "the model was fitted without spectra: they are not used" in out, err
    (run,) = map(read_run, tmp_path.glob("outputs/lossy/variants-*/"))
    assert run.epochs["chance"].null_count == 0 and set(run.epochs["outside"].to_pylist()) != {""}
    kept = {file.name for file in (tmp_path / "outputs" / "lossy" / "pruning-model").iterdir()}
    assert kept == {"predictor.json", "predictor.npz"}
