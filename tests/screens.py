"""What a person sees of a command: it runs on a pseudo-terminal, whose screen an emulator makes of the output."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte

LINES = 800
"""Of the screen, so that nothing scrolls away."""


def _as_in_a_terminal() -> None:
    """Ctrl-C reaches the program, also where the tests run in the background, whose children would ignore it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Watched:
    """Python, started with these words, on a terminal of its own. `seen`: every screen that differed from the one
    before, as lines; `written`: all bytes."""

    def __init__(self, *words: str, cwd: Path, columns: int = 80, **environment: str):
        self.screen = pyte.Screen(columns, LINES)
        self.stream = pyte.ByteStream(self.screen)
        self.seen: list[list[str]] = [[]]
        self.written = b""
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", **environment}
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=cwd,
            env={name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_as_in_a_terminal,
        )
        os.close(theirs)

    def until(self, condition: Callable[["Watched"], bool], seconds: float = 240) -> None:
        """Read until what is shown is as asked for."""
        end = time.monotonic() + seconds
        while not condition(self):
            assert self._read() and time.monotonic() < end, self.lines

    def to_the_end(self, seconds: float = 240) -> int:
        """The exit code of the command; what it leaves on the screen is there."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, self.lines
        os.close(self.ours)
        return self.process.wait(timeout=60)

    def ungarbled(self, live: Callable[[str], bool]) -> list[str]:
        """The live lines that were seen. Each was the last line of its screen, within its width, and what stood above
        was what stands there at the end."""
        shown = []
        for seen in self.seen:
            above, last = seen[:-1], "".join(seen[-1:])
            if live(last):
                shown.append(last)
            elif last:
                # What is read may end in the middle of a line.
                assert self.lines[len(above)].startswith(last), last
            assert above == self.lines[: len(above)], above[-3:]
        assert not any(map(live, self.lines)) and not self.screen.cursor.hidden
        assert (self.screen.cursor.x, self.screen.cursor.y) == (0, len(self.lines))
        return list(dict.fromkeys(shown))

    def press(self, key: bytes) -> None:
        os.write(self.ours, key)

    def _read(self) -> bool:
        if not select.select([self.ours], [], [], 1.0)[0]:
            return self.process.poll() is None
        try:
            read = os.read(self.ours, 65536)
        except OSError:
            # Linux says so when the last process of the terminal has closed it.
            return False
        self.written += read
        self.stream.feed(read)
        if self.lines != self.seen[-1]:
            self.seen.append(self.lines)
        return bool(read)

    @property
    def lines(self) -> list[str]:
        shown = [line.rstrip() for line in self.screen.display]
        last = max((number for number, line in enumerate(shown, 1) if line), default=0)
        return shown[:last]
