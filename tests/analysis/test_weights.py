"""Weights of trained networks, read back, and the embeddings that the report compares."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import aelle.analysis.weights
from aelle.analysis.embeddings import compare
from aelle.analysis.plane import trained_plane
from aelle.analysis.weights import load_weights
from aelle.model.estimator import AeLLE
from aelle.runs.checkpoint import IDENTITY, identity
from aelle.runs.reader import read_run
from aelle.runs.settings import fingerprint
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.table import SweepTable, load_sweep
from aelle.tasks.classification import SequenceClassification
from aelle.tasks.force_network import RankOne
from aelle.training.parts import load_data
from run_files import CONFIG, endorse
from sweeps import QUICK, report_of, synthetic


def by_variant(sweep: SweepTable, weights: aelle.analysis.weights.TrainedWeights) -> dict[int, np.ndarray]:
    return dict(zip(sweep.variants["variant"].iloc[weights.rows], np.concatenate([*weights.blocks()], 1), strict=True))


def test_the_weights_are_those_that_give_the_recorded_losses(small_sweep, monkeypatch):
    """A variant with another's weights, or with those of another epoch, would have another loss."""
    monkeypatch.setattr(aelle.analysis.weights, "BLOCK", 100)
    sweep = load_sweep(small_sweep)
    weights, problems = load_weights(small_sweep, sweep)
    assert problems == [] and weights is not None and weights.shape == (32, 8) and weights.alike == 12
    read = by_variant(sweep, weights)
    for path in sorted(small_sweep.glob("pack-*")):
        run = read_run(path)
        plan = Plan(run.config, small_sweep)
        module = SequenceClassification(load_data(run.config), [plan.variant(n) for n in run.numbers])
        state = torch.load(path / "checkpoint.ckpt", weights_only=True)["state_dict"]
        state["network.weight_hh_l0"] = torch.stack([torch.tensor(read[n]).view(32, 8).float() for n in run.numbers])
        module.load_state_dict(state)
        x, y = module.val_x, module.val_y
        with torch.no_grad():
            logits = module(x.expand(len(run.numbers), *x.shape))
        losses = [float(torch.nn.functional.cross_entropy(of_one, y)) for of_one in logits]
        np.testing.assert_allclose(losses, sweep.final_loss[run.numbers], rtol=1e-4)


def checkpoint(parameters: dict[str, torch.Tensor], first: int = 0, epoch: int = 3) -> dict:
    """Of the variants from number `first` on."""
    V = len(next(iter(parameters.values()), []))
    mine = identity(fingerprint(CONFIG), list(range(first, first + V)))
    return {"epoch": epoch - 1, "state_dict": parameters, IDENTITY: mine}


def saved(folder, packs: list[dict[str, torch.Tensor]]) -> SweepTable:
    """A sweep of packs of these parameters, low- and high-error in turn, after the last of three epochs."""
    sizes = [len(next(iter(pack.values()))) for pack in packs]
    for i, pack in enumerate(packs):
        (folder / f"pack-{i}").mkdir(parents=True)
        run, contents = RunFolder(folder / f"pack-{i}", CONFIG), checkpoint(pack, sum(sizes[:i]))
        run.write_checkpoint(lambda file, contents=contents: torch.save(contents, file))
        run.write_status("complete", epoch=3)
    sweep = synthetic(sum(sizes), seed=1)
    places = {
        "number": np.arange(sum(sizes)),
        "run": np.repeat([f"pack-{i}" for i in range(len(packs))], sizes),
        "row": np.concatenate([np.arange(V) for V in sizes]),
    }
    losses = np.full(sweep.losses.shape, 0.1)
    losses[1::2] = 0.9
    return replace(sweep, variants=sweep.variants.assign(**places), losses=losses)


def recurrent(*shape: int, seed: int = 0) -> dict[str, torch.Tensor]:
    return {"network.weight_hh_l0": torch.randn(*shape, generator=torch.Generator().manual_seed(seed))}


def test_of_mixed_shapes_the_one_with_most_of_both_classes_is_read(tmp_path):
    packs = [recurrent(5, 8, 2), recurrent(4, 16, 4), recurrent(3, 16, 4, seed=1)]
    sweep = saved(tmp_path, packs)
    weights, problems = load_weights(tmp_path, sweep)
    assert weights is not None and problems == []
    assert (weights.what, weights.shape, weights.alike) == ("recurrent weights", (16, 4), 7)
    assert sorted(weights.rows) == list(range(5, 12))
    expected = torch.cat([pack["network.weight_hh_l0"].flatten(1) for pack in packs[1:]])
    np.testing.assert_array_equal(np.concatenate([*weights.blocks()], 1), expected.numpy())
    sweep.losses[5:] = 0.9
    weights, _ = load_weights(tmp_path, sweep)
    assert weights is not None and weights.shape == (
        8,
        2,
    )  # Larger ones are all high-error: no picture of both classes.


def test_only_so_many_are_read_evenly_over_the_sweep(tmp_path, monkeypatch):
    sweep = saved(tmp_path, [recurrent(3, 8, 2), recurrent(1, 8, 2, seed=1), recurrent(5, 8, 2, seed=2)])
    every, _ = load_weights(tmp_path, sweep)
    monkeypatch.setattr(aelle.analysis.weights, "MAX_NETWORKS", 3)
    some, _ = load_weights(tmp_path, sweep)
    assert every is not None and some is not None and some.alike == 9 and list(some.rows) == [0, 4, 8]
    for number, weights in by_variant(sweep, some).items():
        np.testing.assert_array_equal(weights, by_variant(sweep, every)[number])


