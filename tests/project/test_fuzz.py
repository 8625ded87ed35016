"""Every reader of a file of the project returns, or raises the project's own error, whatever the file holds."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aelle.commands.collect import collect
from aelle.commands.status_text import status_lines
from aelle.errors import UserError
from aelle.files import checksum, digest
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.runs.checkpoint import read_checkpoint
from aelle.runs.reader import DamagedRunError, read_example, read_run
from aelle.runs.settings import fingerprint
from aelle.runs.writer import RunFolder
from aelle.sweep.arrays import load_arrays
from aelle.sweep.plan import Plan
from aelle.sweep.status import sweep_status
from aelle.sweep.table import load_sweep
from run_files import CONFIG, checkpoint_of, endorse, epoch_rows, write_status

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
OURS = (UserError, DamagedRunError)


def read_sweep(sweep: Path) -> list[object]:
    """All that reads a run: alone, and in each command; what of it is accepted."""
    accepted: list[object] = []
    with suppress(DamagedRunError):
        run = read_run(sweep / "pack-0000")
        accepted += [run.status, run.config, run.variants.to_pylist(), run.epochs.to_pylist()]
    for read in (load_sweep, lambda folder: list(status_lines(sweep_status(folder)))):
        with suppress(UserError):
            read(sweep)
    with suppress(UserError):
        collect(sweep, sweep / "collected.parquet")
    return accepted


def read_plan(sweep: Path) -> list[object]:
    accepted: list[object] = []
    with suppress(UserError):
        accepted += [Plan.started(sweep).config]
    with suppress(UserError):
        list(status_lines(sweep_status(sweep)))
    return accepted


def read_model(sweep: Path) -> list[object]:
    model = AeLLE.load(sweep / "model")
    return [model.get_params(), model.learned_from_, arrays_as_lists(model.arrays())]


def read_predictor(sweep: Path) -> list[object]:
    predictor = EarlyPredictor.load(sweep / "predictor")
    said = predictor.predict_proba(LOSSES[:, :2], SPECTRA[:, :2], {"p": LOSSES[:, 0]}, epoch=1)
    return [predictor.learned_from_, predictor.threshold, arrays_as_lists(predictor.arrays()), said.tolist()]


def arrays_as_lists(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Comparable, NaN included."""
    return {name: repr(array.tolist()) for name, array in arrays.items()}


def read_stored_checkpoint(sweep: Path) -> list[object]:
    checkpoint = read_checkpoint(sweep / "pack-0000", "cpu")
    weights = {name: tensor.tolist() for name, tensor in checkpoint.contents["state_dict"].items()}
    return [checkpoint.epoch, checkpoint.variants, weights]


READERS: dict[str, Callable[[Path], object]] = {
    "pack-0000/status.json": read_sweep,
    "pack-0000/config.yaml": read_sweep,
    "pack-0000/variants.parquet": read_sweep,
    "pack-0000/epochs.parquet": read_sweep,
    "pack-0000/examples.parquet": lambda sweep: [read_example(sweep / "pack-0000", 1)],
    "pack-0000/checkpoint.ckpt": read_stored_checkpoint,
    "sweep.json": read_plan,
    "model/aelle.json": read_model,
    "model/arrays.npz": read_model,
    "predictor/predictor.json": read_predictor,
    "predictor/predictor.npz": read_predictor,
    "predictor/aelle.json": read_predictor,
    "predictor/arrays.npz": read_predictor,
    "mine.npz": lambda sweep: load_arrays(sweep / "mine.npz") and [],
}
"""What each reads, as far as it is accepted. An array file is the user's own, and has no checksum but its archive's."""

RNG = np.random.default_rng(0)
LOSSES, SPECTRA = RNG.uniform(0.1, 0.9, (40, 3)), RNG.normal(size=(40, 3, 3))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """One file of every format, as it was written."""
    sweep = tmp_path_factory.mktemp("whole") / "sweep"
    config = {**CONFIG, "pack_size": 2}
    plan = Plan(config, sweep)
    run = RunFolder(sweep / "pack-0000", config)
    variants = [plan.variant(n) for n in range(2)]
    run.begin(variants)
    table = epoch_rows(epochs=1).append_column("seconds", pa.array([0.1] * 4))
    run.write_epochs(table.append_column("spectrum", pa.array([[0.5, -1.0]] * 4)))
    run.write_examples(variants, {"output": pa.array([[0.1, 0.2]] * 2)})
    run.write_checkpoint(lambda file: torch.save(checkpoint_of(config, [0, 1]), file))
    run.write_status("running", epoch=1, device="cpu")
    plan.start()
    small = {"epochs": 1, "latent_size": 2}
    AeLLE(0.5, **small).fit(SPECTRA[:, -1], LOSSES[:, -1]).save(sweep / "model")
    EarlyPredictor(0.5, aelle=small).fit(LOSSES, SPECTRA, {"p": LOSSES[:, 0]}).save(sweep / "predictor")
    np.savez(sweep / "mine.npz", val_loss=1 + LOSSES[:4, :2], spectrum=SPECTRA[:4, :2], p=np.ones(4))
    return sweep


