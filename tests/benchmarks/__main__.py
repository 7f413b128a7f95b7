"""`python -m tests.benchmarks [--quick] [--only rank-sum,lesion] [--markdown]`."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

from tests.benchmarks import certainty, growth, network, report, scoring, startup
from tests.benchmarks.report import Growth, Row
from tests.benchmarks.sizes import FULL, QUICK, Sizes

SECTIONS: dict[str, Callable[[Sizes], Iterator[Row | Growth]]] = {
    "help": startup.help_text,
    "stored": startup.stored,
    "thresholds": startup.thresholds,
    "rank-sum": scoring.rank_sum,
    "conv13": scoring.conv13,
    "certainty": certainty.certainty,
    "conv2": network.conv2,
    "certainty-conv2": certainty.certainty_conv2,
    "forward": network.forward,
    "lesion": network.lesion,
    "growth": lambda sizes: chain(growth.scoring_growth(sizes), network.lesion_growth(sizes)),
}
ASKED = ("certainty-conv2",)  # of half an hour: measured where named
QUICKLY = "quick: smaller sizes than those the goals are for"


def main() -> int:
    """Measure what is asked for, then print it; 1 where something could not be measured."""
    arguments = _arguments()
    sizes = QUICK if arguments.quick else FULL
    sizes = replace(sizes, device=arguments.device)
    if arguments.images:
        sizes = replace(sizes, conv2_images=arguments.images)
    os.environ.pop("OMP_NUM_THREADS", None)  # all cores, whatever the shell says
    heading = report.conditions(QUICKLY if arguments.quick else "full sizes")
    rows: list[Row] = []
    growing: list[Growth] = []
    failed = False
    for section in arguments.only:
        start = time.perf_counter()
        print(f"{section} …", file=sys.stderr, flush=True)
        try:
            for found in SECTIONS[section](sizes):
                taken = time.perf_counter() - start
                print(f"  {taken:4.0f} s  {_progress(found)}", file=sys.stderr, flush=True)
                if isinstance(found, Row):
                    rows.append(found)
                else:
                    growing.append(found)
        except Exception:  # the others are measured all the same
            traceback.print_exc()
            failed = True
    if arguments.markdown:
        print(report.markdown(heading, rows, growing))
    else:
        report.show(heading, rows, growing)
    return int(failed)


def _progress(found: Row | Growth) -> str:
    cells = report.row_cells(found) if isinstance(found, Row) else report.growth_cells(found)
    return ", ".join(cells[:3])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Time this software beside the plain way and the bare limit.",
    )
    parser.add_argument("--quick", action="store_true", help="smaller sizes, a few minutes")
    parser.add_argument(
        "--only",
        type=_sections,
        default=[name for name in SECTIONS if name not in ASKED],
        metavar="ROWS",
        help=f"some of {','.join(SECTIONS)}",
    )
    parser.add_argument(
        "--images",
        type=int,
        help=f"at conv2 (default {FULL.conv2_images:,}; quick {QUICK.conv2_images})",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="of the rows forward and lesion"
    )
    parser.add_argument("--markdown", action="store_true", help="tables for a page on GitHub")
    return parser.parse_args()


def _sections(text: str) -> list[str]:
    chosen = text.split(",")
    for name in chosen:
        if name not in SECTIONS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SECTIONS)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