def test_of_force_the_trained_readout_is_read(tmp_path):
    network = RankOne(20, [1.2, 1.5, 1.7], [1, 2, 3])
    network.w.normal_()
    sweep = saved(tmp_path, [{f"network.{name}": tensor for name, tensor in network.state_dict().items()}])
    weights, _ = load_weights(tmp_path, sweep)
    assert weights is not None and weights.shape == (20,) and "FORCE" in weights.what
    np.testing.assert_array_equal(np.concatenate([*weights.blocks()], 1), network.w.numpy())


def test_a_flipped_bit_anywhere_is_noticed(tmp_path):
    sweep = saved(tmp_path, [recurrent(4, 8, 2)])
    path = tmp_path / "pack-0" / "checkpoint.ckpt"
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        weights, problems = load_weights(tmp_path, sweep)
        refused += weights is None
        assert (weights is None) == bool(problems)
    assert refused == len(range(0, len(whole), 7))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "checkpoint.ckpt: it is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "not a zip file"),
        (lambda path: torch.save(checkpoint(recurrent(5, 8, 2), epoch=2), path), "it is of epoch 2, not 3"),
        (
            lambda path: torch.save(checkpoint(recurrent(2, 8, 2)), path),
            "it is of other variants than variants.parquet",
        ),
        (lambda path: torch.save(checkpoint(recurrent(5, 8, 2), first=1), path), "it is of other variants"),
        (lambda path: torch.save(checkpoint({"other": torch.zeros(5)}), path), "it contains neither"),
        (lambda path: torch.save(checkpoint({"network.weight_hh_l0": torch.zeros(5)}), path), "is of shape [5]"),
        (lambda path: torch.save([1], path), "checkpoint.ckpt"),
    ],
)
def test_a_checkpoint_that_cannot_serve_is_named_and_the_others_are_read(tmp_path, spoil, says):
    sweep = saved(tmp_path, [recurrent(5, 8, 2), recurrent(4, 8, 2, seed=1)])
    spoil(tmp_path / "pack-0" / "checkpoint.ckpt")
    endorse(tmp_path / "pack-0")
    weights, problems = load_weights(tmp_path, sweep)
    assert weights is not None and list(weights.rows) == [5, 6, 7, 8]
    assert len(problems) == 1 and problems[0].startswith("pack-0: ") and says in problems[0] and "\n" not in problems[0]
    weights, problems = load_weights(tmp_path, sweep.take(np.array([5])))
    assert weights is None and problems[-1] == "no two networks of the same shape could be read"


def test_the_comparison_is_made_on_the_test_variants_and_on_those_with_weights(tmp_path):
    sweep = saved(tmp_path, [recurrent(40, 8, 2), recurrent(20, 12, 3, seed=1)])
    plane = trained_plane(sweep, AeLLE(0.5, epochs=5, n_components=3, classifier="ellipse"))
    weights, _ = load_weights(tmp_path, plane.sweep)
    assert weights is not None
    found = compare(plane, weights, "", ["tsne"], 0)
    assert [e.title for e in found.embeddings] == ["weights, PCA", "spectra, PCA", "AeLLE, PCA", "AeLLE, t-SNE"]
    assert [len(e.rows) for e in found.embeddings] == [40, 60, 60, 60]
    assert {both[1].n for both in found.agreements} == {int(plane.test[:40].sum())}
    assert {both[0].n for both in found.agreements[1:]} == {int(plane.test.sum())}
    few = compare(plane, None, "none are there", [], 0)
    assert [e.title for e in few.embeddings] == ["spectra, PCA", "AeLLE, PCA"] and few.reason == "none are there"
    assert few.agreements[1][0] == few.agreements[1][1] == found.agreements[2][0]


def test_the_report_compares_embeddings_and_says_what_it_could_not_read(sweep, main):
    threshold = float(np.median(load_sweep(sweep).final_loss))
    (sweep / "pack-0001" / "checkpoint.ckpt").write_bytes(b"PK")
    code, out, err = main(
        "analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK, "splits=1", "aelle.n_components=3"
    )
    assert code == 0 and out.count("warning: weights: pack-0001: checkpoint.ckpt") == 1, err
    html = " ".join(report_of(out).read_text().split("</script>", 1)[1].split())
    assert "Weights: recurrent weights of shape 32 × 8, of 7 of the 12 networks; weights of different shapes" in html
    assert (
        "Not read: pack-0001: checkpoint.ckpt" in html and "<th>weights, PCA</th>" in html and "drag to rotate" in html
    )
    for path in sweep.glob("*/checkpoint.ckpt"):
        path.unlink()
    line = [f"sweep={sweep}", f"threshold={threshold}", *QUICK, "splits=1", "pictures=[]"]
    code, out, _ = main("analyze.py", *line)
    html = " ".join(report_of(out).read_text().split("</script>", 1)[1].split())
    assert code == 0 and "Weights are not shown: pack-0000: checkpoint.ckpt: it is missing" in html
    assert "<th>weights, PCA</th>" not in html and "t-SNE" not in html
