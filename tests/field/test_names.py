"""A folder's name is its name, on the command line and in MLflow; paths are told how to quote."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from mlflow.utils.validation import _validate_param_name, _validate_tag_name

from app.config.checks import checked
from app.config.parameters import parameters
from app.launch.commandline import reason_of
from app.launch.quoting import spell_numbers
from app.tracking.record import Description, Record, as_text
from tests.composing import check_config, compose_config
from tests.field.asked import (
    REFUSALS,
    compare,
    find_corrections,
    quoted,
    refusal,
)
from tests.field.inputs import base, encoded, images, plant

NAMES = ["001", "1e3", "1_1", "0x10", "12", "1.50", "nan", "no", "yes", "null", "true", "False",
         "face+body", "faces (adult)", "face, adult", "a=b", "Häuser"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_target_is_taken_by_its_name_or_told_how_to_quote(tmp_path: Path, name: str):
    plant(tmp_path, base(name))
    try:
        _, found = compare(tmp_path, f"target={name}")
    except REFUSALS as error:
        assert name in find_corrections(reason_of(error), "target")
    else:
        assert found.target.sum() == 3


@pytest.mark.parametrize("name", ["1e3", "null", "true", "faces (adult)", "face, adult", "Häuser"])
def test_a_quoted_target_is_taken_by_its_name(tmp_path: Path, name: str):
    plant(tmp_path, base(name))
    config, found = compare(tmp_path, quoted("target", name))
    assert config.target == name and found.target.sum() == 3


@pytest.mark.parametrize("names", ["001,002", "true,false", "1_1,2"])
def test_domains_of_numbers_are_told_how_to_quote(tmp_path: Path, names: str):
    target, other = names.split(",")
    plant(tmp_path, base(target) | images(other))
    domains = f"stimuli.domains={{a:[{target}],b:[{other}]}}"
    try:
        _, found = compare(tmp_path, domains, "target=a")
    except REFUSALS as error:
        corrections = find_corrections(reason_of(error), "stimuli.domains")
        assert {"a": [target], "b": [other]} in corrections
    else:
        assert found.target.sum() == 3


@pytest.mark.parametrize(("folder", "typed"), [("NFD", "NFC"), ("NFC", "NFD")])
@pytest.mark.parametrize("setting", ["target", "leave_out", "domains"])
def test_names_are_compared_in_one_normal_form(tmp_path: Path, setting, folder, typed):
    stored, asked = (unicodedata.normalize(form, "Häuser") for form in (folder, typed))
    plant(tmp_path, base(stored))
    words = {
        "target": [quoted("target", asked)],
        "leave_out": ["target=car", f"stimuli.leave_out=['{asked}']"],
        "domains": [f"stimuli.domains={{a:['{asked}'],b:[car]}}", "target=a"],
    }
    _, found = compare(tmp_path, *words[setting])
    assert found.target.sum() == 3
    assert found.included.sum() == {"target": 9}.get(setting, 6)


DOMAINS = [
    "face+body",
    "faces (adult)",
    "Gesichter, frontal",
    "a=b",
    "100%",
    "a:b",
    "Tür",
    "a.b",
    "a/",
]


@pytest.mark.parametrize(
    "domain",
    DOMAINS,
)
def test_every_domain_has_a_name_in_mlflow(tmp_path: Path, domain: str):
    composed = compose_config("stimuli=folder", f"stimuli.root={tmp_path}")
    composed.stimuli.domains = {domain: ["face"], "other": ["house", "car"]}  # as from a file
    composed.target = domain
    config = checked(composed)
    described = Description("run", parameters(config), {"target": domain})
    record = Record.of(config.tracking, tmp_path, described)
    for name in record.params:
        _validate_param_name(name)
    for name in record.tags:
        _validate_tag_name(name)
    assert '["face"]' in record.params.values()  # and it is still there


def test_domains_whose_names_are_alike_in_mlflow_keep_apart():
    assert as_text({"a+b": 1, "a=b": 2, "a-b": 3}) == {"a-b": "1", "a-b-": "2", "a-b--": "3"}


PATHS = [
    ("model.checkpoint", "a/epoch=3.ckpt"),
    ("model.checkpoint", "last-v1(2).ckpt"),
    ("stimuli.root", "/home/Müller/x (1)"),
    ("stimuli.root", "/home/Müller/x"),
    ("stimuli.root", "~/x"),
    ("stimuli.root", "/data/Ekman, 1976"),
    ("stimuli.root", "/data/Ekman & Friesen"),
    ("stimuli.root", "/data/O'Brien=1"),
    ("stimuli.root", "/data/[old]"),
    ("stimuli.root", "/data/two  spaces (1)"),
    ("stimuli.root", "/data/a tab\t(1)"),
    ("stimuli.root", "/data/{a}"),
    ("stimuli.root", "/data/100% #1!"),
    ("stimuli.root", "2024_01"),
    ("identities.root", "/data/刺激"),
]


@pytest.mark.parametrize(("setting", "path"), PATHS)
def test_paths_are_told_how_to_quote(setting: str, path: str):
    """The corrected override stands in the line in full, as a shell wants it."""
    assert path in find_corrections(refusal(f"{setting}={path}"), setting)


@pytest.mark.parametrize(
    "path", ["C:\\Users\\me", "/data/a-b_c.d@e+f", "/data/100%", "/data/$HOME", "x y"]
)
def test_these_paths_need_no_quotes(path: str):
    assert check_config("stimuli=folder", f"stimuli.root={path}").stimuli.root == path


def test_numbers_of_a_swept_range_are_those_that_were_meant():
    """As Hydra counts them: threshold.fsi=range(0.1,0.4,0.1)."""
    fine = 0.30000000000123457  # which nobody's sum is
    words = ["threshold.fsi=0.30000000000000004", "decoding.penalty=0.7999999999999999",
             f"threshold.dprime={fine}", "model.mean=[0.30000000000000004,0.5,0.5]"]  # fmt: skip
    config = check_config("stimuli=folder", "stimuli.root=x", *map(spell_numbers, words))
    assert config.metric.criterion.threshold == config.threshold["fsi"] == 0.3
    assert config.decoding.penalty == 0.8 and config.model.mean == [0.3, 0.5, 0.5]
    assert config.metrics["dprime"].criterion.threshold == fine


def test_a_picture_s_name_may_hold_anything(tmp_path: Path):
    odd = {f"face/{name}": encoded() for name in ("a=b.png", "x, y (1).png", "Tür.png", "#%+.png")}
    _, found = compare(plant(tmp_path, base() | odd), "target=face")
    assert found.target.sum() == 7
