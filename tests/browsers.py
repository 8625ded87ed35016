"""Opens a page in a real browser, where there is one."""

import re
import shutil
import subprocess
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

SLOW_DRIVER = "GL Driver Message (OpenGL, Performance"
"""Without a graphics card WebGL is drawn by the processor, which the browser remarks upon."""


def opened(page: Path, width: int, profile: Path) -> tuple[str, list[str]]:
    """The document once its scripts have run, and what they complained of."""
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    line = [str(BROWSER), "--headless", "--no-sandbox", *quiet, "--disable-sync", f"--user-data-dir={profile}"]
    line += [
        "--enable-unsafe-swiftshader",
        f"--window-size={width},2000",
        "--virtual-time-budget=30000",
        "--enable-logging=stderr",
        "--dump-dom",
    ]
    done = subprocess.run([*line, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    said = re.findall(r"CONSOLE[^\n]*", done.stderr)
    return done.stdout, [line for line in said if SLOW_DRIVER not in line]
