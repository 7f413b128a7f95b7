"""`python -m app.sync [folder …]`: deliver to the tracking store what runs could not.

A run whose store went away keeps in its folder all that it has to say; a process that was killed
leaves a run that the store takes for running. Both are brought to their end here, whatever was
delivered before.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.errors import InputError
from app.launch.commandline import UNDELIVERED, Parser, run
from app.tracking.address import Stored

SAYS = {
    "delivered": "delivered",
    "complete": "had nothing to deliver",
    "running": "left alone: running, or on another machine (see --ended)",
}


def sync(folders: Sequence[Path], *, ended: bool = False) -> tuple[Counter[str], list[str]]:
    """Settle all runs below the folders: how many came to which end, and why others did not.

    InputError for a folder that is not there.
    """
    from app.progress import progress_bar
    from app.tracking.delivery import settle, settle_dead
    from app.tracking.record import RECORD, read
    from app.tracking.store import connect

    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: name those of runs or sweeps")
    found = {path.parent for folder in folders for path in folder.rglob(RECORD)}
    # A sweep's own run comes after its jobs', and only if none of them is left.
    deepest_first = sorted(found, key=lambda folder: (-len(folder.parts), folder))
    counts: Counter[str] = Counter()
    reasons: list[str] = []
    left: dict[Path, str] = {}
    stores: set[Stored] = set()
    with progress_bar("runs", len(deepest_first), "run") as progress:
        for folder in deepest_first:
            outcome = left.get(folder)
            if outcome is None:
                try:
                    record = read(folder)
                    stores |= {record.settings} if record is not None else set()
                    outcome = settle(folder, ended=ended)
                except (InputError, OSError) as error:
                    reasons.append(f"{folder}: {error}")
                    outcome = "failed"
                if outcome in ("failed", "running"):
                    left |= dict.fromkeys(folder.parents, outcome)
            counts[outcome] += 1
            progress(1)
    for settings in stores:  # killed between the last word to its record and to the store
        with suppress(InputError):
            settle_dead(connect(settings))
    return counts, reasons


def job() -> None:
    """Do what the command line asks for."""
    parser = Parser(
        prog="python -m app.sync",
        description="Deliver to the tracking store what runs could not, and mark as KILLED those "
        "whose process died.",
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        default=[Path("outputs")],
        metavar="folder",
        help="of runs or sweeps, with all below (default: outputs)",
    )
    parser.add_argument(
        "--ended",
        action="store_true",
        help="nothing runs in these folders any more, on any machine: what began on another one, "
        "and cannot be seen from here, is over, too",
    )
    asked = parser.parse_args()
    counts, reasons = sync(asked.folders, ended=asked.ended)
    for outcome, words in SAYS.items():
        if counts[outcome]:
            print(f"{counts[outcome]} run(s) {words}")
    if not counts:
        print("no runs found")
    if reasons:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        print(f"not delivered: {reasons[0]}{more}", file=sys.stderr)
        sys.exit(UNDELIVERED)


def main() -> None:
    """Run the command line."""
    run(job)


if __name__ == "__main__":
    main()
