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
from aelle.commands.status_text import status_text
from aelle.errors import UserError
from aelle.model.estimator import AeLLE
from aelle.runs.reader import DamagedRunError, checksum, read_checkpoint_epoch, read_example, read_run
from aelle.runs.settings import fingerprint
from aelle.runs.writer import RunFolder
from aelle.sweep.arrays import load_arrays
from aelle.sweep.plan import Plan
from aelle.sweep.status import sweep_status
from aelle.sweep.table import load_sweep
from run_files import CONFIG, epoch_rows

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
OURS = (UserError, DamagedRunError)


def read_sweep(sweep: Path) -> None:
    """All that reads a run: alone, and in each command."""
    with suppress(DamagedRunError):
        read_run(sweep / "pack-0000")
    for read in (load_sweep, lambda folder: status_text(sweep_status(folder))):
        with suppress(UserError):
            read(sweep)
    with suppress(UserError):
        collect(sweep, sweep / "collected.parquet")


def read_plan(sweep: Path) -> None:
    with suppress(UserError):
        Plan.started(sweep)
    with suppress(UserError):
        status_text(sweep_status(sweep))


READERS: dict[str, Callable[[Path], object]] = {
    "pack-0000/status.json": read_sweep,
    "pack-0000/config.yaml": read_sweep,
    "pack-0000/variants.parquet": read_sweep,
    "pack-0000/epochs.parquet": read_sweep,
    "pack-0000/examples.parquet": lambda sweep: read_example(sweep / "pack-0000", 1),
    "pack-0000/checkpoint.ckpt": lambda sweep: read_checkpoint_epoch(sweep / "pack-0000" / "checkpoint.ckpt"),
    "sweep.json": read_plan,
    "model/aelle.json": lambda sweep: AeLLE.load(sweep / "model"),
    "model/arrays.npz": lambda sweep: AeLLE.load(sweep / "model"),
    "mine.npz": lambda sweep: load_arrays(sweep / "mine.npz"),
}


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
    torch.save({"epoch": 0, "weights": torch.full((3, 4), 1234.5)}, run.checkpoint)
    run.write_status("running", epoch=1, device="cpu")
    (sweep / "sweep.json").write_text(json.dumps(plan.identity))
    rng = np.random.default_rng(0)
    losses = rng.uniform(0.1, 0.9, 40)
    AeLLE(0.5, epochs=1, latent_size=2).fit(rng.normal(size=(40, 3)), losses).save(sweep / "model")
    np.savez(sweep / "mine.npz", val_loss=rng.uniform(1, 2, (4, 2)), spectrum=rng.normal(size=(4, 2, 3)), p=np.ones(4))
    return sweep


@pytest.fixture
def sweep(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "sweep")
    return tmp_path / "sweep"


@pytest.mark.parametrize("name", READERS)
def test_a_whole_file_is_read(sweep, name):
    READERS[name](sweep)


@pytest.mark.parametrize("name", READERS)
@SETTINGS
@given(data=st.data())
def test_damaged_bytes(whole, sweep, name, data):
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
        READERS[name](sweep)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


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
    del status["checksum"]
    document = data.draw(DOCUMENTS) if data.draw(st.booleans()) else altered(data, status)
    if isinstance(document, dict):
        document["checksum"] = checksum(document)
    (sweep / "pack-0000" / "status.json").write_text(json.dumps(document))
    read_sweep(sweep)


@SETTINGS
@given(data=st.data())
def test_a_configuration_of_any_content(whole, sweep, data):
    """Under the fingerprint that belongs to it, where it has one."""
    document = data.draw(DOCUMENTS) if data.draw(st.booleans()) else altered(data, {**CONFIG, "pack_size": 2})
    run = sweep / "pack-0000"
    (run / "config.yaml").write_text(yaml.safe_dump(document))
    status = json.loads((whole / "pack-0000" / "status.json").read_text())
    del status["checksum"]
    with suppress(Exception):
        status["fingerprint"] = fingerprint(document)
    (run / "status.json").write_text(json.dumps({**status, "checksum": checksum(status)}))
    for name in ("variants", "epochs"):
        table = pq.read_table(whole / "pack-0000" / f"{name}.parquet")
        table = table.replace_schema_metadata({"fingerprint": status["fingerprint"]})
        pq.write_table(table, run / f"{name}.parquet")
    read_sweep(sweep)


@SETTINGS
@given(data=st.data())
def test_a_plan_of_any_content(whole, sweep, data):
    plan = json.loads((whole / "sweep.json").read_text())
    document = data.draw(DOCUMENTS) if data.draw(st.booleans()) else altered(data, plan)
    (sweep / "sweep.json").write_text(json.dumps(document))
    read_plan(sweep)


@SETTINGS
@given(data=st.data())
def test_a_model_of_any_parameters(whole, sweep, data):
    model = json.loads((whole / "model" / "aelle.json").read_text())
    (sweep / "model" / "aelle.json").write_text(json.dumps(altered(data, model)))
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
    with suppress(UserError):
        AeLLE.load(sweep / "model").predict_proba(np.zeros((2, 3)))
