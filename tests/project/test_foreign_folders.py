"""A folder from elsewhere: its links lead nowhere, what is torn or swapped is named, and nothing in it takes over."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from aelle import AeLLE, EarlyPredictor
from aelle.analysis.weights import load_weights
from aelle.errors import UserError
from aelle.files import replace_atomically, temporary
from aelle.runs.checkpoint import read_checkpoint
from aelle.runs.reader import DamagedRunError, read_example, read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.selection import select
from aelle.sweep.status import sweep_status
from aelle.sweep.table import load_sweep
from run_files import endorse, on_replacing
from sweeps import QUICK, ROOT, SMALL, KilledError, rows, write_arrays

MINE = "what is mine\n"


@pytest.fixture
def mine(tmp_path) -> Path:
    """A file and a folder of the user's, to which links lead."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "profile").write_text(MINE)
    return tmp_path / "home"


def untouched(mine: Path) -> bool:
    return [file.name for file in mine.iterdir()] == ["profile"] and (mine / "profile").read_text() == MINE


def test_links_in_the_place_of_temporary_files_are_not_followed(sweep, mine, main, monkeypatch):
    """Under the names that an earlier version gave them, which anybody could foresee."""
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    run = sweep / "pack-0000"
    for folder, names in (
        (sweep, ["report.html", "variants.csv", "problems.csv", "sweep.json", "chances.csv"]),
        (run, ["status.json", "epochs.parquet", "variants.parquet", "config.yaml"]),
    ):
        for name in names:
            (folder / f".{name}.4711.tmp").symlink_to(mine / "profile")
    (sweep / "sweep.json").unlink()
    assert main("analyze.py", f"sweep={sweep}", "threshold=0.6", *QUICK)[0] == 0
    RunFolder(run, read_run(run).config).write_status("complete", epoch=3)
    assert untouched(mine)


@pytest.mark.parametrize("name", ["figures", "model", "analysis-threshold-2"])
def test_a_linked_folder_of_an_analysis_is_refused(sweep, mine, main, name):
    (sweep / name).symlink_to(mine)
    wanted = ["threshold=2"] if name.startswith("analysis") else []
    code, _, err = main("analyze.py", f"sweep={sweep}", *wanted, stills=True)
    assert code == 2 and err.count("\n") == 1 and f"{name} is a link" in err, err
    assert untouched(mine)


@pytest.mark.parametrize("name", ["pack-0001", ".pack-0001.lock", "multirun.yaml", "tensorboard", "wandb"])
def test_a_link_in_a_sweep_is_not_written_through(tmp_path, mine, main, name):
    sweep = tmp_path / "outputs" / "digits"
    sweep.mkdir(parents=True)
    (sweep / name).symlink_to(mine if not name.startswith((".", "multirun")) else mine / "profile")
    code, _, err = main("train.py", "-m", "experiment=digits", *SMALL, "epochs=1", "logger=tensorboard")
    assert code == 2 and f"{name} is a link" in err and err.count("\n") == 1 and untouched(mine)


def test_a_linked_run_is_left_out_by_name_and_linked_files_too(sweep, mine):
    outside = mine.parent / "elsewhere"
    shutil.move(sweep / "pack-0001", outside)
    (sweep / "pack-0001").symlink_to(outside)
    shutil.move(sweep / "pack-0002" / "epochs.parquet", mine.parent / "epochs.parquet")
    (sweep / "pack-0002" / "epochs.parquet").symlink_to(mine.parent / "epochs.parquet")
    found = load_sweep(sweep)
    assert len(found.losses) == 5
    (linked, inner) = found.problems
    assert linked == "pack-0001 is left out: it is a link, which is not followed"
    assert "pack-0002 is left out: epochs.parquet" in inner


def test_what_a_killed_write_left_is_removed_by_the_next_and_what_is_being_written_is_not(tmp_path):
    file = tmp_path / "status.json"
    for name in (".status.json.4711.tmp", ".status.json.0123456789abcdef.tmp", ".other.json.4711.tmp"):
        (tmp_path / name).write_text("half")
    with temporary(file) as written:
        assert sorted(os.listdir(tmp_path)) == sorted([".other.json.4711.tmp", written.name])
        replace_atomically(file, lambda other: other.write_text("whole"))
        assert written.exists() and file.read_text() == "whole"
    assert sorted(os.listdir(tmp_path)) == [".other.json.4711.tmp", "status.json"]


