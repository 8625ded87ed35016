"""How much memory is available: the least of what the machine, its limits and a cap leave."""

import subprocess
import sys

import psutil
import pytest
import torch

from aelle import memory
from aelle.errors import UserError
from aelle.memory import available, limited, parsed, ran_out, share, shown
from sweeps import ROOT

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_sizes_are_read_and_written():
    assert parsed("m", "4GB") == 4e9 and parsed("m", "1.5 GiB") == 1.5 * 2**30 and parsed("m", "512MiB") == 2**29
    assert parsed("m", None) == float("inf")
    assert [shown(size) for size in (4.2e9, 31e9, 3.1e8, 2e12, 22_000, 950)] == [
        "4.2 GB",
        "31 GB",
        "310 MB",
        "2.0 TB",
        "22 kB",
        "950 bytes",
    ]


@pytest.mark.parametrize("size", ["4", 4, 4.5, True, "0GB", "-1GB", "GB", "4 gb", "1e3GB", ["4GB"], ""])
def test_another_form_is_refused_by_the_option_s_name(size):
    with pytest.raises(UserError, match=r"trainer.memory=.*give a size above 0 with its unit, e.g. 4GB"):
        parsed("trainer.memory", size)


def test_a_cap_holds_inside_and_is_never_more_than_the_one_around_it():
    free = available(CPU)
    with limited(10**6):
        assert available(CPU) == 10**6
        with limited(10**9):
            assert available(CPU) == 10**6
        with limited(1000):
            assert available(CPU) == 1000
        assert available(CPU) == 10**6
    assert free / 2 < available(CPU) <= psutil.virtual_memory().total


@pytest.mark.parametrize("version", [1, 2])
def test_a_job_s_own_limit_counts(monkeypatch, tmp_path, version):
    """As a container or Slurm sets it for a group above that of the process."""
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/slurm/job_7/step_0\n1:cpu:/\n" if version == 1 else "0::/slurm/job_7/step_0\n")
    root = tmp_path / "fs" / "memory" if version == 1 else tmp_path / "fs"
    limit, used, files = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if version == 1
        else ("memory.max", "memory.current", "inactive_file")
    )
    for folder, most in (("slurm/job_7/step_0", "max"), ("slurm/job_7", str(10**9)), ("slurm", str(4 * 10**9))):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / limit).write_text(f"{most}\n")
        (root / folder / used).write_text(f"{3 * 10**8}\n")
        (root / folder / "memory.stat").write_text(f"cache 5\n{files} {10**8}\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(memory, "OWN_CGROUPS", own)
    assert available(CPU) == 8 * 10**8
    assert share(CPU, 4) == 10**9 / 4 and share(CPU, 1) == float("inf")


def test_without_groups_the_machine_decides(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "none")
    assert 0 < available(CPU) <= psutil.virtual_memory().total


@pytest.mark.skipif(not psutil.LINUX, reason="only Linux limits the address space")
def test_a_limited_address_space_counts():
    code = """
import resource, psutil, torch
from aelle.memory import available
taken = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (taken + 5 * 10**8, resource.RLIM_INFINITY))
print(available(torch.device("cpu")))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert 3 * 10**8 < int(done.stdout) <= 5 * 10**8, done.stderr


def test_what_pytorch_keeps_on_a_gpu_is_given_back_if_it_is_more_than_the_rest(monkeypatch):
    free, emptied = [10], []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free[0], 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 80)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 75)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: (emptied.append(1), free.append(free.pop() + 40)))
    assert available(GPU) == 10 and not emptied
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 40)
    assert available(GPU) == 50 and emptied
    assert share(GPU, 4) == 25


def test_every_way_in_which_memory_runs_out_is_known():
    with pytest.raises(RuntimeError) as cpu:
        torch.empty(2**60)
    assert ran_out(cpu.value) and ran_out(MemoryError()) and ran_out(torch.cuda.OutOfMemoryError())
    assert not ran_out(RuntimeError("shapes")) and not ran_out(ValueError())
