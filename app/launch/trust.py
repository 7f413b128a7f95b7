"""What a config may ask for: values, never code.

Hydra calls what a config names: the `_target_` of callbacks, launcher and sweeper, the classes and
factories of its logging; it sets environment variables, and launchers run shell commands. A config
file may be somebody else's. So every config that Hydra composes is held against short lists before
Hydra acts on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.errors import InputError
from app.launch import credentials

BASIC = "hydra._internal.core_plugins"
PLUGINS = "hydra_plugins.hydra"
# All that `_target_` may name: the sweep's report, and what runs its jobs.
TARGETS = (
    "app.launch.callback.SweepCallback",
    f"{BASIC}.basic_launcher.BasicLauncher",
    f"{BASIC}.basic_sweeper.BasicSweeper",
    f"{PLUGINS}_joblib_launcher.joblib_launcher.JoblibLauncher",
    f"{PLUGINS}_submitit_launcher.submitit_launcher.LocalLauncher",
    f"{PLUGINS}_submitit_launcher.submitit_launcher.SlurmLauncher",
)
INSTANTIATED = ("callbacks", "launcher", "sweeper")  # by Hydra, whole
LOGGING = ("hydra_logging", "job_logging")
# References that stand for text or numbers, whatever a config makes of them: others could bring
# a mapping with a `_target_` into what Hydra instantiates, after it was looked at.
REFERENCES = re.compile(
    r"\$\{(hydra\.(runtime\.(output_dir|cwd)|run\.dir|sweep\.(dir|subdir)|job\.(name|num|id))"
    r"|threads|memory_gb|device|seed|debug)\}"
)
HANDLERS = ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
LOG_FILES = ("${hydra.runtime.output_dir}/${hydra.job.name}.log", None)
LEVELS = ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# What settings of logging may hold: parts by name, and the values that each may have; None: any.
FORMATTER: dict[str, Any] = {"format": None, "datefmt": None, "style": ("%", "$")}
HANDLER: dict[str, Any] = {
    "class": HANDLERS, "stream": STREAMS, "filename": LOG_FILES, "mode": ("a", "w"),
    "level": LEVELS, "formatter": None, "delay": None, "encoding": None,
}  # fmt: skip
LOGGER: dict[str, Any] = {"level": LEVELS, "handlers": None, "propagate": None}
# Environment variables that say how fast, never what is run.
HARMLESS = re.compile(r"\w+_NUM_THREADS|CUDA_VISIBLE_DEVICES")


def guard(own: Path) -> None:
    """Let Hydra compose no config that `check` refuses, and import no package to find one.

    `own` is the folder of the program's configs.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl

    compose, append = ConfigLoaderImpl.load_configuration, ConfigSearchPathImpl.append

    def load_configuration(
        self: ConfigLoaderImpl,
        config_name: str | None,
        overrides: list[str],
        *arguments: Any,
        **options: Any,
    ) -> DictConfig:
        config = composed(lambda: compose(self, config_name, overrides, *arguments, **options))
        check(config, overrides, own)
        return config

    def append_path(
        self: ConfigSearchPathImpl, provider: str, path: str, *arguments: Any, **options: Any
    ) -> None:
        scheme, separator, _ = path.partition("://")
        if provider.startswith("hydra.searchpath") and separator and scheme != "file":
            raise _refused("hydra.searchpath", path, "a folder: file://<path>")
        if (
            provider.startswith("hydra.searchpath")
            and not Path(path.removeprefix("file://")).is_dir()
        ):
            raise InputError(f"hydra.searchpath={path} is no folder: give one that holds configs")
        append(self, provider, path, *arguments, **options)

    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign]
    ConfigSearchPathImpl.append = append_path  # type: ignore[method-assign]


def composed(compose: Callable[[], DictConfig]) -> DictConfig:
    """What `compose` returns; InputError for what Hydra's own checks let through: `=3`, no YAML."""
    try:
        return compose()
    except (HydraException, OmegaConfBaseException, InputError):
        raise
    except Exception as error:
        raise InputError(
            "no config can be made of this command line and its files: "
            f"{' '.join(str(error).split())}; --help shows how overrides are written"
        ) from error


