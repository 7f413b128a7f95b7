"""The command line: what a user waits for when nothing is left to compute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.benchmarks.measure import Apart, Measured, in_turn
from tests.benchmarks.report import Goal, Row, Way
from tests.benchmarks.sizes import Sizes

ROOT = Path(__file__).parents[2]
BARE = """
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(config): ...

main()
"""
# Few images: how much was computed once matters little when it is only read.
SMALL = [
    "stimuli.images_per_category=8",
    "identities.count=6",
    "identities.images_each=4",
    "lesion.images_per_identity=1",
    "lesion.images_per_object=1",
    "decoding.random_draws=3",
]


def stored(sizes: Sizes) -> Iterator[Row]:
    """A job of a sweep whose work is done."""
    jobs = 4 * len(sizes.sweep_layers.split(","))
    sweep = _sweep("fsi,dprime,wilcoxon,ttest", sizes.sweep_layers)
    with tempfile.TemporaryDirectory() as folder, Apart(python, folder) as run:
        first = run(sweep)
        found = in_turn(
            sizes.rounds, all=partial(run, sweep), one=partial(run, _sweep("fsi", "conv13"))
        )
    seconds = (found["all"].seconds - found["one"].seconds) / (jobs - 1)
    yield Row(
        "a sweep's job whose work is stored",
        seconds,
        found["all"].result,
        Way("computed", first.seconds / jobs, first.result),
        goals=(Goal("≤ 1.5 s", seconds <= 1.5),),
        each="a job",
        note=(
            f"(a sweep of {jobs} less a sweep of one) / {jobs - 1}, few stimuli; computed: the "
            "first run, which also makes MLflow's database"
        ),
    )


def thresholds(sizes: Sizes) -> Iterator[Row]:
    """A sweep of one metric's criterion: scores are stored; selections, sets and decodings new."""
    asked = [f"{0.02 + 0.76 * i / (sizes.thresholds - 1):.2f}" for i in range(sizes.thresholds)]
    job = ["-m", "app", "-m", "metric=fsi"]
    with tempfile.TemporaryDirectory() as folder, Apart(python, folder) as run:
        run([*job, "cache=stored"])
        copies = iter(range(2 * sizes.slow_rounds))

        def ask(values: list[str]) -> Measured:
            copy = f"copy{next(copies)}"  # nothing of an earlier round's
            shutil.copytree(Path(folder, "stored"), Path(folder, copy))
            return run([*job, f"threshold.fsi={','.join(values)}", f"cache={copy}"])

        found = in_turn(
            sizes.slow_rounds,
            all=partial(ask, asked),
            one=partial(ask, [asked[len(asked) // 2]]),
        )
    swept, one = found["all"], found["one"]
    yield Row(
        f"a sweep of {len(asked)} thresholds, scores stored",
        swept.seconds,
        swept.result,
        Way(f"{len(asked)} runs", one.seconds * len(asked), one.result),
        note="default stimuli; plain: one run of one threshold, times their number",
    )


def help_text(sizes: Sizes) -> Iterator[Row]:
    """`python -m app --help`."""
    with tempfile.TemporaryDirectory() as folder, Apart(python, folder) as run:
        found = in_turn(
            sizes.rounds,
            ours=partial(run, ["-m", "app", "--help"]),
            plain=partial(run, ["-c", "import torch, mlflow"]),
            bare=partial(run, ["-c", BARE, "--help"]),
        )
    ours, plain, bare = (found[way] for way in ("ours", "plain", "bare"))
    yield Row(
        "python -m app --help",
        ours.seconds,
        None,  # less than this process has itself, and a child's peak begins with its parent's
        Way("import torch, mlflow", plain.seconds),
        Way("a bare Hydra application", bare.seconds),
        (Goal("≤ 2× bare Hydra", ours.seconds <= 2 * bare.seconds),),
    )


def _sweep(metrics: str, layers: str) -> list[str]:
    return ["-m", "app", "-m", f"metric={metrics}", f"layer={layers}", *SMALL]


def python(folder: str) -> Callable[[list[str]], int]:
    """Python with some arguments, in the folder; returns its peak memory, bytes."""

    def run(arguments: list[str]) -> int:
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            # The peak of this process alone; the system says it with the exit code only.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            assert process.returncode == 0, output.read()
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    return run
