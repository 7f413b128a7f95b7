"""`python -m app.sync [folder …]`: deliver to the tracking store what runs could not.

A run whose store went away keeps in its folder all that it has to say; a process that was killed
leaves a run that the store takes for running. Both are brought to their end here.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from app.errors import InputError
from app.launch.commandline import UNDELIVERED, Parser, run

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
    from app.sweeps.parent import settle
    from app.tracking.run import find_runs

    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: name those of runs or sweeps")
    runs = find_runs(*folders)
    counts, reasons = Counter[str](), []
    with progress_bar("runs", len(runs), "run") as progress:
        for folder, (outcome, reason) in zip(runs, settle(runs, ended=ended), strict=True):
            counts[outcome] += 1
            if reason:
                reasons.append(f"{folder}: {reason}")
            progress(1)
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
