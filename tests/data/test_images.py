import shutil

import numpy as np
import pytest
import torch

from aelle.data.images import digits, fashion, mnist, mnist_pixels
from aelle.errors import UserError
from aelle.sweep.table import load_sweep
from sweeps import command


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


def test_pixel_by_pixel_the_images_are_the_same(data_folder):
    rows, pixels = mnist(str(data_folder / "mnist")), mnist_pixels(str(data_folder / "mnist"))
    assert pixels.inputs == 1 and pixels.probe(3).shape == (3, 784, 1)
    assert torch.equal(pixels.val.x[7, 28 * 5 + 3, 0], rows.val.x[7, 5, 3]) and torch.equal(pixels.val.y, rows.val.y)


def write_idx(raw, seed: int = 0) -> None:
    """The four files of a data set of random images, in the format and of the sizes of MNIST's."""
    rng = np.random.default_rng(seed)
    raw.mkdir(parents=True)
    for prefix, n in (("train", 60000), ("t10k", 10000)):
        images = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", rng.integers(10, size=n, dtype=np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (raw / f"{prefix}-{name}-ubyte").write_bytes(header + array.tobytes())


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A folder of images made up as MNIST and as Fashion-MNIST: nothing is downloaded."""
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(("MNIST", "FashionMNIST")):
        write_idx(folder / name / "raw", seed)
    return folder


def test_fashion_is_read_from_its_own_files_and_split_without_overlap(made_up):
    data, other = fashion(str(made_up)), mnist(str(made_up))
    assert [len(part.x) for part in (data.train, data.val, data.test)] == [60000, 5000, 5000]
    assert data.train.x.shape[1:] == (28, 28) and data.classes == 10 and data.train.x.max() == 1
    rest = np.frombuffer((made_up / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    given = {image.tobytes() for image in rest.reshape(-1, 28, 28)}
    split = [(255 * part.x).round().byte().numpy() for part in (data.val, data.test)]
    assert {image.tobytes() for images in split for image in images} == given
    assert not torch.equal(data.train.x[0], other.train.x[0])


def test_fashion_that_is_missing_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(UserError, match=r"^FashionMNIST in .* cannot be used .* task\.data\.root") as refused:
        fashion(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_permuted_pixels_are_the_same_in_one_other_order(made_up):
    in_order, permuted = mnist_pixels(str(made_up)), mnist_pixels(str(made_up), permuted=True)
    for part, other in ((in_order.val, permuted.val), (in_order.test, permuted.test)):
        assert torch.equal(part.y, other.y) and not torch.equal(part.x, other.x)
    a, b = in_order.val.x[:40, :, 0], permuted.val.x[:40, :, 0]
    # Forty images tell every pixel from all others.
    order = [int((a == column[:, None]).all(0).nonzero()) for column in b.T]
    assert sorted(order) == list(range(784)) and torch.equal(in_order.test.x[:, order], permuted.test.x)


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


@pytest.mark.long
def test_pixel_by_pixel_networks_train_and_are_measured(data_folder, tmp_path):
    done = command(
        *("train.py", "task=pmnist", "hidden_size=4", "batch_size=6000", "epochs=1", "lyapunov.sequences=2"),
        f"task.data.root={data_folder / 'mnist'}",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    table = load_sweep(tmp_path / "outputs" / "pmnist-runs")
    assert np.isfinite(table.spectra).all() and table.losses[0, 1] < table.losses[0, 0]
