"""Two array files of one name."""

import shutil
from pathlib import Path

from sweeps import QUICK, synthetic, write_arrays


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_array_files_of_one_name_do_not_replace_each_others_reports(tmp_path, main):
    for name in "xy":
        (tmp_path / name).mkdir()
    write_arrays(tmp_path / "x" / "same.npz")
    write_arrays(tmp_path / "y" / "same.npz", val_loss=synthetic(seed=1).losses)
    line = ("analyze.py", "threshold=0.5", "pictures=[]", *QUICK)
    code, _, err = main(*line, "sweep=x/same.npz")
    assert code == 0, err
    before = files_of(tmp_path / "outputs")
    for options in ((), ("threshold=0.4",), (f"model={tmp_path / 'outputs/same/analysis-threshold-0.5/model'}",)):
        code, _, err = main(*line[:1], *line[2:], "sweep=y/same.npz", *(options or line[1:2]))
        assert code == 2 and err.count("\n") == 1, err
        first = (tmp_path / "x" / "same.npz").resolve()
        assert f"its report would replace that of another file of this name, {first}, in outputs/same; rename" in err
        assert files_of(tmp_path / "outputs") == before
    # The same file, changed, or moved.
    write_arrays(tmp_path / "x" / "same.npz", val_loss=synthetic(seed=2).losses)
    assert main(*line, "sweep=x/same.npz")[0] == 0
    (tmp_path / "x" / "same.npz").replace(tmp_path / "y" / "same.npz")
    assert main(*line, f"sweep={tmp_path / 'y' / 'same.npz'}")[0] == 0
    shutil.rmtree(tmp_path / "outputs")
    write_arrays(tmp_path / "x" / "same.npz")
    assert main(*line, "sweep=x/same.npz")[0] == 0
