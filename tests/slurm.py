"""A SLURM of one node, this machine, for as long as a test needs it.

All its files lie in one folder, its ports are free ones, and nothing of the system's own SLURM is
read or written. `python -m tests.slurm <command>` runs a command on one.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo")
START_SECONDS = 30

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,batch_sched_delay=1
ReturnToService=2
JobRequeue=1
MinJobAge=300
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={megabytes} State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why no SLURM can be started here, in one line; None where it can."""
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=search) is None]
    if missing:
        return f"SLURM is not installed (apt-get install slurm-wlm munge): no {', '.join(missing)}"
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    return None


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """A running SLURM; yields the environment in which its commands reach it."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    host = socket.gethostname().partition(".")[0]
    with ExitStack() as stack:
        # Munge wants a folder that nobody else can write to, under a short path.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        config = folder / "slurm.conf"
        with socket.socket() as one, socket.socket() as two:
            for each in (one, two):
                each.bind(("127.0.0.1", 0))
            controller, daemon = (each.getsockname()[1] for each in (one, two))
        config.write_text(  # fmt: skip
            CONFIG.format(
                folder=folder,
                host=host,
                controller=controller,
                daemon=daemon,
                megabytes=psutil.virtual_memory().total // 2**20,
            )
        )
        environment = {**os.environ, "PATH": path, "SLURM_CONF": str(config)}

        def start(name: str, *arguments: str) -> None:
            log = stack.enter_context(open(folder / f"{name}.out", "wb"))
            daemon = subprocess.Popen(
                [name, *arguments], env=environment, stdout=log, stderr=log, cwd=folder
            )
            stack.callback(_stop, daemon)

        key = folder / "munge.key"
        subprocess.run(["mungekey", f"--keyfile={key}"], env=environment, check=True)
        start(
            "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
        )  # fmt: skip
        _wait(lambda: (folder / "munge.socket").exists(), "munged", folder)
        start("slurmctld", "-D", "-i")
        start("slurmd", "-D", "-N", host)
        _wait(lambda: "idle" in _sinfo(environment), "slurmctld and slurmd", folder)
        stack.callback(_cancel_all, environment)
        yield environment


def _sinfo(environment: dict[str, str]) -> str:
    command = ["sinfo", "--noheader", "--format=%t"]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def _cancel_all(environment: dict[str, str]) -> None:
    subprocess.run(["scancel", "--partition=test"], env=environment, capture_output=True)
    _wait(lambda: "idle" in _sinfo(environment), "the last jobs", None)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _wait(ready, what: str, folder: Path | None) -> None:
    until = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > until:
            logs = sorted(folder.glob("*.out")) if folder else []
            said = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)
            raise RuntimeError(f"{what}: not ready after {START_SECONDS} s\n{said}")
        time.sleep(0.2)


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(reason)
    with cluster() as reached:
        code = subprocess.run(sys.argv[1:], env=reached).returncode
    sys.exit(code)
