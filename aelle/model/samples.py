"""What an AeLLE is fitted to, checked, and split into rows that train it and rows that set its classifier.

Axes: n row, M point of the common-length spectrum, c covariate.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn.utils.validation import check_X_y, column_or_1d

from aelle.errors import TooFewError, UserError
from aelle.lyapunov.arrays import as_array, as_numbers
from aelle.lyapunov.spectra_so_far import SpectraSoFar
from aelle.lyapunov.spectrum import common_length
from aelle.seeds import generator, sample
from aelle.sweep.table import SweepTable

NAN_ALLOWED: Any = "allow-nan"
"""scikit-learn's checks let NaN pass: only here it is known whether it fills the row of a smaller network."""

MIN_ROWS = 2
"""Spectra that a model can be fitted to, at least."""

LEAST_OF_A_CLASS = 10
"""Members of a class that a sample to fit to keeps, if there are as many."""


Names = Shaped[np.ndarray, "_"]
"""Of the columns of a frame: texts, whole numbers, or, after `NO_TEXT`, what others are as text."""

NO_TEXT = "\x1f"
"""Before the name of a column that is neither a text nor a whole number, e.g. a float or the tuple of a MultiIndex."""


class Sample(NamedTuple):
    """What one AeLLE is fitted to; see `AeLLE.fit`."""

    spectra: Any
    losses: Any
    groups: Any = None
    validation: tuple[Any, ...] | None = None
    covariates: Any = None


class Rows(NamedTuple):
    """`groups`: which variant a row belongs to. `history`: whether more is known than a spectrum."""

    seen: SpectraSoFar
    losses: Float[np.ndarray, "n"]
    groups: Shaped[np.ndarray, "n"]
    history: bool
    covariates: Float[np.ndarray, "n c"] | None

    def take(self, which: Bool[np.ndarray, "n"]) -> "Rows":
        covariates = None if self.covariates is None else self.covariates[which]
        return Rows(self.seen.take(which), self.losses[which], self.groups[which], self.history, covariates)


def checked(sample: Sample) -> Rows:
    """Raises ValueError for spectra that are not finite, and for arrays of different lengths."""
    losses = np.asarray(column_or_1d(as_numbers("losses", sample.losses), warn=True), dtype=np.float64)
    history = isinstance(sample.spectra, SpectraSoFar)
    options = {"dtype": "float64", "order": "C", "ensure_min_samples": MIN_ROWS, "ensure_all_finite": NAN_ALLOWED}
    last, _ = check_X_y(last_spectra(sample.spectra), np.nan_to_num(losses), **options)
    seen = checked_history(sample.spectra, last) if history else spectra_alone(last)
    covariates = None if sample.covariates is None else checked_covariates(sample.covariates, len(last))
    groups = np.arange(len(losses)) if sample.groups is None else np.asarray(as_array(sample.groups, "groups"))
    if groups.shape != losses.shape:
        raise UserError(f"groups of shape {list(groups.shape)}: give one group for each of the {len(losses)} rows")
    try:
        np.unique(groups)
    except TypeError as error:
        raise UserError("groups contains values of different types: give numbers, or words") from error
    return Rows(seen, losses, groups, history, covariates)


def checked_validation(sample: Sample, rows: Rows) -> Rows:
    """The rows that set the classifier. Raises UserError if they lack what the model is fitted to, or have more."""
    given = sample.validation
    assert given is not None
    names = ["spectra", "losses"] + ["covariates"] * (rows.covariates is not None)
    if len(given) != len(names):
        raise UserError(f"validation of {len(given)} parts: give ({', '.join(names)}), as in fit")
    found = checked(Sample(*given[:2], covariates=None if rows.covariates is None else given[2]))
    if found.history != rows.history:
        raise UserError("validation: give aelle.SpectraSoFar in both or in none, as in spectra")
    for what, values in zip(("spectra", "covariates"), given[::2], strict=False):
        check_names(what, values, names_of(sample).get(what))
    return found