@pytest.fixture(scope="module")
def written(whole) -> dict[str, object]:
    """What is read of the whole files."""
    return {name: READERS[name](whole) for name in READERS}


@pytest.fixture
def sweep(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "sweep")
    return tmp_path / "sweep"


@pytest.mark.parametrize("name", READERS)
def test_a_whole_file_is_read(sweep, name, written):
    assert READERS[name](sweep) == written[name] and (written[name] or name == "mine.npz")


def mutate(whole: Path, written: dict[str, object], sweep: Path, name: str, data) -> None:
    """Damage the bytes of a file, and read it: what is accepted is what was written."""
    content = bytearray((whole / name).read_bytes())
    place = st.integers(0, len(content) - 1)
    how = data.draw(st.sampled_from(["flip", "flip at the end", "cut", "insert", "random"]))
    if how.startswith("flip"):
        start = max(len(content) - 300, 0) if how == "flip at the end" else 0
        for at, bit in data.draw(st.lists(st.tuples(place, st.integers(0, 7)), min_size=1, max_size=8)):
            content[start + at % (len(content) - start)] ^= 1 << bit
    elif how == "cut":
        del content[data.draw(place) :]
    elif how == "insert":
        at = data.draw(place)
        content[at:at] = data.draw(st.binary(min_size=1, max_size=40))
    else:
        content = data.draw(st.binary(max_size=200))
    (sweep / name).write_bytes(content)
    with suppress(*OURS):
        assert READERS[name](sweep) in ([], written[name])


@pytest.mark.parametrize("name", READERS)
@SETTINGS
@given(data=st.data())
def test_what_is_accepted_of_damaged_bytes_is_what_was_written(whole, written, sweep, name, data):
    mutate(whole, written, sweep, name, data)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
