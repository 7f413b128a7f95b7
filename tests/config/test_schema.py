"""The schema and its checks, without running anything."""

from itertools import zip_longest
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from app.__main__ import check_metrics
from app.config.checks import checked
from app.config.parameters import parameters
from app.config.schema import metric_set
from app.errors import InputError
from tests.composing import check_config, compose_config, register

FOLDER = Path(__file__).parents[2] / "conf"
FULL_SIZE = ["model=dualtask_vgg16_untrained"]


# What cannot go without more, and the name that it then has.
LAYER = ["layer=module", "layer.name=layer4.2"]
NEEDED = {
    "dualtask_vgg16": (["model.checkpoint=weights.pt"], "dualtask_vgg16"),
    "torchvision": (["model.name=resnet50", *LAYER], "resnet50"),
    "timm": (["model.name=resnet50", *LAYER], "resnet50"),
    "library": (["model.name=timm/resnet50", *LAYER], "resnet50"),
    "module": (["layer.name=layer4.2"], "layer4.2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("groups", [["model"], ["layer", "metric", "threshold", "aggregation"]])
def test_every_option_of_the_groups_composes_and_passes(groups: list[str]):
    """The first of each group together, then the second of each, and so on."""
    options = [sorted(path.stem for path in (FOLDER / group).glob("*.yaml")) for group in groups]
    for row in zip_longest(*options):
        chosen = {group: option for group, option in zip(groups, row, strict=True) if option}
        words = [f"{group}={option}" for group, option in chosen.items()]
        needed = [word for option in chosen.values() for word in NEEDED.get(option, ([],))[0]]
        found = parameters(check_config(*words, *needed))
        for group, option in chosen.items():
            assert found[group] == NEEDED.get(option, ([], option))[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["target=places", "metric=auc", "lesion.sets=[10,50]", "hydra.run.dir=x", "threads=2"],
        ["+experiment=figure1", "layer=conv2", "+metric@metrics.auc=auc", "threshold.auc=0.9"],
        ["+metric.options.foo=1", "~metrics.fsi", "hydra/launcher=joblib"],
    ],
)
def test_what_tests_compose_is_what_hydra_composes(words: list[str]):
    register()
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        expected = compose("config", words, return_hydra_config=True)
    found = compose_config(*words, hydra=True)
    for config in (expected, found):
        config.hydra.job.override_dirname, config.hydra.overrides.hydra = "", []
    assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
    assert OmegaConf.get_type(found, "metric") is OmegaConf.get_type(expected, "metric")


def test_the_groups_of_the_design_are_all_there():
    expected = {
        "layer": {f"conv{number}" for number in range(1, 14)},
        "metric": {
            "fsi",
            "dprime",
            "wilcoxon",
            "ttest",
            "auc",
            "cohens_d",
            "welch_t",
            "target_mean",
            "ccmas",
            "class_selectivity",
            "precision",
            "mutual_information",
            "lifetime_sparseness",
        },
        "threshold": {"paper", "liberal", "strict"},
        "aggregation": {"unit", "mean", "l2", "max"},
        "stimuli": {"synthetic", "floc", "folder"},
        "identities": {"synthetic", "folder"},
        "lesion": {"single", "attribution", "greedy", "none"},
        "decoding": {"svm", "logistic", "lda", "nearest_centroid", "none"},
    }
    for group, options in expected.items():
        present = {path.stem for path in (FOLDER / group).glob("*.yaml")}
        assert options <= present, group


def test_the_paper_criteria():
    config = compose_config()
    rules = {name: metric.criterion for name, metric in config.metrics.items()}
    assert {name: (rule.rule, rule.threshold) for name, rule in rules.items()} == {
        "fsi": ("above", 0.3),
        "dprime": ("above", 0.65),
        "wilcoxon": ("p", 0.001),
        "ttest": ("fdr_bh", 0.05),
    }


def test_a_threshold_override_reaches_the_chosen_metric_and_the_set():
    config = compose_config("metric=fsi", "threshold.fsi=0.2")
    assert config.metric.criterion.threshold == 0.2
    assert metric_set(config)["fsi"].criterion.threshold == 0.2


def test_the_chosen_metric_keeps_its_own_settings_in_the_set():
    config = compose_config("metric=ttest", "metric.options.equal_variance=false")
    assert metric_set(config)["ttest"].options["equal_variance"] is False
    assert list(metric_set(config)) == ["fsi", "dprime", "wilcoxon", "ttest"]


def test_a_metric_beyond_the_paper_s_joins_the_set_with_its_own_number():
    config = compose_config("metric=auc", "threshold=strict")
    assert list(metric_set(config)) == ["fsi", "dprime", "wilcoxon", "ttest", "auc"]
    assert metric_set(config)["auc"].criterion.threshold == 0.76
    config = check_config("metric=fsi", "+metric@metrics.auc=auc", "threshold.auc=0.9")
    assert list(metric_set(config)) == ["fsi", "dprime", "wilcoxon", "ttest", "auc"]
    assert metric_set(config)["auc"].criterion.threshold == 0.9
    assert metric_set(config)["fsi"].criterion.threshold == 0.3


def test_a_threshold_of_a_metric_that_is_not_asked_is_no_mistake():
    config = check_config("metric=fsi", "threshold.auc=0.8")  # as in a sweep over metrics
    assert parameters(config)["threshold.auc"] == 0.8


def test_a_preset_of_ones_own_with_a_number_a_metric():
    own = {"name": "mine", "fsi": 0.25, "dprime": 0.7, "wilcoxon": 0.02}
    config = compose_config()
    config.threshold = own
    with pytest.raises(
        InputError, match="ttest has no number for threshold=mine: .*liberal, level_4, paper"
    ):
        checked(config)
    config.threshold = {**own, "ttest": 0.2}
    config = checked(config)
    numbers = {n: m.criterion.threshold for n, m in metric_set(config).items()}
    assert {"name": "mine", **numbers} == {**own, "ttest": 0.2}
    assert parameters(config)["threshold"] == "mine"
    assert parameters(config)["threshold.ttest"] == 0.2


def test_parameters_lead_with_the_names_of_the_design():
    flat = parameters(check_config("layer=conv2", "metric=dprime"))
    assert list(flat)[:8] == [
        "model", "layer", "metric", "threshold", "aggregation", "stimuli", "target", "seed",
    ]  # fmt: skip
    assert (flat["model"], flat["layer"], flat["metric"]) == ("dualtask_mini", "conv2", "dprime")
    numbers = {key: value for key, value in flat.items() if key.startswith("threshold.")}
    assert numbers == {
        "threshold.fsi": 0.3, "threshold.dprime": 0.65, "threshold.wilcoxon": 0.001,
        "threshold.ttest": 0.05,
    }  # fmt: skip
    assert not any("presets" in key or "colour" in key for key in flat)
    assert flat["metrics.wilcoxon.criterion.rule"] == "p"
    config = compose_config()
    leaves = OmegaConf.to_container(config, resolve=True)
    assert flat["model.widths"] == leaves["model"]["widths"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["layer.name=conv14"], "layer.name=conv14 is unknown: it is one of conv1"),
        (["aggregation.name=median"], "aggregation.name=median is unknown"),
        (["target=cats"], "target=cats is no domain of the stimuli: they have faces"),
        (["model=dualtask_vgg16"], "needs its weights: give model.checkpoint"),
        (["model.widths=[8,8]"], "model.widths=[8, 8]: the 13 convolutions need one value each"),
        (["model.sd=[0,1,1]"], "sd above 0"),
        (["model.input_size=65"], "model.resize=64 is smaller"),
        ([*FULL_SIZE, "model.input_size=200"], "a multiple of 32"),
        (["model.face_classes=180"], "model.face_classes=180 must lie between"),
        (
            ["lesion.faces.classes=x"],
            "lesion.faces.classes=x lists folders: give lesion.faces.root",
        ),
        (["lesion.images_per_class=0"], "lesion.images_per_class=0 is too small"),
        (["stimuli=folder"], "stimuli=folder needs stimuli.root"),
        (["stimuli=floc", "stimuli.root=''"], "stimuli=floc needs stimuli.root"),
        (["identities=folder"], "identities=folder needs identities.root"),
        (["batch_size=0"], "batch_size=0 is too small"),
        (["stimuli.images_per_category=1"], "stimuli.images_per_category=1 is too small"),
        (["decoding.kernels=0"], "decoding.kernels=0 is too small"),
        (["decoding.penalty=0"], "C is positive"),
        (["seed=-1"], "seed is negative"),
        (["stimuli=folder", "stimuli.root=x", "stimuli.domains=[a,b]"], "stimuli.domains="),
        (["stimuli=folder", "stimuli.root=x", "stimuli.domains={a:b}"], "list of its categories"),
        (["device=tpu"], "device=tpu is unknown"),
        (["metric.colour=blue"], "metric fsi: colour=blue must be like '#CC79A7'"),
        (["threshold.fsi=0.2", "metric.criterion.threshold=0.4"], "threshold.fsi=0.2 does not"),
        (["threshold.auc=true"], "threshold.auc=True is not a number"),
        (["threshold.name=paper", "threshold.fsi=null"], "threshold.fsi=None is not a number"),
        (["metric.contrast=all"], "contrast=all is unknown"),
        (["metric.criterion.rule=best"], "criterion.rule=best is unknown"),
    ],
)
def test_what_types_cannot_say_is_refused_in_one_line(overrides: list[str], message: str):
    with pytest.raises(InputError) as caught:
        check_config(*overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("threshold.fsi=1.5", "threshold.fsi=1.5 is out of range"),
        ("threshold.wilcoxon=0", "threshold.wilcoxon=0.0 is out of range"),
        ("threshold.ttest=1", "threshold.ttest=1.0 is out of range"),
        ("threshold.dprime=nan", "threshold.dprime=nan is out of range"),
        ("threshold.scoring=1", "threshold.scoring=1: no metric is called 'scoring'"),
    ],
)
def test_thresholds_are_held_against_the_metrics_that_there_are(override: str, message: str):
    config = check_config(override)
    with pytest.raises(InputError, match=message):
        check_metrics(config)