def names_of(sample: Sample) -> dict[str, Names]:
    """The names of the columns of spectra and covariates, where they are frames."""
    given = {"spectra": sample.spectra, "covariates": sample.covariates}
    return {what: names for what, values in given.items() if (names := column_names(values)) is not None}


def column_names(values: Any) -> Names | None:
    """Of a frame."""
    if (columns := getattr(values, "columns", None)) is None:
        return None
    given = list(columns)
    if all(isinstance(name, str) for name in given) or all(isinstance(name, (int, np.integer)) for name in given):
        return np.array(given)
    return np.array([f"{NO_TEXT}{name}" for name in given])


def are_texts(names: Names) -> bool:
    """Whether scikit-learn knows columns by such names, too."""
    return names.dtype.kind == "U" and not any(name.startswith(NO_TEXT) for name in names.tolist())


def check_names(what: str, given: Any, known: Names | None) -> None:
    """Raises UserError for a frame whose columns are not named as the `known` ones, as far as there are both. Numbers
    from 0 on may be those of a frame without names."""
    names = column_names(given)
    if names is None or known is None or names.dtype.kind != known.dtype.kind:
        return
    for column, (name, expected) in enumerate(zip(names.tolist(), known.tolist(), strict=False)):
        if name != expected:
            found, wanted = (str(one).removeprefix(NO_TEXT) for one in (name, expected))
            raise UserError(
                f"column {column} of {what} is {found}, and was {wanted} in the fit: give the columns of the fit, in "
                "their order"
            )


def last_spectra(spectra: Any) -> Any:
    """Numbers, or a frame of them. Raises UserError for what scikit-learn would answer with a TypeError."""
    last = as_numbers("spectra", spectra.last if isinstance(spectra, SpectraSoFar) else spectra)
    kinds = {isinstance(name, str) for name in getattr(last, "columns", ())}
    if len(kinds) > 1:
        raise UserError(
            "spectra have columns named by texts and by others: give names of one type, e.g. "
            "spectra.set_axis(spectra.columns.astype(str), axis=1)"
        )
    return last


def checked_covariates(
    given: Any, n: int, expected: int | None = None, known: Names | None = None
) -> Float[np.ndarray, "n c"]:
    """Raises UserError if they are not `n` rows of finite numbers, or do not have the `expected` number of columns with
    the `known` names."""
    try:
        values = np.asarray(as_array(given, "covariates"), dtype=np.float64)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"covariates must be numbers ({error}): give categories as columns of 0 and 1") from error
    columns = "c" if expected is None else expected
    if values.ndim != 2 or len(values) != n or (values.shape[1] != expected if expected else not values.size):
        raise UserError(
            f"covariates of shape {list(values.shape)}: give [{n}, {columns}], a row for each of the {n} spectra and "
            "a column for each covariate" + (" that the model was fitted with" if expected else "")
        )
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values).all(0))[0])
        raise UserError(f"covariates contain NaN or infinity in column {column}: give finite numbers")
    check_names("covariates", given, known)
    return values


def checked_history(given: SpectraSoFar, last: Float[np.ndarray, "n M"]) -> SpectraSoFar:
    """Around the checked last spectra. Raises UserError if the other parts do not fit them."""
    mean, share = np.asarray(given.mean, dtype=np.float64), np.asarray(given.share, dtype=np.float64)
    exponents = np.asarray(given.exponents)
    if mean.shape != last.shape:
        raise UserError(f"mean of shape {list(mean.shape)}: give spectra of shape {list(last.shape)}, as in last")
    for name, spectra in (("last", last), ("mean", mean)):
        if not np.isfinite(spectra).all():
            raise UserError(f"{name} contains NaN or infinity: leave out rows that are not known (SpectraSoFar.known)")
    if share.shape != (len(last),):
        raise UserError(f"share of shape {list(share.shape)}: give {len(last)} numbers, one for each row")
    if not ((share >= 0) & (share <= 1)).all():
        raise UserError(f"share from {share.min():g} to {share.max():g}: give numbers from 0 to 1")
    if exponents.shape != (len(last),) or exponents.dtype.kind not in "iu" or (exponents < 1).any():
        raise UserError(
            f"exponents of shape {list(exponents.shape)}: give {len(last)} whole numbers above 0, one for each row"
        )
    return SpectraSoFar(last, mean, share, exponents)


