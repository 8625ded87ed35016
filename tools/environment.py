"""Create or update `.venv` and show what is installed: `make demo`, `make test` and `make docs` start with this.

    python3 tools/environment.py [--extras test|docs] [--python-chosen]

Uses the standard library only, and no syntax newer than Python 3.7, so that an old Python gets a clear message.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
OLDEST = (3, 10)
GIGABYTES = 11
GIGABYTES_BESIDE_TORCH = 2
"""Disk space that an installation needs, pip's cache included: with PyTorch's CUDA build, and without PyTorch."""

NOTHING_LOST = "downloads are kept; run the same command again to continue"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extras", default="", help="optional dependencies, as named in pyproject.toml")
    parser.add_argument("--python-chosen", action="store_true", help="replace a .venv of another Python version")
    options = parser.parse_args()
    try:
        complete(options.extras, options.python_chosen)
    except KeyboardInterrupt:
        stop("interrupted: " + NOTHING_LOST, 130)


def complete(extras, python_chosen):
    """Install this folder with these extras into .venv; do nothing if that is done already for this pyproject.toml."""
    if sys.version_info < OLDEST:
        stop(
            "{} is Python {}, and aelle needs {}.{} or newer: choose one, e.g. PYTHON=python3.12 make demo".format(
                sys.executable, version(sys.version_info), *OLDEST
            )
        )
    found = made_by()
    if found is not None and (found < OLDEST or (python_chosen and found != sys.version_info[:2])):
        print(f"Replacing .venv, which was created by Python {version(found)}.", flush=True)
        shutil.rmtree(str(VENV))
        found = None
    wanted = "{}\n{}\n".format(ROOT, hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest())
    plain = VENV / "installed"
    stamp = VENV / ("installed-" + extras) if extras else plain
    if found is not None and stamp.exists() and stamp.read_text() == wanted:
        return
    if found is None or not plain.exists():
        check_space()
    create(found)
    print("Installing aelle{} into .venv:".format(f" and its {extras} tools" if extras else ""), flush=True)
    install(f".[{extras}]" if extras else ".")
    repair_scripts()
    stamp.write_text(wanted)
    # Whoever has the extras has the rest.
    plain.write_text(wanted)


def made_by():
    """The version of .venv's Python as (3, 12), or None if it has no working Python."""
    line = [str(VENV / "bin" / "python"), "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        printed = subprocess.check_output(line, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(map(int, printed.split()))


def check_space():
    """Stop if there is not enough disk space for what is not installed yet."""
    needed = GIGABYTES_BESIDE_TORCH if list(VENV.glob("lib/python3*/site-packages/torch")) else GIGABYTES
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < needed:
        cpu = "; PyTorch's CPU build needs less, see docs/install.md" if needed == GIGABYTES else ""
        stop(f"the installation needs {needed} GB, and {free:.1f} are free in {ROOT}: free some disk space{cpu}")


def create(found):
    """Create .venv with pip; an existing one keeps its packages and gets activate scripts for the current folder."""
    python = sys.executable
    if found is None:
        shutil.rmtree(str(VENV), ignore_errors=True)
    else:
        base = "import sys; print(getattr(sys, '_base_executable', sys.executable))"
        python = subprocess.check_output([str(VENV / "bin" / "python"), "-c", base], text=True).strip()
    if subprocess.call([python, "-c", "import venv, ensurepip"], stderr=subprocess.DEVNULL):
        package = "python{}.{}-venv".format(*(found or sys.version_info[:2]))
        stop(f"Python's venv module is missing: on Debian and Ubuntu, apt-get install {package}")
    if subprocess.call([python, "-m", "venv", str(VENV)]):
        stop(f"{python} -m venv .venv failed: see its output above")


def install(what):
    """Install this folder and its dependencies with pip, showing what takes long; pip's full output goes to LOG."""
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off"]
    began = time.time()
    packages = 0
    command = [*pip, "--editable", what]
    with open(str(LOG), "w") as log:
        running = subprocess.Popen(command, cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in running.stdout:
            log.write(line)
            packages = line.count(",") + 1 if line.startswith("Installing collected packages") else packages
            tell(line.strip())
        running.wait()
    if running.returncode:
        errors = re.findall("ERROR: (.*)", LOG.read_text())
        cause = ": " + errors[-1] if errors else ""
        stop(f"pip failed{cause}; its output is in .venv/install.log; {NOTHING_LOST}")
    clear_line()
    print(f"  {packages_in_words(packages)} in {time.time() - began:.0f} s", flush=True)


def tell(line):
    """Show what pip is doing: on a terminal, in a line that the next one replaces; in a file, only large downloads."""
    download = re.match(r"Downloading ([\w.]+)-([^-]+)-\S+ \(([\d.]+ [kMG]B)\)", line)
    collecting = re.match(r"Collecting ([\w.-]+)", line)
    if download:
        shown = "downloading {} {} ({})".format(*download.groups())
    elif collecting:
        shown = f"looking up {collecting.group(1)}"
    elif line.startswith("Installing collected packages"):
        shown = "installing " + packages_in_words(line.count(",") + 1)
    else:
        return
    if sys.stdout.isatty():
        clear_line()
        print("  " + shown, end="", flush=True)
    elif shown.startswith("installing") or re.search(r"(\d{3}\.\d MB|GB)\)$", shown):
        print("  " + shown, flush=True)


def packages_in_words(n):
    return f"{n} package" if n == 1 else f"{n} packages"


def clear_line():
    if sys.stdout.isatty():
        print("\r\x1b[K", end="", flush=True)


def repair_scripts():
    """Correct the Python path at the start of the commands in .venv/bin: in a moved or copied clone it is outdated."""
    for script in (VENV / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        first, newline, rest = script.read_bytes().partition(b"\n")
        here = re.sub(rb"^#!/.*/\.venv/bin/", b"#!" + str(VENV / "bin").encode() + b"/", first)
        if here != first:
            script.write_bytes(here + newline + rest)


def version(numbers):
    return ".".join(map(str, numbers[:3]))


def stop(reason, code=2):
    clear_line()
    print("error: " + reason, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
