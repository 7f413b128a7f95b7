"""The images of fLoc, fetched once and checked file by file.

`floc.sha256` lists the files of one commit of the public repository with their digests, as
`sha256sum` prints them. Files are fetched one by one, so what is verified stays: a start after an
interruption fetches only what is missing. No archive is unpacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from filelock import FileLock

from app.errors import InputError
from app.files import writing
from app.progress import progress_bar
from app.stimuli.fetching import RETRIES, SECONDS, fetch_file

DIGESTS = Path(__file__).with_name("floc.sha256")
STIMULI = "stimuli"  # the repository's folder of category folders
TOGETHER = 4  # files that are fetched at the same time


def read_digests(path: Path) -> dict[str, dict[str, str]]:
    """Read the listed files by category: name (`stimuli/adult/adult-1.jpg`) to SHA-256."""
    listed: dict[str, dict[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, name = line.split()
        listed.setdefault(Path(name).parent.name, {})[name] = digest
    return listed


def fetch(
    categories: Iterable[str], folder: Path, address: str, digests: Mapping[str, dict[str, str]]
) -> Path:
    """Fetch all images of the categories that are not there, or not what their digests say.

    Of several processes one fetches, others wait. `address` is the http(s) address of the
    repository's files, `digests` what `read_digests` returns. Returns the folder of category
    folders, below `folder`. InputError for files that cannot be fetched after a few attempts or
    stored, or are not what their digests say; what was verified by then stays.
    """
    import pooch  # slow to import, and most runs fetch nothing

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
        missing = {name: f"sha256:{digest}" for name, digest in wanted.items()
                   if not (folder / name).exists()
                   or pooch.file_hash(folder / name) != digest}  # fmt: skip
        progress(len(wanted) - len(missing))
        for parent in {(folder / name).parent for name in missing}:
            parent.mkdir(parents=True, exist_ok=True)
        if missing:
            base = address.rstrip("/") + "/"
            source = pooch.create(folder, base, registry=missing, retry_if_failed=RETRIES)
            get = partial(
                fetch_file,
                source,
                downloader=pooch.HTTPDownloader(timeout=SECONDS, chunk_size=2**16),
                what="fLoc",
                instead="with the images at hand give stimuli.root=<folder of adult, child, …>",
            )
            # The system releases the lock if this process dies.
            with FileLock(folder / ".lock"), ThreadPoolExecutor(TOGETHER) as pool:
                # What a process that was killed had not put in its place would be an image.
                for left in folder.glob(f"{STIMULI}/*/tmp*"):
                    left.unlink()
                for _ in pool.map(get, missing):  # where one fails, those that wait are given up
                    progress(1)
    return folder / STIMULI
