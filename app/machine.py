"""What this process may use of the machine, and how much memory it holds."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import joblib
import psutil

GB = 1e9  # bytes
# The functions of one value that torch leaves to MKL, where it has it.
LEFT_TO_MKL = (
    "acos", "asin", "atan", "cos", "erf", "erfc", "erfinv", "exp", "expm1", "log", "log10", "log1p",
    "log2", "sin", "sqrt", "tan", "tanh", "trunc",
)  # fmt: skip


def count_threads() -> int:
    """The cores that this process was given: by Hydra's joblib launcher, SLURM, or the system."""
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        if (value := os.environ.get(name, "")).isdecimal() and int(value):
            return int(value)
    return int(joblib.cpu_count())


def settle_functions() -> None:
    """Call each function that torch leaves to MKL, in one thread, before several do at once.

    Of two threads that make a function's first call together, one may be given a version of 12 bits
    for that call (https://github.com/pytorch/pytorch/issues/188792, in MKL 2024.2).
    """
    import torch  # which takes long, and is not needed by all who ask for the memory

    for name in LEFT_TO_MKL:
        for kind in (torch.float32, torch.float64):
            getattr(torch, name)(torch.tensor([0.5], dtype=kind))


def measure_memory() -> int:
    """Bytes of physical memory that this process holds now, without what it has freed.

    glibc keeps freed arrays of up to 32 MB for later ones (mallopt(3), malloc_trim(3)): after the
    jobs before it, a sweep's job would have gigabytes less.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def measure_peak() -> int:
    """The most bytes that it has held since `forget_peak`; elsewhere than on Linux, ever."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def forget_peak() -> None:
    """Count the peak from now on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
