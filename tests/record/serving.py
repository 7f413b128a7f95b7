"""A tracking server of the tests' own, to be killed and started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
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
        deadline = time.monotonic() + seconds
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise TimeoutError((self.folder / "server.log").read_text()) from None
                time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut would end it, its workers with it."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
