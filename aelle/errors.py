"""Errors that a user can fix, and messages that are safe to print."""

import os


class UserError(ValueError):
    """Its message is one line: what was wrong, what is allowed, how to fix it. The command line prints only that."""


class UnwritableError(UserError):
    """The disk is full, or the location cannot be written to."""


class TooFewError(UserError):
    """There are too few variants to classify: only one class, or too few of a class to split."""


class NothingVariesError(TooFewError):
    """The spectra to learn from are all equal."""


def reason(error: OSError) -> str:
    """The operating system's description of the error."""
    return os.strerror(error.errno) if error.errno else in_one_line(error)


def in_one_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class; control characters are escaped."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return printable(line)


def printable(text: str) -> str:
    """The text as one line that controls no terminal: newlines, escape sequences, marks that turn the direction of
    text, characters without a width and broken ones are escaped; letters, symbols and emoji are not."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
