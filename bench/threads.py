"""What two threads of PyTorch cost beside a busy process, by the way in which idle threads wait."""

import os
import subprocess
import sys
import time

SECONDS = 3.0
STEP = f"""
import time, torch
V, B, H = 25, 100, 64
x, w = torch.randn(V, B, H), torch.randn(V, H, 4 * H)

def cell():
    i, f, o, c = torch.bmm(x, w).chunk(4, -1)
    return torch.sigmoid(i) * torch.tanh(c) * torch.sigmoid(o)

cell()
start, steps = time.perf_counter(), 0
while time.perf_counter() - start < {SECONDS}:
    cell()
    steps += 1
print((time.perf_counter() - start) / steps * 1000)
"""
CHOICES = {
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "2 threads, PyTorch's default": {"OMP_NUM_THREADS": "2"},
    "2 threads, OMP_WAIT_POLICY=PASSIVE": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
}


def milliseconds(choice: dict[str, str]) -> float:
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    return float(subprocess.check_output([sys.executable, "-c", STEP], env={**rest, **choice}, text=True))


def table(title: str) -> None:
    print(f"{title} (ms per step of 25 LSTMs, median of three)")
    for name, choice in CHOICES.items():
        times = sorted(milliseconds(choice) for _ in range(3))
        print(f"  {name:<36}{times[1]:7.2f}   ({times[0]:.2f} to {times[2]:.2f})")


if __name__ == "__main__":
    table("alone")
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        table("beside one busy process")
    finally:
        busy.kill()
