"""A sweep read as one table: what was written, what is left out by name, and running means."""

import numpy as np
import pyarrow.parquet as pq

from aelle.lyapunov.spectrum import signed_log
from aelle.runs.reader import read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.table import load_sweep
from sweeps import synthetic


def test_a_sweep_is_read_as_it_was_written(small_sweep):
    table = load_sweep(small_sweep)
    assert table.losses.shape == (12, 4) and table.spectra.shape == (12, 4, 8) and table.problems == []
    for path in small_sweep.glob("*/epochs.parquet"):
        for row in pq.ParquetFile(path).read().to_pylist():
            assert table.losses[row["variant"], row["epoch"]] == row["val_loss"]
            np.testing.assert_array_equal(table.spectra[row["variant"], row["epoch"]], row["spectrum"])
    assert table.varied == ["p"] and list(table.variants["variant"]) == list(range(12))


def test_a_foreign_run_is_named_and_left_out(sweep, main):
    run = read_run(sweep / "pack-0002")
    other = {**run.config, "seed": 1}
    foreign = RunFolder(sweep / "a-foreign", other)
    foreign.begin([Plan(other, sweep).variant(0)])
    assert load_sweep(sweep).problems == ["a-foreign is left out: its settings differ from those of pack-0000"]
    assert len(load_sweep(sweep).complete().losses) == 12


def test_running_means_are_running_means_and_stop_where_spectra_do():
    sweep = synthetic()
    sweep.spectra[3, 2:] = np.nan
    sweep.spectra[4, 1] = np.nan
    logs = signed_log(sweep.spectra)
    np.testing.assert_allclose(signed_log(sweep.running_means[0, 2]), logs[0, :3].mean(0))
    np.testing.assert_allclose(sweep.running_means[:, 0], sweep.spectra[:, 0])
    assert np.isnan(sweep.running_means[3, 2:]).all() and np.isnan(sweep.running_means[4, 1]).all()
    np.testing.assert_allclose(signed_log(sweep.running_means[4, 2]), (logs[4, 0] + logs[4, 2]) / 2)
