"""How many threads a job may use."""

from __future__ import annotations

import os


def available() -> int:
    """The share of the machine's cores that this process was given.

    `OMP_NUM_THREADS`, which Hydra's joblib launcher sets to the cores of one of its workers; else
    the CPUs of a SLURM task; else the cores that the system lets this process use.
    """
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        if (value := os.environ.get(name, "")).isdecimal() and int(value):
            return int(value)
    import joblib

    return int(joblib.cpu_count())
