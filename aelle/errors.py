"""What a user can mend."""

import os


class UserError(ValueError):
    """Its message is one line: what was wrong, what is allowed, how to mend it. The command line prints only that."""


class UnwritableError(UserError):
    """A full disk, or a place that must not be written to."""


class TooFewError(UserError):
    """The variants do not suffice for a classification: one class only, or too few to split."""


def reason(error: OSError) -> str:
    """What the operating system says, in its words."""
    return os.strerror(error.errno) if error.errno else in_one_line(error)


def in_one_line(error: BaseException) -> str:
    """The first line of what an error says, or its name; what could steer a terminal is spelt out."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return printable(line)


def printable(text: str) -> str:
    """Text from a file, whose control characters, but for newlines, are spelt out."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