@pytest.fixture
def stopped(tmp_path, main, monkeypatch) -> Path:
    """Two packs of the small sweep, each killed after its second checkpoint."""

    def killed(path, times):
        if (path.name, times) == ("checkpoint.ckpt", 2):
            raise KilledError

    for pack in (0, 1):
        with monkeypatch.context() as patched:
            on_replacing(patched, after=killed)
            with pytest.raises(KilledError):
                main("train.py", "experiment=digits", *SMALL, f"pack={pack}")
        monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs" / "digits"


def other_shapes(run: Path) -> None:
    checkpoint = torch.load(run / "checkpoint.ckpt", weights_only=True)
    checkpoint["state_dict"] = {name: tensor.flatten() for name, tensor in checkpoint["state_dict"].items()}
    torch.save(checkpoint, run / "checkpoint.ckpt")
    endorse(run)


@pytest.mark.parametrize("how", ["swapped", "other shapes"])
def test_a_checkpoint_that_does_not_fit_is_moved_away_and_the_pack_trained_anew(stopped, small_sweep, main, how):
    first, second = stopped / "pack-0000", stopped / "pack-0001"
    if how == "swapped":
        (first / "checkpoint.ckpt").rename(stopped / "kept")
        (second / "checkpoint.ckpt").rename(first / "checkpoint.ckpt")
        (stopped / "kept").rename(second / "checkpoint.ckpt")
    else:
        other_shapes(first)
        other_shapes(second)
    code, out, err = main("train.py", "-m", "experiment=digits", *SMALL)
    assert code == 0, err
    assert "pack-0000.damaged-1" in out and "pack-0001.damaged-1" in out
    assert rows(stopped) == rows(small_sweep)


def test_weights_of_another_shape_are_a_line_in_the_analysis(sweep, main):
    threshold = float(np.median(load_sweep(sweep).final_loss))
    other_shapes(sweep / "pack-0000")
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0, err
    assert "warning: weights: pack-0000: checkpoint.ckpt: network.weight_hh_l0 is of shape" in out


def test_a_misfit_is_refused_by_what_it_is(stopped):
    run = stopped / "pack-0000"
    assert read_checkpoint(run).variants == read_run(run).numbers
    shutil.copy(stopped / "pack-0001" / "checkpoint.ckpt", run)
    with pytest.raises(DamagedRunError, match="changed since it was written"):
        read_checkpoint(run)


def test_a_column_of_another_type_is_named_with_its_run(sweep, aelle, tmp_path):
    run = sweep / "pack-0001"
    table = pq.read_table(run / "variants.parquet")
    seeds = table["init_seed"].cast(pa.duration("ns"))
    changed = table.set_column(table.column_names.index("init_seed"), "init_seed", seeds)
    pq.write_table(changed, run / "variants.parquet")
    endorse(run)
    _, out, err = aelle("collect", sweep, "--to", tmp_path / "all.parquet")
    assert "pack-0001 is left out: variants.parquet: its column init_seed is of type duration[ns]" in err
    assert "rows of 2 runs" in out


def test_a_threshold_unlike_that_of_the_others_is_named_and_does_not_count(sweep):
    file = sweep / "pack-0000" / "config.yaml"
    file.write_text(file.read_text().replace("threshold: 0.5", "threshold: 0.9"))
    assert any("config.yaml: it has changed" in problem for problem in select(sweep).problems)
    endorse(sweep / "pack-0000")
    found = load_sweep(sweep)
    assert found.threshold == 0.5 and len(found.losses) == 12
    assert found.problems == ["pack-0000: its threshold 0.9 does not count, but that of most variants, 0.5"]


def test_the_size_in_the_plan_is_not_believed(sweep):
    plan = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps({**plan, "size": 1200}))
    status = sweep_status(sweep)
    assert status.size == 12 and "sweep.json is damaged" in status.problems[0]


def fitted(seed: int) -> AeLLE:
    rng = np.random.default_rng(seed)
    return AeLLE(0.5, epochs=1, latent_size=2).fit(rng.normal(size=(40, 3)), rng.uniform(0.1, 0.9, 40))


