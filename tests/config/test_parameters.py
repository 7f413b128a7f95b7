"""What runs are called: first what tells them apart."""

from __future__ import annotations

import pytest

from app.__main__ import find_parameters
from app.config.parameters import LONGEST, name_run, parameters
from tests.composing import compose_config

ASKED = {
    "model": "mini",
    "layer": "conv13",
    "metric": "fsi",
    "threshold": "paper",
    "aggregation": "l2",
    "seed": 0,
    "threshold.fsi": 0.1 + 0.2,
    "threshold.dprime": 0.65,
    "metric.criterion.threshold": 0.1 + 0.2,
    "model.checkpoint": "/data/weights/" + "long" * 20 + "/epoch_3.pth",
}


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        ({}, "conv13 fsi 0.3 l2 mini"),
        ({"metric": "fsi", "layer": "conv13"}, "conv13 fsi 0.3 l2 mini"),
        ({"model": "mini"}, "mini conv13 fsi 0.3 l2"),
        ({"layer.name": "conv13", "model.name": "mini"}, "conv13 mini fsi 0.3 l2"),
        ({"threshold": "paper", "aggregation": "l2"}, "fsi 0.3 l2 conv13 mini"),
        ({"threshold.fsi": "0.3"}, "fsi 0.3 conv13 l2 mini"),
        ({"threshold.dprime": "0.65"}, "threshold.dprime=0.65 conv13 fsi 0.3 l2 mini"),
        ({"seed": "0", "layer": "conv13"}, "conv13 seed=0 fsi 0.3 l2 mini"),
        ({"experiment": "mine"}, "experiment=mine conv13 fsi 0.3 l2 mini"),
    ],
)
def test_a_name_begins_with_what_differs(swept: dict[str, str], name: str):
    assert name_run(ASKED, swept) == name


def test_of_a_long_value_the_end_is_shown():
    """Without its name, which would take the room of what differs."""
    shown = name_run(ASKED, {"model.checkpoint": ASKED["model.checkpoint"]}).split()[0]
    assert shown.startswith("…") and shown.endswith("/epoch_3.pth") and len(shown) == LONGEST


def test_a_config_that_is_not_whole_has_the_name_of_what_is_known():
    assert name_run({"layer": "conv13", "x": "y"}) == "conv13"
    assert name_run({}) == ""


def test_a_config_that_is_not_whole_tells_all_but_what_refers_to_what_is_wrong():
    whole = parameters(compose_config("seed=1"))
    told = find_parameters(compose_config("seed=1", "threshold.fsi=foo"), [])
    assert {name for name in whole if "criterion.threshold" not in name} == told.keys()
    assert told == {name: whole[name] for name in told} | {"threshold.fsi": "foo"}
    swept = {"threshold.fsi": "foo"}
    assert name_run(told, swept) == "threshold.fsi=foo conv13 fsi l2 dualtask_mini"