def check(config: DictConfig, overrides: Sequence[str], own: Path) -> None:
    """Refuse a composed config that names what Hydra would call, or that holds credentials;
    InputError with one line.

    `overrides` are the command line's, which may say what a file may not: it is typed by who runs
    the program. `own` is the folder of the program's configs, whose launchers' presets count as
    typed, too.
    """
    tree: Any = OmegaConf.to_container(config, resolve=False)
    values = dict(_leaves(tree))
    # The program's own first: Hydra's repeat what was typed for them.
    ordered = sorted(values.items(), key=lambda entry: entry[0].startswith("hydra."))
    credentials.check_values(ordered)
    for path, value in values.items():
        if path.rpartition(".")[2] == "_target_" and value not in TARGETS:
            names = ", ".join(target.rpartition(".")[2] for target in TARGETS)
            raise _refused(path, value, f"one of the classes {names}, in full")
    hydra = tree.get("hydra") or {}
    typed = {override.lstrip("+~").partition("=")[0] for override in overrides}
    for kind in ("hydra", "task"):
        forged = set(hydra["overrides"][kind]) - set(overrides)
        if forged:
            raise _refused(f"hydra.overrides.{kind}", forged.pop(), "left to the command line")
    for name in (*INSTANTIATED, *LOGGING):
        _check_references(f"hydra.{name}", hydra.get(name))
    for name, settings in (hydra["callbacks"] or {}).items():
        if not isinstance(settings, dict) or "_target_" not in settings:
            raise _refused(f"hydra.callbacks.{name}", settings, "left as it is")
    for name in LOGGING:
        _check_logging(f"hydra.{name}", hydra.get(name) or {})
    for key in (hydra["sweeper"] or {}).get("params") or {}:
        if key.lstrip("+~").startswith("hydra"):
            raise _refused("hydra.sweeper.params", key, "settings of the program alone")
    for name, value in hydra["job"]["env_set"].items():
        path = f"hydra.job.env_set.{name}"
        fits = HARMLESS.fullmatch(name) or value == os.environ.get(name) or path in typed
        if not fits:
            raise _refused(path, value, "on the command line or in the environment")
    _check_launcher(hydra, typed, own)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree under dotted names; a list without mappings is one."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list) and any(isinstance(value, (dict, list)) for value in node):
        for number, value in enumerate(node):
            yield from _leaves(value, f"{path}.{number}")
    else:
        yield path, node


def _check_references(path: str, node: Any) -> None:
    """Only references whose value can be nothing but text or a number."""
    if not isinstance(node, (dict, type(None))):
        raise _refused(path, node, "a mapping of its own")
    for leaf, value in _leaves(node, path):
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "${" in REFERENCES.sub("", text):
                raise _refused(leaf, text, "written out, without such references")


def _check_logging(path: str, node: Mapping[str, Any]) -> None:
    """Handlers that write to the terminal or to the job's log, formats of plain fields."""
    for part, allowed in (("formatters", FORMATTER), ("handlers", HANDLER), ("loggers", LOGGER)):
        for name, settings in (node.get(part) or {}).items():
            _check_part(f"{path}.{part}.{name}", settings, allowed)
    if node.get("root") is not None:
        _check_part(f"{path}.root", node["root"], LOGGER)
    if node.get("filters"):
        raise _refused(f"{path}.filters", node["filters"], "left out")
    for leaf, value in _leaves(node, path):
        text = str(value)
        if "cfg://" in text or "ext://" in text and text not in STREAMS:
            raise _refused(leaf, text, f"one of {', '.join(STREAMS)}")


def _check_part(path: str, settings: Any, allowed: Mapping[str, Any]) -> None:
    for key, value in (settings or {}).items():
        if key not in allowed:
            raise _refused(f"{path}.{key}", value, f"one of {', '.join(allowed)}")
        if allowed[key] is not None and value not in allowed[key]:
            raise _refused(f"{path}.{key}", value, f"one of {', '.join(map(str, allowed[key]))}")


def _check_launcher(hydra: Mapping[str, Any], typed: set[str], own: Path) -> None:
    """No shell commands but those that are typed, or that the program's own preset holds.

    Lists and mappings are commands and options of the scheduler; a line break in any text would
    begin a command in the script that is handed to it.
    """
    preset = (
        own / "hydra" / "launcher" / f"{hydra['runtime']['choices'].get('hydra/launcher')}.yaml"
    )
    known: Any = OmegaConf.to_container(OmegaConf.load(preset)) if preset.is_file() else {}
    trusted = {f"hydra.launcher.{name}": value for name, value in _leaves(known)}
    for path, value in _leaves(hydra["launcher"], "hydra.launcher"):
        texts = value if isinstance(value, list) else [value]
        broken = any(isinstance(text, str) and not text.isprintable() for text in texts)
        _, _, name, *deeper = path.split(".")
        risky = broken or bool(deeper) or isinstance(value, list) or name in ("python", "setup")
        if risky and value not in (None, [], {}) and path not in typed:
            if path in trusted and trusted[path] == value:
                continue
            raise _refused(path, value, f"on the command line, or in {preset}")


def _refused(path: str, value: Any, right: str) -> InputError:
    shown = " ".join(str(value).split())
    return InputError(
        f"{path}={shown if len(shown) <= 100 else shown[:99] + '…'} is refused, since a config "
        f"must not run code: it must be {right}"
    )
