"""Texts cut into disjoint sequences of characters: *War and Peace*, and one that comes with every Python."""

import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float
from torch import Tensor

from aelle.data.images import SPLIT_SEED, Part, first_sequences
from aelle.errors import UserError
from aelle.files import replace_atomically
from aelle.seeds import generator
from aelle.terminal import say

SEQUENCE_LENGTH = 101
"""Characters of a sequence, of which all but the last are input."""

TRAINING_SHARE = 0.8
"""Share of the sequences; half of the rest is for validation, half for testing."""

UNKNOWN = "\ufffd"
"""Stands for every character that does not occur in the training text."""

BOOK = "https://www.gutenberg.org/cache/epub/2600/pg2600.txt"
MIN_BOOK_LENGTH = 3_000_000
"""Minimum number of characters of *War and Peace*."""


@dataclass(frozen=True)
class Characters:
    """Sequences of a text as indices into `alphabet`, the training text's characters in order and then UNKNOWN.

    The parts `train`, `val` and `test` have x [n, 100]. The next character is to be predicted after `every` step, or
    only after the last.
    """

    train: Part
    val: Part
    test: Part
    alphabet: str
    every: bool

    @property
    def classes(self) -> int:
        """Characters of the alphabet."""
        return len(self.alphabet)

    @property
    def inputs(self) -> int:
        """Of a step: characters of the alphabet, one-hot."""
        return len(self.alphabet)

    def probe(self, sequences: int, part: str = "val") -> Float[Tensor, "B T I"]:
        """The first `sequences` of the validation (or test) part, whose order is random and fixed, one-hot."""
        indices = first_sequences(getattr(self, part), sequences, part)
        return torch.nn.functional.one_hot(indices, self.inputs).float()

    def decode(self, indices: Tensor) -> str:
        """The text of these indices [T]."""
        return "".join(self.alphabet[i] for i in indices.tolist())


@lru_cache
def book(root: str, path: str | None = None, predict: str = "every") -> Characters:
    """*War and Peace* from `root`, downloaded from Project Gutenberg if it is not there; or the text at `path`.

    `predict`: "every" or "last", after which steps the next character is asked for. Raises ValueError for a text that
    cannot be read or is too short.
    """
    return characters(read(Path(path)) if path else _cached(Path(root) / "war_and_peace.txt"), predict)


@lru_cache
def topics(predict: str = "every") -> Characters:
    """The documentation topics of Python's `help`: half a million characters, slightly different in every version.
    `predict` as in `book`."""
    from pydoc_data.topics import topics as texts

    return characters("\n".join(texts[name] for name in sorted(texts)), predict)


def characters(text: str, predict: str) -> Characters:
    """Cut the text, split the sequences with a fixed seed, and print how many characters do not occur in training."""
    if predict not in ("every", "last"):
        raise UserError(
            f"task.data.predict={predict}: choose every (predict after each character) or last (only after the last)"
        )
    n = len(text) // SEQUENCE_LENGTH
    train, rest = round(TRAINING_SHARE * n), n - round(TRAINING_SHARE * n)
    if rest < 2:
        raise UserError(
            f"a text of {len(text)} characters is too short to split into training, validation and test sequences of "
            f"{SEQUENCE_LENGTH}: give at least {10 * SEQUENCE_LENGTH} characters"
        )
    codes = np.frombuffer(text[: n * SEQUENCE_LENGTH].encode("utf-32-le"), np.uint32).reshape(n, SEQUENCE_LENGTH)
    codes = codes[generator(SPLIT_SEED, "text split").permutation(n)]
    known = np.unique(codes[:train])
    known = known[known != ord(UNKNOWN)]
    places = np.searchsorted(known, codes).clip(max=len(known) - 1)
    indices = torch.as_tensor(np.where(known[places] == codes, places, len(known)))
    unknown = int((indices[train:] == len(known)).sum())
    if unknown:
        say(
            f"{unknown} of {rest * SEQUENCE_LENGTH} validation and test characters do not occur in the training part; "
            "they share one symbol"
        )
    every = predict == "every"
    parts = (_part(sequences, every) for sequences in indices.split([train, rest // 2, rest - rest // 2]))
    return Characters(*parts, alphabet="".join(map(chr, known)) + UNKNOWN, every=every)


def _part(sequences: Tensor, every: bool) -> Part:
    return Part(sequences[:, :-1], sequences[:, 1:] if every else sequences[:, -1])


def read(path: Path) -> str:
    """A UTF-8 text file, without Project Gutenberg's header and licence where it has them."""
    try:
        return stripped(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UserError(f"the text {path} cannot be read ({why}): give a UTF-8 file with task.data.path=…") from error


def stripped(text: str) -> str:
    """The text between the lines `*** START OF …` and `*** END OF …`; all of it if there are none."""
    lines = text.split("\n")
    marks = {
        mark: [i for i, line in enumerate(lines) if line.startswith(f"*** {mark} OF ")] for mark in ("START", "END")
    }
    first = marks["START"][0] + 1 if marks["START"] else 0
    last = marks["END"][0] if marks["END"] else len(lines)
    return "\n".join(lines[first:last]).strip("\n")


def _cached(path: Path) -> str:
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(".download.lock")):
                if not path.exists():
                    with urllib.request.urlopen(BOOK, timeout=60) as response:
                        text = response.read().decode("utf-8-sig").replace("\r\n", "\n")
                    if "\n*** END OF " not in text:
                        raise ValueError("the download is incomplete")
                    replace_atomically(path, lambda file: file.write_text(stripped(text), encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"War and Peace is not at {path} and cannot be downloaded from {BOOK} ({error}): put the text there, "
                "give another one with task.data.path=…, or try experiment=charrnn_small, which needs no network"
            ) from error
    text = read(path)
    if len(text) < MIN_BOOK_LENGTH:
        raise UserError(
            f"{path} contains {len(text)} characters, but War and Peace has over {MIN_BOOK_LENGTH}: delete the file to "
            "download it again, or try experiment=charrnn_small, which needs no network"
        )
    return text