@settings(SETTINGS, max_examples=10_000 // len(READERS) + 1)
@given(data=st.data())
def test_ten_thousand_damaged_files(whole, written, sweep, name, data):
    mutate(whole, written, sweep, name, data)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def with_checksum(document: object) -> object:
    """As another program could write it that knows how it is made."""
    if not isinstance(document, dict):
        return document
    document = {name: value for name, value in document.items() if name != "checksum"}
    return {**document, "checksum": checksum(document)}


def altered(data, document: dict) -> dict:
    """One of its values, at whatever depth, is another, gone, or beside one that does not belong."""
    document = json.loads(json.dumps(document))
    inner = document
    while True:
        name = data.draw(st.sampled_from(sorted(inner)))
        if not (isinstance(inner[name], dict) and inner[name] and data.draw(st.booleans())):
            break
        inner = inner[name]
    if data.draw(st.booleans()):
        inner[name] = data.draw(DOCUMENTS)
    elif data.draw(st.booleans()):
        del inner[name]
    else:
        inner[data.draw(st.text(max_size=8))] = data.draw(DOCUMENTS)
    return document


@SETTINGS
@given(data=st.data())
def test_a_status_of_any_content(whole, sweep, data):
    status = json.loads((whole / "pack-0000" / "status.json").read_text())
    write_status(sweep / "pack-0000", data.draw(DOCUMENTS) if data.draw(st.booleans()) else altered(data, status))
    read_sweep(sweep)


@SETTINGS
@given(data=st.data())
def test_a_configuration_of_any_content(whole, sweep, data):
    """Under the fingerprint that belongs to it, where it has one."""
    document = data.draw(DOCUMENTS) if data.draw(st.booleans()) else altered(data, {**CONFIG, "pack_size": 2})
    run = sweep / "pack-0000"
    (run / "config.yaml").write_text(yaml.safe_dump(document))
    known = json.loads((whole / "pack-0000" / "status.json").read_text())["fingerprint"]
    with suppress(Exception):
        known = fingerprint(document)
    for name in ("variants", "epochs"):
        table = pq.read_table(whole / "pack-0000" / f"{name}.parquet")
        pq.write_table(table.replace_schema_metadata({"fingerprint": known}), run / f"{name}.parquet")
    shutil.copy(whole / "pack-0000" / "status.json", run)
    endorse(run, fingerprint=known)
    read_sweep(sweep)


@SETTINGS
@given(data=st.data())
def test_a_plan_of_any_content(whole, sweep, data):
    plan = json.loads((whole / "sweep.json").read_text())
    document = data.draw(DOCUMENTS) if data.draw(st.booleans()) else altered(data, plan)
    (sweep / "sweep.json").write_text(json.dumps(with_checksum(document)))
    read_plan(sweep)


@SETTINGS
@given(data=st.data())
def test_a_model_of_any_parameters(whole, sweep, data):
    model = json.loads((whole / "model" / "aelle.json").read_text())
    (sweep / "model" / "aelle.json").write_text(json.dumps(with_checksum(altered(data, model))))
    with suppress(UserError):
        AeLLE.load(sweep / "model").predict_proba(np.zeros((2, 3)))


COLUMNS = st.sampled_from(
    [
        lambda n: pa.array([None] * n),
        lambda n: pa.array(["word"] * n),
        lambda n: pa.array([True] * n),
        lambda n: pa.array([-1] * n),
        lambda n: pa.array([2**62] * n, pa.int64()),
        lambda n: pa.array([float("nan"), float("inf"), -1.0, 0.0][:n] * (-(-n // 4))).slice(0, n),
        lambda n: pa.array([b"bytes"] * n),
        lambda n: pa.array([[]] * n, pa.list_(pa.float64())),
        lambda n: pa.array([None, [1.0, None], [float("nan")], [2.0] * 5][:n]),
        lambda n: pa.array([["word"]] * n),
        lambda n: pa.array([{"a": 1}] * n),
    ]
)


@pytest.mark.parametrize("name", ["variants", "epochs"])
@SETTINGS
@given(data=st.data())
def test_a_table_of_any_columns(whole, sweep, name, data):
    table = pq.read_table(whole / "pack-0000" / f"{name}.parquet")
    for column in data.draw(st.lists(st.sampled_from(table.column_names), min_size=1, max_size=2)):
        table = table.set_column(table.column_names.index(column), column, data.draw(COLUMNS)(table.num_rows))
    if data.draw(st.booleans()):
        table = table.append_column(data.draw(st.sampled_from(["run", "complete", "p", "spectrum"])), table.column(0))
    pq.write_table(table.slice(0, data.draw(st.integers(0, 4))), sweep / "pack-0000" / f"{name}.parquet")
    shutil.copy(whole / "pack-0000" / "status.json", sweep / "pack-0000")
    endorse(sweep / "pack-0000")
    read_sweep(sweep)


ARRAYS = st.sampled_from(
    [
        np.array(0.0), np.zeros(4), np.ones((4, 2)), np.ones((4, 2, 3)), np.zeros((0, 2)), np.array(["a"] * 4),
        np.array([object()] * 4), np.full((4, 2), np.nan), np.ones((4, 2), complex), np.array([b"a"] * 4),
        np.full((4, 2, 3), np.inf), np.array([1, 2, 3, 2**62]), np.zeros(4, "datetime64[s]"),
    ]
)  # fmt: skip


@SETTINGS
@given(st.dictionaries(st.sampled_from(["val_loss", "spectrum", "p", "variant", "run", "error", "complete"]), ARRAYS))
def test_an_array_file_of_any_arrays(sweep, arrays):
    with np.load(sweep / "mine.npz") as file:
        whole = dict(file)
    np.savez(sweep / "other.npz", **{**whole, **arrays})
    with suppress(UserError):
        load_arrays(sweep / "other.npz")


@SETTINGS
@given(st.data())
def test_a_model_of_any_arrays(whole, sweep, data):
    with np.load(whole / "model" / "arrays.npz") as file:
        arrays = dict(file)
    arrays[data.draw(st.sampled_from(sorted(arrays)))] = data.draw(ARRAYS)
    np.savez(sweep / "model" / "arrays.npz", **arrays)
    description = json.loads((whole / "model" / "aelle.json").read_text())
    description["arrays"] = digest(sweep / "model" / "arrays.npz")
    (sweep / "model" / "aelle.json").write_text(json.dumps(with_checksum(description)))
    with suppress(UserError):
        AeLLE.load(sweep / "model").predict_proba(np.zeros((2, 3)))
