"""No config makes Hydra call, import or run anything: every way in, and its guises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from app.config import schema
from app.errors import InputError
from app.launch import trust
from app.launch.commandline import CONFIG_FOLDER

# What a colleague's file, merged into a sound config, may hold instead.
FILES: dict[str, dict[str, Any]] = {
    "callback": {"callbacks": {"x": {"_target_": "os.system", "command": "true"}}},
    "the sweep's own callback": {"callbacks": {"sweep": {"_target_": "os.system"}}},
    "nested": {"callbacks": {"x": {"a": [{"b": {"_target_": "os.system"}}]}}},
    "own code that is no callback": {
        "callbacks": {"x": {"_target_": "app.launch.commandline.run"}}
    },
    "target by reference": {"callbacks": {"x": {"_target_": "${target}"}}},
    "callback made by a resolver": {"callbacks": {"x": "${oc.create:'{_target_: os.system}'}"}},
    "callbacks by reference": {"callbacks": "${metric.options}"},
    "callback that is none": {"callbacks": {"sweep": None}},
    "launcher": {"launcher": {"_target_": "subprocess.Popen", "args": "true"}},
    "sweeper": {"sweeper": {"_target_": "builtins.exec"}},
    "sweeper's settings of Hydra": {"sweeper": {"params": {"hydra.job.env_set.A": "b"}}},
    "commands before the job": {"launcher": {"setup": ["touch harm"]}},
    "interpreter of the job": {"launcher": {"python": "./harm.sh"}},
    "options of the scheduler": {"launcher": {"additional_parameters": {"wrap": "touch harm"}}},
    "line break in a text": {"launcher": {"partition": "gpu\ntouch harm"}},
    "factory of a handler": {"job_logging": {"handlers": {"x": {"()": "os.system"}}}},
    "class of a handler": {"job_logging": {"handlers": {"x": {"class": "os.system"}}}},
    "handler with properties": {"job_logging": {"handlers": {"console": {".": {"a": 1}}}}},
    "handler by reference": {"job_logging": {"handlers": {"x": "${metric.options}"}}},
    "stream": {"job_logging": {"handlers": {"console": {"stream": "ext://os.environ"}}}},
    "log file anywhere": {"job_logging": {"handlers": {"file": {"filename": "~/.profile"}}}},
    "factory of a formatter": {"job_logging": {"formatters": {"x": {"()": "os.system"}}}},
    "format that walks objects": {"job_logging": {"formatters": {"simple": {"style": "{"}}}},
    "filter": {"job_logging": {"filters": {"x": {"()": "os.system"}}}},
    "level by code": {"job_logging": {"root": {"level": "ext://os.system"}}},
    "logging of Hydra": {"hydra_logging": {"handlers": {"x": {"()": "os.system"}}}},
    "loader of libraries": {"job": {"env_set": {"LD_PRELOAD": "harm.so"}}},
    "settings of git": {"job": {"env_set": {"GIT_CONFIG_COUNT": "1"}}},
    "forged words of the command line": {
        "overrides": {"hydra": ["hydra.launcher.setup=x"]},
        "launcher": {"setup": ["touch harm"]},
    },
}


@pytest.fixture(scope="module")
def sound() -> Any:
    schema.register()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return compose("config", return_hydra_config=True)


def merged(sound: Any, hydra: dict[str, Any], **rest: Any) -> Any:
    config = OmegaConf.to_container(sound, resolve=False)
    return OmegaConf.merge(OmegaConf.create(config), {"hydra": hydra, **rest})


@pytest.mark.parametrize("case", FILES)
def test_a_file_cannot_run_code(sound: Any, case: str):
    config = merged(sound, FILES[case])
    given = OmegaConf.to_container(sound.hydra.overrides.hydra)
    with pytest.raises(InputError, match=r"hydra\.\S+=.* is refused, since .* it must be ") as told:
        trust.check(config, given, CONFIG_FOLDER)
    assert "\n" not in str(told.value)


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
