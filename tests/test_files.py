"""Files are replaced whole or not at all."""

import os

import pytest

from aelle.files import replace_atomically


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half(file):
        file.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_atomically(path, half)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]
