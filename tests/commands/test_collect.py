"""All rows of a sweep in one file, against what its runs hold."""

import shutil

import pandas as pd
import pyarrow.parquet as pq

from aelle.runs.reader import read_run
from sweeps import unfinish


def test_collected_rows_are_those_of_the_runs(sweep, aelle, tmp_path):
    unfinish(sweep, "pack-0001", "running", 1)
    (sweep / "pack-0002" / "variants.parquet").write_bytes(b"PAR1")
    to = tmp_path / "rows.parquet"
    code, out, err = aelle("collect", sweep, "--to", to)
    assert code == 1 and out == f"{to}: 30 rows of 2 runs; incomplete: 1 warning above\n"
    assert err.startswith("warning: pack-0002 is left out: variants.parquet") and err.count("\n") == 1
    assert pq.ParquetFile(to).num_row_groups == 2
    table = pq.read_table(to)
    assert table.column_names[:3] == ["run", "variant", "epoch"]
    for name in ("pack-0000", "pack-0001"):
        run = read_run(sweep / name)
        mine = table.filter(pq.filters_to_expression([("run", "==", name)]))
        assert mine.select(run.epochs.column_names).to_pylist() == run.epochs.to_pylist()
        of_variant = {row["variant"]: row for row in run.variants.to_pylist()}
        for row in mine.select([*run.variants.column_names, "complete"]).to_pylist():
            assert row == {**of_variant[row["variant"]], "complete": name == "pack-0000"}


def test_a_variant_that_two_runs_hold_is_collected_once(sweep, aelle):
    shutil.copytree(sweep / "pack-0001", sweep / "variants-1-5")
    unfinish(sweep, "variants-1-5", "running", 2)
    assert aelle("collect", sweep)[0] == 0
    rows = pd.read_parquet(sweep / "collected.parquet")
    assert len(rows) == 48 and not rows.duplicated(["variant", "epoch"]).any() and rows["complete"].all()


def test_only_parquet_files_are_written(sweep, aelle, tmp_path):
    code, _, err = aelle("collect", sweep, "--to", tmp_path / "rows.csv")
    assert code == 2 and err.count("\n") == 1 and "give a name that ends with .parquet" in err
    assert not (tmp_path / "rows.csv").exists()


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_the_old_one(sweep, aelle, monkeypatch):
    code, _, err = aelle("collect", sweep, "--to", sweep / "nowhere" / "rows.parquet")
    assert code == 2 and "cannot be written" in err and err.count("\n") == 1
    to = sweep / "collected.parquet"
    assert aelle("collect", sweep)[0] == 0
    before = to.read_bytes()

    def full(self, table, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    code, _, err = aelle("collect", sweep)
    assert code == 2 and "No space left on device" in err and err.count("\n") == 1
    assert to.read_bytes() == before and not list(sweep.glob(".*.tmp"))


def test_a_run_that_changes_while_it_is_collected_is_named(sweep, aelle, monkeypatch):
    seen = []

    def read(path):
        run = read_run(path)
        seen.append(path.name)
        if seen == ["pack-0000", "pack-0001", "pack-0002"]:
            (sweep / "pack-0001" / "status.json").write_text("")
        return run

    monkeypatch.setattr("aelle.sweep.selection.read_run", read)
    code, out, err = aelle("collect", sweep)
    assert code == 1 and "28 rows of 2 runs" in out and "pack-0001 is left out: status.json" in err
