"""What +experiment=survey asks, and networks whose name says which library's they are."""

from __future__ import annotations

import pytest

from app.errors import InputError
from app.launch.commandline import CONFIG_FOLDER
from app.launch.trust import list_choices
from tests.composing import check_config, compose_config

JOB = ["+experiment=survey", "+recipe=baek2021", "aggregation=l2", "layer.depth=0.5"]


def test_it_asks_all_recipes_but_one_of_lesions():
    config = compose_config("+experiment=survey", hydra=True)
    choices = {name.lstrip("+"): words for name, words in list_choices(config.hydra).items()}
    recipes = {path.stem for path in (CONFIG_FOLDER / "recipe").glob("*.yaml")} - {"dobs2022"}
    assert {word.partition("=")[2] for word in choices["recipe"]} == recipes
    assert {name: len(words) for name, words in choices.items()} == {
        "experiment": 1, "aggregation": 1,
        "model.name": 3, "layer.depth": 4, "recipe": 7, "target": 5,
    }  # fmt: skip


def test_a_job_is_a_networks_layer_a_target_and_a_recipe():
    config = check_config(*JOB, "model.name=timm/lcnet_050", "model.weights=null", "target=places")
    assert (config.model.source, config.model.name) == ("timm", "lcnet_050")
    assert config.model.weights is None and config.target == "places"
    assert (config.recipe, config.aggregation.name) == ("baek2021", "l2")
    steps = config.lesion, config.decoding, config.certainty
    assert [step.name for step in steps] == ["none"] * 3
    other = check_config(*JOB, "model.name=torchvision/resnet18")
    assert (other.model.source, other.model.weights) == ("torchvision", "DEFAULT")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("resnet18", "^model=library needs model.name=<library>/<network>, such as model"),
        ("keras/resnet18", "^model.source=keras is unknown: it is one of vgg, torchvision, timm"),
    ],
)
def test_a_name_without_a_library_is_refused(name: str, line: str):
    with pytest.raises(InputError, match=line):
        check_config("model=library", f"model.name={name}", "layer=depth")
    with pytest.raises(InputError, match="^model=library needs"):
        check_config("model=library", "layer=depth")