def spectra_alone(last: Float[np.ndarray, "n M"]) -> SpectraSoFar:
    """Spectra of which neither history nor stage is known: as if of trained networks. Those of smaller networks end in
    NaN. Raises UserError for NaN elsewhere."""
    curves, exponents = common_length(last)
    if not exponents.all():
        row = int(np.flatnonzero(exponents == 0)[0])
        raise UserError(
            f"spectra contain NaN in row {row}: leave out networks without a spectrum; only after the last exponent of "
            "a smaller network, NaN fills its row"
        )
    return SpectraSoFar(curves, curves, np.ones(len(last)), exponents)


def last_single(seen: SpectraSoFar) -> float:
    """The latest share of a training at which the mean so far is of one spectrum; −1 if there is none."""
    return float(seen.share[_single(seen)].max(initial=-1))


def warn_of_single(seen: SpectraSoFar, until: float) -> None:
    """Warns if every mean is of one spectrum alone, at stages where no mean was that the model was fitted to."""
    late = seen.share > until + 1e-9
    if late.any() and _single(seen)[late].all():
        share = 100 * float(seen.share[late].min())
        warnings.warn(
            f"after {share:.3g} % of the training, the mean so far is the last spectrum in every row ({late.sum()}), "
            "but the model was fitted to means of all epochs: give the spectra of earlier epochs, too "
            "(aelle.spectra_so_far)",
            stacklevel=2,
        )


def _single(seen: SpectraSoFar) -> Bool[np.ndarray, "n"]:
    """Where the mean so far is the last spectrum, but for rounding."""
    return np.logical_and.reduce(np.isclose(seen.mean, seen.last, rtol=1e-9, atol=1e-12), axis=1)


def without_history(seen: SpectraSoFar) -> SpectraSoFar:
    """What a model of spectra alone sees of them."""
    return replace(seen, mean=seen.last, share=np.ones(len(seen)))


def held_back(rows: Rows, threshold: float, seed: int) -> Bool[np.ndarray, "n"]:
    """The rows of a fifth of the groups, which set the classifier of a single autoencoder."""
    low, held = rows.losses < threshold, np.zeros(len(rows.losses), bool)
    check_classes(low, 2, rows.groups)
    held[stratified_parts(low, (0.8, 0.2), seed, rows.groups)[1]] = True
    return held


def sweep_sample(
    sweep: SweepTable, train: Int[np.ndarray, "n"], validation: Int[np.ndarray, "m"] | None = None
) -> Sample:
    """A row per variant and measured epoch with a finite spectrum, each with the final loss; the groups are the
    variants, or the draws that they share. Raises TooFewError where fewer than two rows are left."""
    names = np.arange(len(sweep.losses)) if sweep.draws is None else sweep.draws

    def rows(variants: np.ndarray) -> tuple[SpectraSoFar, np.ndarray, np.ndarray]:
        taken, epochs = sweep.take(variants), sweep.measured_epochs
        finite = int(np.isfinite(taken.spectra[:, epochs]).all(2).sum())
        if finite < MIN_ROWS:
            raise TooFewError(
                f"{len(variants)} variants have {finite} finite spectra, too few to fit a model to; spectra are "
                "measured in training (see its options lyapunov.…)"
            )
        seen = SpectraSoFar.joined([taken.seen(k) for k in epochs])
        losses = np.tile(np.nan_to_num(taken.final_loss, nan=np.inf), len(epochs))
        known = seen.known
        return seen.take(known), losses[known], np.tile(names[variants], len(epochs))[known]

    return Sample(*rows(train), validation=None if validation is None else rows(validation)[:2])


