"""The images of fLoc, fetched once and checked file by file.

`floc.sha256` lists the files of one commit of the public repository with their digests, as
`sha256sum` prints them. Files are fetched one by one, so what is verified stays: a start after an
interruption fetches only what is missing. No archive is unpacked.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from filelock import FileLock

from app.errors import InputError
from app.files import writing
from app.progress import Progress, progress_bar

DIGESTS = Path(__file__).with_name("floc.sha256")
STIMULI = "stimuli"  # the repository's folder of category folders
# Only such names are ever requested or written: none can lead out of its folder.
LINE = re.compile(rf"([0-9a-f]{{64}})  ({STIMULI}/(\w+)/[\w-]+\.jpg)", re.ASCII)
TOGETHER = 4  # files that are fetched, or checked, at the same time
RETRIES = 2  # of a file that does not arrive whole
SECONDS = 30  # without a byte, after which a server is given up
PARTIAL = ".partial"  # folder of files that are under way


def read_digests(path: Path) -> dict[str, dict[str, str]]:
    """Read the listed files by category: name (`stimuli/adult/adult-1.jpg`) to SHA-256.

    InputError for a line that is anything but a digest and such a name.
    """
    listed: dict[str, dict[str, str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if (match := LINE.fullmatch(line)) is None:
            raise InputError(
                f"line {number} of {path} is not a SHA-256 digest and a name like "
                f"{STIMULI}/adult/adult-1.jpg: install this program again"
            )
        digest, name, category = match.groups()
        listed.setdefault(category, {})[name] = digest
    return listed


def default_folder() -> Path:
    """Return where the images are kept unless told otherwise: in the user's cache folder."""
    import pooch

    return Path(pooch.os_cache("selective-units")) / "floc"


def fetch(
    categories: Iterable[str],
    folder: Path,
    address: str,
    digests: Mapping[str, Mapping[str, str]],
) -> Path:
    """Fetch all images of the categories that are not there, or not what their digests say.

    Of several processes one fetches, others wait.

    Parameters
    ----------
    categories : iterable of str
        Which are wanted.
    folder : Path
        Where the images are kept.
    address : str
        The http(s) address of the repository's files.
    digests : mapping
        What `read_digests` returns.

    Returns
    -------
    Path
        The folder of category folders, below `folder`.

    Raises
    ------
    InputError
        For files that cannot be fetched after a few attempts or stored, or are not what their
        digests say. What was verified by then stays, nothing else does.
    """
    wanted: dict[str, str] = {}
    for category in categories:
        if category not in digests:
            raise InputError(f"fLoc has no category {category!r}: it has {', '.join(digests)}")
        wanted |= digests[category]
    another = "another folder with stimuli.folder=<folder>"
    with (
        writing("store the images of fLoc in", folder, another),
        progress_bar("images of fLoc", len(wanted)) as progress,
    ):
        missing = _missing(folder, wanted, progress)
        if missing:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):  # the system releases it if this process dies
                # Another process may have fetched them while this one waited.
                missing = _missing(folder, missing, progress)
                _download(missing, folder, address, progress)
    return folder / STIMULI


def _missing(folder: Path, wanted: Mapping[str, str], progress: Progress) -> dict[str, str]:
    """Those that are not there with the content that they should have."""

    def sound(name: str) -> bool:
        try:
            with open(folder / name, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == wanted[name]
        except FileNotFoundError:
            return False

    with ThreadPoolExecutor(TOGETHER) as pool:
        found = dict(zip(wanted, pool.map(sound, wanted), strict=True))
    progress(sum(found.values()))
    return {name: wanted[name] for name in wanted if not found[name]}


def _download(missing: Mapping[str, str], folder: Path, address: str, progress: Progress) -> None:
    """Fetch the files and put each in place when it is whole. The caller holds the lock."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)  # it would name every file
    partial = folder / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)  # whoever left it is dead: it held the lock
    source = pooch.create(
        path=partial,
        base_url=address.rstrip("/") + "/",
        registry={name: f"sha256:{digest}" for name, digest in missing.items()},
        retry_if_failed=RETRIES,
    )
    downloader = pooch.HTTPDownloader(timeout=SECONDS, chunk_size=2**16)

    def get(name: str) -> None:
        try:
            arrived = source.fetch(name, downloader=downloader)
        except (requests.RequestException, ValueError) as error:
            raise InputError(
                f"{source.get_url(name)} of fLoc cannot be fetched: {_reason(error)}; what has "
                "arrived stays, and the same command goes on from there; with the images at "
                "hand give stimuli.root=<folder of adult, child, …>"
            ) from error
        os.replace(arrived, folder / name)

    pool = ThreadPoolExecutor(TOGETHER)
    try:
        for parent in {Path(name).parent for name in missing}:
            (partial / parent).mkdir(parents=True)
            (folder / parent).mkdir(parents=True, exist_ok=True)
        for done in as_completed([pool.submit(get, name) for name in missing]):
            done.result()
            progress(1)
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(partial, ignore_errors=True)


def _reason(error: Exception) -> str:
    """Why a file could not be fetched, from what pooch and requests raise."""
    response = getattr(error, "response", None)
    if response is not None:
        wait = ", it wants fewer requests: wait a while" if response.status_code == 429 else ""
        return f"the server answers {response.status_code} {response.reason}{wait}"
    if type(error) is ValueError:  # pooch's: of another digest
        return "it is not the file that this program knows (its SHA-256 differs)"
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner  # below what the libraries wrap it in
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