def test_a_model_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    first, second = fitted(0), fitted(1)
    first.save(folder)
    said = first.predict_proba(np.zeros((1, 3)))
    write = Path.write_text

    def killed(path, *args, **options):
        raise KilledError

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KilledError):
        second.save(folder)
    monkeypatch.setattr(Path, "write_text", write)
    assert np.array_equal(AeLLE.load(folder).predict_proba(np.zeros((1, 3))), said)
    assert os.listdir(tmp_path) == ["model"]

    second.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "arrays.npz", folder)
    with pytest.raises(UserError, match="do not belong together"):
        AeLLE.load(folder)
    (folder / "notes.txt").write_text(MINE)
    with pytest.raises(UserError, match=r"contains notes\.txt, which would be lost"):
        first.save(folder)
    assert (folder / "notes.txt").read_text() == MINE


FILES = ["status.json", "config.yaml", "variants.parquet", "epochs.parquet", "examples.parquet", "checkpoint.ckpt"]


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(sweep, main, name):
    complete = load_sweep(sweep).complete()
    (sweep / "pack-0000" / name).unlink()
    os.mkfifo(sweep / "pack-0000" / name)
    problems = [*load_sweep(sweep).problems, *load_weights(sweep, complete)[1]]
    for number in range(12):
        with suppress(DamagedRunError):
            read_example(sweep / "pack-0000", number)
    if name != "examples.parquet":
        assert any(f"{name}: it is not an ordinary file" in problem for problem in problems)
    code, _, err = main("train.py", "experiment=digits", *SMALL, "pack=0", f"outputs={sweep.parent}", "epochs=1")
    assert "Traceback" not in err and code != 1


def test_pipes_in_the_place_of_other_files_are_refused_at_once(sweep, main, tmp_path):
    saved = ("aelle.json", "arrays.npz", "predictor.json", "predictor.npz")
    for file in (sweep / "sweep.json", tmp_path / "mine.npz", *(tmp_path / "model" / name for name in saved)):
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        os.mkfifo(file)
    assert "sweep.json is damaged" in sweep_status(sweep).problems[0]
    with pytest.raises(UserError, match="not an ordinary file"):
        AeLLE.load(tmp_path / "model")
    code, _, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5")
    assert code == 2 and err.count("\n") == 1
    line = ["train.py", "-m", "experiment=digits", *SMALL, "epochs=1"]
    code, _, err = main(*line, "prediction.model=model", "prediction.prune=0.1", "prediction.after=0")
    assert code == 2 and err.count("\n") == 1 and "not an ordinary file" in err
    (tmp_path / "outputs" / "digits").mkdir(parents=True)
    os.mkfifo(tmp_path / "outputs" / "digits" / "multirun.yaml")
    code, _, err = main(*line)
    assert code == 2 and err.count("\n") == 1 and "multirun.yaml is a pipe or device" in err


def test_a_predictor_with_a_pipe_or_a_link_among_its_files_is_refused_at_once(tmp_path):
    rng = np.random.default_rng(0)
    losses, spectra = rng.uniform(0.1, 0.9, (40, 3)), rng.normal(size=(40, 3, 3))
    EarlyPredictor(0.5, aelle={"epochs": 1}).fit(losses, spectra).save(tmp_path / "model")
    for name in ("aelle.json", "arrays.npz", "predictor.npz"):
        for device in (lambda file: os.mkfifo(file), lambda file: file.symlink_to("/dev/zero")):
            shutil.copytree(tmp_path / "model", tmp_path / "other")
            (tmp_path / "other" / name).unlink()
            device(tmp_path / "other" / name)
            with pytest.raises(UserError, match="contains no complete predictor"):
                EarlyPredictor.load(tmp_path / "other")
            shutil.rmtree(tmp_path / "other")


def test_words_that_are_stored_once_and_unpacked_are_many_are_refused(sweep):
    def long_words(table):
        words = pa.array(["a" * 199_999] * len(table))
        return table.set_column(table.column_names.index("error"), "error", words)

    replaced(sweep / "pack-0000", "variants", lambda table: pa.concat_tables([long_words(table)] * 300))
    replaced(sweep / "pack-0001", "epochs", lambda t: t.append_column("c", pa.array([b"a" * 5_000_000] * len(t))))
    for name in ("pack-0000", "pack-0001"):
        endorse(sweep / name)
    long, other = load_sweep(sweep).problems
    assert "variants.parquet: it has" in long and "epochs.parquet: its column c is of type binary" in other


