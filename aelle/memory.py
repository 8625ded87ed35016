"""The memory budget: how many bytes tensors may take on a device. Spectra, evaluations and packs are cut to fit it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aelle.errors import UserError

if TYPE_CHECKING:
    import torch

Bytes = int | float
"""Infinity, where there is no limit."""

UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(K|M|G|T|Ki|Mi|Gi|Ti)B", re.ASCII)

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux keeps the limits of containers and of Slurm's jobs, and which of them are this process's."""

_cap: ContextVar[Bytes] = ContextVar("cap", default=float("inf"))


class TooLargeError(UserError):
    """Something does not fit into memory, however it is cut."""


def parsed(name: str, value: Any) -> Bytes:
    """Bytes of a size such as 4GB or 512MiB; infinity for None. Raises UserError, by the option's name, for others."""
    if value is None:
        return float("inf")
    found = SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found or not float(found[1]):
        raise UserError(
            f"{name}={value}: give a size above 0 with its unit, e.g. 4GB or 512MiB, or null for what is free"
        )
    return float(found[1]) * UNITS[found[2]]


def shown(size: Bytes) -> str:
    """`4.2 GB`, `310 MB`; two digits."""
    for unit, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if size >= unit:
            return f"{size / unit:.{0 if size >= 10 * unit else 1}f} {letter}B"
    return f"{max(size, 0):.0f} bytes"


@contextmanager
def limited(most: Bytes) -> Iterator[None]:
    """Inside, no more than so many bytes are available, and no more than outside."""
    token = _cap.set(min(most, _cap.get()))
    try:
        yield
    finally:
        _cap.reset(token)


def available(device: "torch.device") -> Bytes:
    """Bytes that new tensors may take on the device: what is free there, or less by `limited`."""
    return min(_cap.get(), _free_on_gpu(device) if device.type == "cuda" else _free_on_host())


def share(device: "torch.device", processes: int) -> Bytes:
    """Bytes for each of so many processes that start at the same time, and see the same memory free; infinity for
    one."""
    if processes == 1:
        return float("inf")
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[1] / processes
    import psutil

    return min([psutil.virtual_memory().total, *(limit for limit, _ in _cgroups())]) / processes


def ran_out(error: BaseException) -> bool:
    """Whether it says that there is no more memory. PyTorch has no class for that on a CPU."""
    import torch

    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error)
    )


def _free_on_gpu(device: "torch.device") -> int:
    """What PyTorch keeps for tensors to come is free as well, and is given back where it is more than the rest."""
    import torch

    free = torch.cuda.mem_get_info(device)[0]
    if torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device) > free:
        torch.cuda.empty_cache()
        free = torch.cuda.mem_get_info(device)[0]
    return free


def _free_on_host() -> int:
    """The least of what the machine, the process's groups (`CGROUPS`) and its address space (RLIMIT_AS) have left."""
    import psutil

    left = [psutil.virtual_memory().available, *(limit - used for limit, used in _cgroups())]
    if psutil.LINUX:
        process = psutil.Process()
        most = process.rlimit(psutil.RLIMIT_AS)[0]
        if most != psutil.RLIM_INFINITY:
            left.append(most - process.memory_info().vms)
    return max(0, min(left))


def _cgroups() -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of every group that this process is in, without the files that Linux would drop."""
    with suppress(OSError):
        for line in OWN_CGROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            root, limit, used, files = (
                (CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                if controllers
                else (CGROUPS, "memory.max", "memory.current", "inactive_file")
            )
            own = root / path.lstrip("/")
            for folder in (own, *(parent for parent in own.parents if parent.is_relative_to(root))):
                # The root has no limit, one without a limit says "max", and others are out of a container's sight.
                with suppress(OSError, ValueError):
                    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                    taken = int((folder / used).read_text()) - int(stat[files])
                    yield int((folder / limit).read_text()), taken
