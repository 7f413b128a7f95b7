"""A metric is one file and one YAML: added to a copy of the program, nothing else touched."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.stimuli.synthetic import DOMAINS
from tests.conftest import SMALL, finished, run_warm

REPOSITORY = Path(__file__).parents[1]
MODULE = '''"""How often the target's response is above the median of the others."""

import numpy as np

from app.metrics import Scores


def score(responses, contrast):
    (other,) = contrast.others
    share = (responses[contrast.target] > np.median(responses[other], axis=0)).mean(axis=0)
    share = np.where(np.ptp(responses[contrast.included], axis=0) == 0, np.nan, share)
    return Scores(share, share[None])
'''
QUICK = ["layer=conv13", "metric=novel", "tracking=none", *SMALL]


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


@pytest.fixture(scope="module")
def jobs(copy: Path) -> list[Path]:
    """The folders of a sweep over the new metric's number."""
    process = finished(run_warm(copy, "-m", *QUICK, "threshold.novel=0.6,0.9", bare=True))
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


def test_it_is_scored_compared_lesioned_decoded_and_drawn(jobs: list[Path]):
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
        assert {path.name for path in (job / "figures").iterdir()} >= {"scores.png", "lesion.png"}
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
    finished(run_warm(copy, *QUICK, "lesion=none", "decoding=none", "figures=false", bare=True))
    assert len(stored(copy, "score_kernels")) == 6
    (table,) = copy.glob("outputs/runs/*/*/scores.parquet")
    before, after = pd.read_parquet(jobs[0] / "scores.parquet"), pd.read_parquet(table)
    np.testing.assert_array_equal(after["novel"], 1 - before["novel"])
    pd.testing.assert_series_equal(after["fsi"], before["fsi"], check_exact=True)