class Blocks(NamedTuple):
    """Rows that are not to be separated. `of_row` [n]: which block a row is in; `rich` [blocks]: whether it has a
    larger share of low error than all rows together, and so at least one such row. The others have at least one of high
    error. A block of one class is rich if that is low."""

    of_row: Int[np.ndarray, "n"]
    rich: Bool[np.ndarray, "_"]

    @property
    def kinds(self) -> list[tuple[str, Int[np.ndarray, "_"]]]:
        """The blocks that are rich and those that are not, by the class that they have for sure."""
        return [("low", np.flatnonzero(self.rich)), ("high", np.flatnonzero(~self.rich))]


def blocks(low: Bool[np.ndarray, "n"], groups: Shaped[np.ndarray, "n"] | None) -> Blocks:
    """One for each of the groups; None: for each row."""
    if groups is None:
        return Blocks(np.arange(len(low)), low)
    of_row = np.unique(groups, return_inverse=True)[1]
    return Blocks(of_row, np.bincount(of_row, low) / np.bincount(of_row) > low.mean())


def stratified_parts(
    low: Bool[np.ndarray, "n"], shares: Sequence[float], seed: int, groups: Shaped[np.ndarray, "n"] | None = None
) -> list[Int[np.ndarray, "_"]]:
    """Indices of disjoint random parts of these shares, which sum to 1, each with both classes in their proportions.
    Rows of one of the `groups` are in one part; then shares and proportions are met as far as groups are alike.

    Raises TooFewError if a class has fewer members than there are parts, or too few groups to go into all of them.
    """
    parts: list[list[int]] = [[] for _ in shares]
    check_classes(low, len(shares))
    found = blocks(low, groups)
    for name, members in found.kinds:
        if groups is not None and 0 < len(members) < len(shares):
            raise TooFewError(
                f"{len(members)} of {len(found.rich)} draws of hyperparameters end {name}-error more often than the "
                f"others, too few for {len(shares)} parts that each need some and keep the variants of a draw "
                "together; train more draws"
            )
        shuffled = generator(seed, "split", name).permutation(members)
        cuts = np.round(np.cumsum(shares) * len(members)).astype(int)
        # Each part gets at least one, taken from the largest.
        sizes = np.diff(cuts, prepend=0)
        while len(members) and (sizes == 0).any():
            sizes[sizes.argmin()] += 1
            sizes[sizes.argmax()] -= 1
        for part, chunk in zip(parts, np.split(shuffled, np.cumsum(sizes)[:-1]), strict=True):
            part.extend(chunk)
    return [np.flatnonzero(np.isin(found.of_row, part)) for part in parts]


def class_sample(
    classes: Shaped[np.ndarray, "n"], most: int, *key: int | str, least: int = LEAST_OF_A_CLASS
) -> Int[np.ndarray, "_"]:
    """All of n indices, or about `most` of them drawn at random, ascending: of each class its share, but at least
    `least`, or all. With more than one, a rare class is not lost to a fit, but has more than its share."""
    if len(classes) <= most:
        return np.arange(len(classes))
    found = []
    for kind in np.unique(classes):
        members = np.flatnonzero(classes == kind)
        share = round(most * len(members) / len(classes))
        found.append(members[sample(len(members), max(share, least), *key, str(kind))])
    return np.sort(np.concatenate(found))


def check_classes(low: Bool[np.ndarray, "n"], parts: int, groups: Shaped[np.ndarray, "n"] | None = None) -> None:
    """Raises TooFewError if a class has fewer members than there are parts; the rows of a group count once."""
    names = np.arange(len(low)) if groups is None else groups
    for kind, name in ((True, "low"), (False, "high")):
        count = len(np.unique(names[low == kind]))
        if count < parts:
            raise TooFewError(
                f"{count} of {len(np.unique(names))} variants are {name}-error, too few for {parts} parts that each "
                "need both classes; train more variants, or choose another threshold=…"
            )