SWELLING = """
import resource, sys, time
from pathlib import Path
from contextlib import suppress
from aelle.analysis.weights import load_weights
from aelle.errors import UserError
from aelle.runs.reader import DamagedRunError, read_example, read_run
from aelle.runs.checkpoint import read_checkpoint
from aelle.sweep.arrays import load_arrays
from aelle.sweep.status import sweep_status
from aelle.sweep.table import load_sweep
import torch

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

folder, before, since = Path(sys.argv[1]), peak(), time.perf_counter()
if folder.suffix == ".npz":
    with suppress(UserError):
        load_arrays(folder)
else:
    example = lambda sweep: read_example(sweep / "pack-0000", 0)
    checkpoint = lambda sweep: read_checkpoint(sweep / "pack-0000", "cpu")
    for read in (load_sweep, sweep_status, checkpoint, example):
        with suppress(UserError, DamagedRunError):
            read(folder)
print(time.perf_counter() - since, (peak() - before) / 1e9)
"""


def long_list(run: Path) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write("numbers:\n" + "- 1\n" * 250_000)


def sexagesimal(run: Path) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write("number: 1" + ":1" * 500_000 + "\n")


def many_epochs(run: Path) -> None:
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("epochs: 3", "epochs: 1000000"))


def replaced(run: Path, name: str, change) -> None:
    table = pq.read_table(run / f"{name}.parquet")
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), run / f"{name}.parquet")


def many_rows(run: Path) -> None:
    def change(table):
        n = 20_000_000
        columns = {"variant": pa.array(np.zeros(n, int)), "epoch": pa.array(np.zeros(n, int))}
        return pa.table(columns | {"val_loss": pa.array(np.ones(n))})

    replaced(run, "epochs", change)


def many_columns(run: Path) -> None:
    extra = {f"c{i}": np.zeros(20) for i in range(20_000)}
    replaced(run, "epochs", lambda table: pa.table(dict(zip(table.column_names, table.columns, strict=True)) | extra))


def long_spectrum(run: Path) -> None:
    def change(table):
        spectra = [[0.0] * 2_000_000, *table["spectrum"].to_pylist()[1:]]
        return table.set_column(table.column_names.index("spectrum"), "spectrum", pa.array(spectra))

    replaced(run, "epochs", change)


def long_word(run: Path) -> None:
    def change(table):
        words = pa.array(["\0" * 300_000_000] * len(table))
        return table.set_column(table.column_names.index("error"), "error", words)

    table = pq.read_table(run / "variants.parquet").slice(0, 5)
    word = pa.DictionaryArray.from_arrays(pa.array([0] * len(table)), pa.array(["\0" * 300_000_000]))
    changed = table.set_column(table.column_names.index("error"), "error", word)
    pq.write_table(changed, run / "variants.parquet", compression="zstd", store_schema=False)


def sparse_status(run: Path) -> None:
    os.truncate(run / "status.json", 6_000_000_000)


def sparse_rows(run: Path) -> None:
    os.truncate(run / "epochs.parquet", 6_000_000_000)


