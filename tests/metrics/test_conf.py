"""The metrics' configuration fits the schema and the functions."""

import inspect
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from app.config import CONTRAST_LEVELS, CONTRASTS, Config, Threshold
from app.findings.selection import RULES
from app.metrics import load

CONF = Path(__file__).parents[2] / "conf"
METRICS = sorted((CONF / "metric").glob("*.yaml"))
THRESHOLDS = {
    "liberal": {"fsi": 0.2, "dprime": 0.5, "wilcoxon": 0.01, "ttest": 0.1},
    "paper": {"fsi": 0.3, "dprime": 0.65, "wilcoxon": 0.001, "ttest": 0.05},
    "strict": {"fsi": 0.5, "dprime": 1.0, "wilcoxon": 0.0001, "ttest": 0.01},
}


@pytest.mark.parametrize("path", METRICS, ids=lambda path: path.stem)
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_metric(path, threshold):
    whole = OmegaConf.structured(Config)
    whole.merge_with({"threshold": OmegaConf.load(CONF / "threshold" / f"{threshold}.yaml")})
    whole.merge_with({"metric": OmegaConf.load(path)})
    metric = OmegaConf.to_object(whole.metric)
    assert metric.name == path.stem
    assert metric.contrast in CONTRASTS
    assert metric.over in CONTRAST_LEVELS
    assert metric.criterion.rule in RULES
    low, high = metric.criterion.range
    assert low < metric.criterion.threshold < high
    inspect.signature(load(metric.name)).bind(None, None, **metric.options)


def test_every_metric_has_a_file():
    assert {path.stem for path in METRICS} >= {"fsi", "dprime", "wilcoxon", "ttest"}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_thresholds(name):
    loaded = OmegaConf.load(CONF / "threshold" / f"{name}.yaml")
    merged = OmegaConf.merge(OmegaConf.structured(Threshold), loaded)
    assert OmegaConf.to_container(merged) == {"name": name, **THRESHOLDS[name]}
