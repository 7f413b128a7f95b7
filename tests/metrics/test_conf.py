"""The metrics' configuration fits the schema and the functions."""

import inspect
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from app.choices import CONTRASTS
from app.choices import LEVELS as CONTRAST_LEVELS
from app.config.schema import Config
from app.findings.selection import RULES, Criterion
from app.metrics import load

CONF = Path(__file__).parents[2] / "conf"
METRICS = sorted((CONF / "metric").glob("*.yaml"))
PRESETS = {
    "fsi": {"liberal": 0.2, "paper": 0.3, "strict": 0.5},
    "dprime": {"liberal": 0.5, "paper": 0.65, "strict": 1.0},
    "wilcoxon": {"liberal": 0.01, "paper": 0.001, "strict": 0.0001},
    "ttest": {"liberal": 0.1, "paper": 0.05, "strict": 0.01},
    "auc": {"liberal": 0.64, "paper": 0.68, "strict": 0.76},
    "cohens_d": {"liberal": 0.5, "paper": 0.8, "strict": 1.2},
    "welch_t": {"liberal": 5, "paper": 10, "strict": 15},
    "precision": {"liberal": 0.5, "paper": 0.75, "strict": 0.9},
}
TOP = (
    "ccmas", "class_selectivity", "lifetime_sparseness", "mutual_information", "target_mean",
)  # fmt: skip
PRESETS |= {name: {"liberal": 0.2, "paper": 0.1, "strict": 0.05} for name in TOP}


LEVELS = (
    "level_1", "level_2", "liberal", "level_4", "paper", "level_6", "strict", "level_8", "level_9",
)  # fmt: skip


def settings(path: Path, threshold: str):
    whole = OmegaConf.structured(Config)
    whole.merge_with({"threshold": OmegaConf.load(CONF / "threshold" / f"{threshold}.yaml")})
    whole.merge_with({"metric": OmegaConf.load(path)})
    return OmegaConf.to_object(whole.metric)


@pytest.mark.parametrize("path", METRICS, ids=lambda path: path.stem)
@pytest.mark.parametrize("threshold", ["liberal", "paper", "strict"])
def test_metric(path, threshold):
    metric = settings(path, threshold)
    assert metric.name == path.stem
    assert metric.contrast in CONTRASTS
    assert metric.over in CONTRAST_LEVELS
    assert metric.criterion.rule in RULES
    Criterion(metric.criterion.rule, metric.criterion.threshold).check(metric.criterion.range)
    assert metric.criterion.threshold == PRESETS[metric.name][threshold]
    inspect.signature(load(metric.name)).bind(None, None, **metric.options)


@pytest.mark.parametrize("path", METRICS, ids=lambda path: path.stem)
def test_levels_go_from_many_units_to_few(path):
    metric = settings(path, "paper")
    numbers = [metric.criterion.presets[level] for level in LEVELS]
    numbers = numbers[:: RULES[metric.criterion.rule].stricter]
    assert len(metric.criterion.presets) == len(LEVELS)
    assert numbers == sorted(set(numbers))
    assert {path.stem for path in (CONF / "threshold").glob("*.yaml")} == set(LEVELS)
    experiment = OmegaConf.load(CONF / "experiment" / "threshold_sensitivity.yaml")
    assert experiment.hydra.sweeper.params.threshold == ",".join(LEVELS)


def test_two_metrics_are_baselines():
    baselines = [path.stem for path in METRICS if settings(path, "paper").baseline]
    assert baselines == ["lifetime_sparseness", "target_mean"]


def test_every_metric_has_a_file():
    assert {path.stem for path in METRICS} == set(PRESETS)


def test_metrics_keep_their_colours_and_labels_apart():
    metrics = [settings(path, "paper") for path in METRICS]
    assert len({metric.colour for metric in metrics}) == len(metrics)
    assert len({metric.label for metric in metrics}) == len(metrics)


def test_a_metric_needs_no_more_than_its_contrast_and_criterion():
    whole = OmegaConf.structured(Config)
    criterion = {"rule": "above", "presets": {"paper": 0.8}}
    own = {"name": "novel", "contrast": "pooled", "criterion": criterion}
    whole.merge_with({"threshold": {"name": "paper"}, "metric": own})
    metric = OmegaConf.to_object(whole.metric)
    assert (metric.label, metric.over, metric.options) == ("novel", "domains", {})
    assert metric.criterion.threshold == 0.8
