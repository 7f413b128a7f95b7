"""No config makes Hydra call, import or run anything: every way in, and its guises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from app.config import schema
from app.errors import InputError
from app.launch import trust
from app.launch.commandline import CONFIG_FOLDER, Parser, report
from tests.goldens import refused
from tests.goldens.commands import UNTRUSTED, untrusted_files, untrusted_words


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colleague's folder of configs, with an experiment of each case."""
    return untrusted_files(tmp_path_factory.mktemp("untrusted"))


@pytest.fixture(scope="module")
def sound() -> Any:
    schema.register()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return compose("config", return_hydra_config=True)


def merged(sound: Any, hydra: dict[str, Any], **rest: Any) -> Any:
    config = OmegaConf.to_container(sound, resolve=False)
    return OmegaConf.merge(OmegaConf.create(config), {"hydra": hydra, **rest})


@pytest.mark.slow
@pytest.mark.parametrize("case", UNTRUSTED)
def test_a_file_cannot_run_code(untrusted: Path, case: str, capsys: pytest.CaptureFixture[str]):
    """As the command checks it before Hydra acts; through the command: `tests.test_bad_input`."""
    schema.register()
    words = untrusted_words(case, untrusted)
    options = Parser(parents=[get_args_parser()], add_help=False).parse_args(words)
    with pytest.raises((InputError, HydraException)) as told:
        trust.check_command(options, CONFIG_FOLDER, "config")
    report(told.value, debug=False)
    line = refused.normalised(capsys.readouterr().err.strip(), root=untrusted.parent)
    assert {"code": 1, "line": line} == refused.kept()[f"trust: {case}"]


def test_a_target_is_refused_wherever_it_stands(sound: Any):
    options = {"options": {"x": {"_target_": "os.system"}}}
    with pytest.raises(InputError, match="metric.options.x._target_=os.system is refused"):
        trust.check(merged(sound, {}, metric=options), [], CONFIG_FOLDER)


def test_what_is_typed_or_shipped_is_trusted(sound: Any, tmp_path: Path):
    setup = merged(sound, {"launcher": {"setup": ["module load cuda"]}})
    threads = {"env_set": {"OMP_NUM_THREADS": "2"}}
    trust.check(sound, [], CONFIG_FOLDER)
    trust.check(merged(sound, {"job": threads}), [], CONFIG_FOLDER)
    trust.check(setup, ["hydra.launcher.setup=[module load cuda]"], CONFIG_FOLDER)
    with pytest.raises(InputError):
        trust.check(setup, ["hydra.launcher.other=1", "seed=1"], CONFIG_FOLDER)
    presets = tmp_path / "hydra" / "launcher"
    presets.mkdir(parents=True)
    (presets / "basic.yaml").write_text("setup: ['module load cuda']")
    trust.check(setup, [], tmp_path)
    (presets / "basic.yaml").write_text("setup: ['module load other']")
    with pytest.raises(InputError, match="hydra.launcher.setup=.*module load cuda"):
        trust.check(setup, [], tmp_path)


@pytest.mark.parametrize("choice", ["default", "stdout", "none", "disabled"])
def test_the_logging_that_hydra_brings_is_let_through(choice: str):
    schema.register()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = compose("config", [f"hydra/job_logging={choice}"], return_hydra_config=True)
    trust.check(config, [f"hydra/job_logging={choice}"], CONFIG_FOLDER)
