"""The program asked in this process, as a command line would ask it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.config.checks import checked_model
from app.config.schema import Config, Model, Stimuli
from app.errors import InputError
from app.launch import trust
from app.launch.commandline import CONFIG_FOLDER, Parser, reason_of
from app.memo import Memo
from app.metrics.contrast import Contrast, contrast
from app.models.loading import Loaded, load
from app.stimuli.images import Preprocessing, read_image
from app.stimuli.localizer import Localizer, make_localizer
from tests.composing import check_config, register
from tests.field.inputs import SIDE

REFUSALS = (InputError, HydraException, OmegaConfBaseException)  # told in one line
OWN_SIZE = Preprocessing(SIDE, SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def quoted(key: str, value: str | Path) -> str:
    """An override whose value is a text, whatever it looks like."""
    escaped = str(value).replace("'", "\\'")
    return f"{key}='{escaped}'"


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3): a network's view of a picture of that size."""
    return OWN_SIZE.crop(read_image(path))


def choose(kind: type, group: str, option: str, /, **settings: Any) -> DictConfig:
    """The settings of `<group>=<name> <group>.<setting>=…`, which need not be composed for that."""
    own = OmegaConf.load(CONFIG_FOLDER / group / f"{option}.yaml")
    return cast(DictConfig, OmegaConf.merge(kind, own, settings))


def set_stimuli(option: str = "folder", **settings: Any) -> Stimuli:
    chosen = choose(Stimuli, "stimuli", option, **settings)
    return cast(Stimuli, OmegaConf.to_object(chosen))


def read_localizer(root: Path, **settings: Any) -> Localizer:
    """The stimuli in a folder of categories."""
    return make_localizer(set_stimuli(root=str(root), **settings), Memo("never stored to"))


def count_images(localizer: Localizer) -> dict[str, int]:
    """How many of each category the localizer shows, none aside."""
    labels = localizer.images.labels
    return {label: labels.count(label) for label in sorted(set(labels))}


def compare(root: Path, *words: str) -> tuple[Config, Contrast]:
    """What a run on a folder would compare."""
    config = check_config("stimuli=folder", quoted("stimuli.root", root), *words)
    localizer = make_localizer(config.stimuli, Memo("never stored to"))
    return config, contrast(localizer.images.labels, localizer.domains, config.target)


def load_network(source: str, **settings: Any) -> Loaded:
    """The network of `model=<source> model.<setting>=…`."""
    return load(checked_model(choose(Model, "model", source, **settings)))


def refusal(*words: str) -> str:
    """The line that a command which is refused before any work ends with."""
    register()
    with pytest.raises(REFUSALS) as caught:
        options = Parser(parents=[get_args_parser()], add_help=False).parse_args(words)
        trust.check_command(options, CONFIG_FOLDER, "config")
        check_config("stimuli=folder", *words)
    return reason_of(caught.value)


def find_corrections(line: str, setting: str) -> list[Any]:
    """What the overrides in a line would set it to, each pasted into a shell as it stands."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quote without its end
        return []
    found: list[Any] = []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word.rstrip(";,."))
        except HydraException:
            continue
        if override.key_or_group == setting and not override.is_sweep_override():
            value: Any = OmegaConf.to_container(OmegaConf.create({"value": override.value()}))
            found.append(value["value"])
    return found