def packed_checkpoint(run: Path) -> None:
    with zipfile.ZipFile(run / "checkpoint.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2_000_000_000))


def binary_column(run: Path) -> None:
    replaced(run, "epochs", lambda t: t.append_column("c", pa.array([b"a" * 5_000_000] * len(t))))


def repeated_words(run: Path) -> None:
    def change(table):
        word = pa.array(["a" * 199_999])
        words = pa.DictionaryArray.from_arrays(pa.array([0] * 9_000), word)
        many = pa.concat_tables([table] * (9_000 // len(table) + 1)).slice(0, 9_000)
        return many.set_column(many.column_names.index("error"), "error", words)

    replaced(run, "variants", change)


def repeated_examples(run: Path) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 5), pa.array(["a" * 80_000_000]))
    lists = pa.ListArray.from_arrays(pa.array(range(6), pa.int32()), words)
    replaced(run, "examples", lambda t: pa.table({"variant": t["variant"], "output": lists}))


def nested_examples(run: Path) -> None:
    flat = pa.array(np.zeros(50_000_000, np.int64))
    lists = pa.ListArray.from_arrays(pa.array([0, *[50_000_000] * 5], pa.int32()), flat)
    replaced(run, "examples", lambda t: pa.table({"variant": t["variant"], "output": lists}))


def many_numbers(run: Path) -> None:
    checkpoint = torch.load(run / "checkpoint.ckpt", weights_only=True)
    torch.save({**checkpoint, "numbers": [0.5 + i for i in range(10_000_000)]}, run / "checkpoint.ckpt")


SWELLS = [long_list, sexagesimal, many_epochs, many_rows, many_columns, long_spectrum, long_word]
SWELLS += [binary_column, repeated_words, repeated_examples, nested_examples, many_numbers]
FORGED = [*SWELLS, packed_checkpoint]


def used(folder: Path) -> tuple[float, float]:
    """Seconds and gigabytes that reading takes, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SWELLING, str(folder)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    seconds, gigabytes = map(float, done.stdout.split())
    return seconds, gigabytes


@pytest.mark.long
@pytest.mark.parametrize("swell", [*SWELLS, sparse_status, sparse_rows, packed_checkpoint])
@pytest.mark.parametrize("forged", [False, True], ids=["as it is", "with a status that knows it"])
def test_a_file_that_swells_is_refused_within_ten_seconds_and_a_gigabyte(sweep, swell, forged):
    swell(sweep / "pack-0000")
    if forged and swell in FORGED:
        endorse(sweep / "pack-0000")
    seconds, gigabytes = used(sweep)
    assert seconds < 10 and gigabytes < 1, (seconds, gigabytes)


@pytest.mark.long
def test_an_array_file_that_unpacks_to_gigabytes_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "mine.npz", val_loss=np.ones((1000, 4)), spectrum=np.zeros((1000, 4, 50_000)))
    assert (tmp_path / "mine.npz").stat().st_size < 6_000_000
    small = np.zeros((1000, 100, 1900), np.uint8)
    np.savez_compressed(tmp_path / "small.npz", val_loss=np.ones((1000, 100)), spectrum=small)
    for name in ("mine.npz", "small.npz"):
        seconds, gigabytes = used(tmp_path / name)
        assert seconds < 10 and gigabytes < 1, (name, seconds, gigabytes)


def test_examples_may_be_longer_than_spectra(sweep):
    run = read_run(sweep / "pack-0000")
    folder = RunFolder(run.path, run.config)
    variants = [Plan(run.config, sweep).variant(number) for number in run.numbers]
    folder.write_examples(variants, {"output": pa.array([np.zeros(20_000)] * len(variants))})
    folder.write_status("complete", epoch=3)
    assert len(read_example(run.path, run.numbers[0])["output"]) == 20_000


def test_where_folders_cannot_be_exchanged_a_stop_between_two_names_loses_nothing(tmp_path, monkeypatch):
    folder, rename, stopped = tmp_path / "model", os.rename, []
    fitted(0).save(folder)
    said = AeLLE.load(folder).predict_proba(np.zeros((1, 3)))

    def stop(source, target):
        if Path(target) == folder and not stopped:
            stopped.append(source)
            raise KilledError
        rename(source, target)

    monkeypatch.setattr("aelle.files._exchanged", lambda one, other: False)
    monkeypatch.setattr(os, "rename", stop)
    with pytest.raises(KilledError):
        fitted(1).save(folder)
    assert stopped and os.listdir(tmp_path) == ["model"]
    assert np.array_equal(AeLLE.load(folder).predict_proba(np.zeros((1, 3))), said)
    fitted(1).save(folder)
    assert os.listdir(tmp_path) == ["model"]
    assert not np.array_equal(AeLLE.load(folder).predict_proba(np.zeros((1, 3))), said)


def test_a_small_swell_is_named(sweep, tmp_path, main):
    long_spectrum(sweep / "pack-0000")
    many_columns(sweep / "pack-0001")
    for name in ("pack-0000", "pack-0001"):
        endorse(sweep / name)
    long, wide = load_sweep(sweep).problems
    assert long == "pack-0000 is left out: epochs.parquet: its lists have more than 16384 entries"
    assert wide.startswith("pack-0001 is left out: epochs.parquet: it has 20 rows and 200")
    write_arrays(tmp_path / "mine.npz")
    with zipfile.ZipFile(tmp_path / "mine.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", bytes(300_000_000))
    code, _, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", *QUICK)
    assert code == 2 and "its arrays take 300 MB, more than the 200 MB that it may hold" in err and err.count("\n") == 1
