"""Files from the internet, checked by digest: what cannot be had is told in one line."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.progress import progress_bar

RETRIES = 2  # of a file that does not arrive whole
SECONDS = 30  # without a byte, after which a server is given up

Downloader = Callable[[str, Any, Any], object]  # pooch's: of an address, to a file, for a pooch


def fetch_file(source: Any, name: str, downloader: Downloader, what: str, instead: str) -> str:
    """Fetch one of a pooch's files, unless it is there, and return its path.

    InputError for a file that does not arrive after a few attempts, or is not what its digest says;
    `instead` tells what to do without it.
    """
    import pooch  # slow to import, as requests is, and most runs fetch nothing
    import requests

    pooch.get_logger().setLevel(logging.WARNING)  # it would name every file
    try:
        return str(source.fetch(name, downloader=downloader))
    except (requests.RequestException, ValueError) as error:
        raise InputError(
            f"{source.get_url(name)} of {what} cannot be fetched: {_reason(error)}; what has "
            f"arrived stays, and the same command goes on from there; {instead}"
        ) from error


def resume(title: str, part: Path) -> Downloader:
    """Make a downloader of one large file, of which `part` keeps what has arrived."""

    def download(address: str, target: Any, _: Any) -> None:
        import requests

        start = part.stat().st_size if part.exists() else 0
        asked = {"Range": f"bytes={start}-", "Accept-Encoding": "identity"}
        with requests.get(address, headers=asked, stream=True, timeout=SECONDS) as answer:
            if answer.status_code != 416:  # of a part that lacks nothing
                answer.raise_for_status()
                start *= answer.status_code == 206  # else it comes from its beginning
                total = start + int(answer.headers.get("Content-Length", 0))
                with (
                    open(part, "ab" if start else "wb") as file,
                    progress_bar(title, total, "B") as progress,
                ):
                    progress(start)
                    for chunk in answer.iter_content(2**16):
                        file.write(chunk)
                        progress(len(chunk))
        os.replace(part, target)  # where its digest is looked at

    return download


def _reason(error: Exception) -> str:
    """Why a file could not be fetched, from what pooch and requests raise."""
    response = getattr(error, "response", None)
    if response is not None:
        wait = ", it wants fewer requests: wait a while" if response.status_code == 429 else ""
        return f"the server answers {response.status_code} {response.reason}{wait}"
    if type(error) is ValueError:  # pooch's: of another digest
        return "it is not the file that this program knows (its digest differs)"
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner  # below what the libraries wrap it in
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
