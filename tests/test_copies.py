"""Copies of the program: with a metric of one's own, and changed, which no stored result outlives.

A metric is one file and one YAML: added to a copy of the program, nothing else touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.stimuli.synthetic import DOMAINS
from tests.conftest import REPOSITORY, SMALL, finished, run_warm

MODULE = '''"""How often the target's response is above the median of the others."""

import numpy as np

from app.metrics import Scores


def score(responses, contrast):
    (other,) = contrast.others
    share = (responses[contrast.target] > np.median(responses[other], axis=0)).mean(axis=0)
    share = np.where(np.ptp(responses[contrast.included], axis=0) == 0, np.nan, share)
    return Scores(share, share[None])
'''
QUICK = ["layer=conv13", "tracking=none", *SMALL]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with a file and a YAML more; the YAML is the guide's."""
    folder = tmp_path_factory.mktemp("copy")
    for part in ("app", "conf"):
        shutil.copytree(REPOSITORY / part, folder / part)  # with what was compiled
    (folder / "app/metrics/novel.py").write_text(MODULE)
    guide = (REPOSITORY / "docs/metrics.md").read_text()
    (block,) = re.findall(r"^```yaml\n(name: novel .*?)^```$", guide, re.DOTALL | re.MULTILINE)
    (folder / "conf/metric/novel.yaml").write_text(block)
    return folder


def run(copy: Path, *arguments: str) -> Path:
    """The folder of what a run of that program found."""
    finished(run_warm(copy, *QUICK, *arguments, bare=True))
    return max((copy / "outputs" / "runs").glob("*/*"), key=os.path.getmtime)


# ------------------------------------------------------------------------------------ a metric more


@pytest.fixture(scope="module")
def jobs(copy: Path) -> list[Path]:
    """The folders of a sweep over the new metric's number."""
    words = ["-m", *QUICK, "metric=novel", "threshold.novel=0.6,0.9", "figures=false"]
    process = finished(run_warm(copy, *words, bare=True))
    assert "2 of 2 jobs finished" in process.stdout
    assert "\nthreshold.novel  " in process.stdout, "the table names what was swept"
    return sorted(copy.glob("outputs/sweeps/*/*/?"))


def stored(folder: Path, step: str) -> list[Path]:
    return sorted((folder / "outputs/cache" / step).glob("*.npz"))


def read_l2(path: Path) -> np.ndarray:
    """The responses (images, kernels) by L2 of an entry."""
    with np.load(path) as arrays:
        aggregations = json.loads(str(arrays["entry"]))["result"]["parts"]
        return arrays[aggregations["l2"]["array"]]


def test_it_is_scored_compared_lesioned_and_decoded(jobs: list[Path]):
    assert len(jobs) == 2
    for job, number in zip(jobs, (0.6, 0.9), strict=True):
        result = json.loads((job / "result.json").read_text())
        params, found = result["params"], result["metrics"]
        assert (params["metric"], params["threshold"]) == ("novel", "paper")
        assert params["threshold.novel"] == number and params["threshold.fsi"] == 0.3
        table = pd.read_parquet(job / "scores.parquet")
        others = ["fsi", "dprime", "wilcoxon", "ttest"]
        assert {"novel", "selected_novel", *others} <= set(table.columns)
        np.testing.assert_array_equal(table["selected_novel"], table["novel"] > number)
        assert found["selectivity/count"] == table["selected_novel"].sum() > 0
        for other in others:
            rank = table[["novel", other]].dropna().rank().corr().iloc[0, 1]
            assert found[f"consistency/spearman_{other}"] == pytest.approx(rank)
        assert -1 <= found["lesion/spearman"] <= 1
        assert 0 <= found["decoding/accuracy"] <= 1
    counts = [pd.read_parquet(job / "scores.parquet")["selected_novel"].sum() for job in jobs]
    assert counts[0] > counts[1]


def test_its_scores_are_those_of_its_function(copy: Path, jobs: list[Path]):
    labels = np.repeat([c for members in DOMAINS.values() for c in members], 8)
    target = np.isin(labels, DOMAINS["faces"])
    entries = [read_l2(path) for path in stored(copy, "read_kernels")]
    (responses,) = [entry for entry in entries if len(entry) == len(labels)]
    expected = [np.mean(unit[target] > np.median(unit[~target])) for unit in responses.T]
    silent = np.ptp(responses, axis=0) == 0
    expected = np.where(silent, np.nan, expected)
    np.testing.assert_array_equal(pd.read_parquet(jobs[0] / "scores.parquet")["novel"], expected)


def test_its_stored_scores_are_outdated_when_its_file_changes(copy: Path, jobs: list[Path]):
    assert len(stored(copy, "score_kernels")) == 5
    changed = MODULE.replace("Scores(share,", "Scores(1 - share,")
    (copy / "app/metrics/novel.py").write_text(changed)
    found = run(copy, "metric=novel", "decoding=none")
    assert len(stored(copy, "score_kernels")) == 6
    before, after = (pd.read_parquet(each / "scores.parquet") for each in (jobs[0], found))
    np.testing.assert_array_equal(after["novel"], 1 - before["novel"])
    pd.testing.assert_series_equal(after["fsi"], before["fsi"], check_exact=True)
    assert {path.name for path in (found / "figures").iterdir()} >= {"scores.png", "lesion.png"}


# -------------------------------------------------------------------------------- what is changed


def numbers(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return found


def change(path: Path, old: str, new: str) -> Callable[[], None]:
    """Change a source file; returns what changes it back."""
    text = path.read_text()
    assert len(re.findall(old, text)) == 1, f"{old} in {path}"
    path.write_text(re.sub(old, new, text))
    return lambda: None if path.write_text(text) else None


# A file, what is changed in it, and which finding that must move.
CHANGES = {
    "smallest of the contrasts": (
        *("metrics/scores.py", r"np\.fmin", "np.fmax"),
        lambda before, after: (scores(before)["wilcoxon"] < scores(after)["wilcoxon"]).any(),
    ),
    "compiled loops": (
        "metrics/compiled.py",
        r"return machine_code",
        "return machine_code if function.__name__ != '_moments' else (\n"
        "        lambda *given: [machine_code(*given), given[2].__iadd__(1)][0])",
        lambda before, after: not np.allclose(scores(before)["fsi"], scores(after)["fsi"]),
    ),
    "weights that are filled in": (
        "models/checkpoint.py",
        r"tensor\.to\(value\.dtype\)",
        "-tensor.to(value.dtype)",
        lambda before, after: (
            numbers(before)["decoding/accuracy"] != numbers(after)["decoding/accuracy"]
        ),
    ),
}


def scores(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "scores.parquet")


ASKED = ["metric=wilcoxon", "decoding.kernels=8", "lesion=none", "figures=false"]


@pytest.fixture(scope="module")
def before(copy: Path) -> Path:
    """What the program finds as it is."""
    return run(copy, *ASKED)


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_of_the_program_is_not_answered_from_store(
    copy: Path, before: Path, case: str
) -> None:
    file, old, new, moved = CHANGES[case]
    back = change(copy / "app" / file, old, new)
    try:
        after = run(copy, *ASKED)
    finally:
        back()
    assert moved(before, after), "the old numbers were served"
