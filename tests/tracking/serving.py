"""A tracking server of the tests' own, to be killed and started again."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """MLflow on a database, which keeps the artifacts itself; in a folder."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._database = database
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Let it begin to start; it answers seconds later."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self._database]
        command += ["--serve-artifacts", "--artifacts-destination", str(self.folder / "kept")]
        with open(self.folder / "server.log", "ab") as said:
            self._process = subprocess.Popen(
                command,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                start_new_session=True,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )

    def wait(self, seconds: float = 120) -> None:
        """Until it answers. Asked as it is, whatever proxies the environment has."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + seconds
        while True:
            assert self._process is not None
            try:
                opener.open(f"{self.uri}/health", timeout=30).close()
                return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = (self.folder / "server.log").read_text()
                    raise TimeoutError(f"{error}: {said}") from None
                time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut would end it, its workers with it."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()


def why_no_postgresql() -> str | None:
    """What is missing for a database of PostgreSQL."""
    if importlib.util.find_spec("psycopg2") is None:
        return "psycopg2 is not installed (pip install psycopg2-binary)"
    if not _programs():
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and _other_user() is None:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


@contextmanager
def postgresql() -> Iterator[str]:
    """An empty database of PostgreSQL, as MLflow addresses it, reached by a socket in a folder."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has its limit
    programs, user = _programs()[-1], _other_user() if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)

    def run(*command: str) -> None:
        subprocess.run(
            command,
            user=None if user is None else user.pw_uid,
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    data = str(folder / "data")
    run(f"{programs}/initdb", "-D", data, "-A", "trust", "-U", "mlflow", "-E", "UTF8")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    run(f"{programs}/pg_ctl", "-D", data, "-o", options, "-l", f"{data}/log", "-w", "start")
    try:
        run(f"{programs}/createdb", "-h", str(folder), "-U", "mlflow", "mlflow")
        yield f"postgresql+psycopg2://mlflow@/mlflow?host={folder}"
    finally:
        run(f"{programs}/pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def _programs() -> list[Path]:
    return sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def _other_user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None
