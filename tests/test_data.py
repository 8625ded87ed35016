import shutil

import pytest
import torch

from aelle.data import digits, mnist
from aelle.errors import UserError


def test_digits_are_split_without_overlap():
    data = digits()
    parts = (data.train, data.val, data.test)
    assert [len(part.x) for part in parts] == [1077, 360, 360]
    # scikit-learn's 1797 images are all different.
    images = {image.numpy().tobytes() for part in parts for image in part.x}
    assert len(images) == 1797
    assert data.train.x.shape[1:] == (8, 8) and data.train.x.min() == 0 and data.train.x.max() == 1


def test_the_probe_is_fixed_and_from_the_part_it_is_named_for():
    data = digits()
    assert torch.equal(data.probe(32), data.val.x[:32]) and torch.equal(data.probe(5, "test"), data.test.x[:5])
    for n in (0, 361):
        with pytest.raises(UserError, match="1 to 360"):
            data.probe(n)


def test_mnist_is_split_without_overlap(data_folder):
    data = mnist(str(data_folder / "mnist"))
    assert [len(part.x) for part in (data.train, data.val, data.test)] == [60000, 5000, 5000]
    assert data.train.x.shape[1:] == (28, 28) and data.train.x.max() == 1
    rest = {image.numpy().tobytes() for image in data.val.x} & {image.numpy().tobytes() for image in data.test.x}
    assert not rest


@pytest.mark.parametrize("damage", ["truncated", "missing", "not idx"])
def test_damaged_mnist_is_one_clear_error(data_folder, tmp_path, damage, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])
    shutil.copytree(data_folder / "mnist" / "MNIST", tmp_path / "MNIST", copy_function=shutil.copyfile)
    file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    whole = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(whole[:-1000])
    elif damage == "not idx":
        file.write_bytes(b"<html>")
    with pytest.raises(UserError, match="cannot be used") as refused:
        mnist(str(tmp_path))
    assert "\n" not in str(refused.value) and "task.data.root" in str(refused.value)
