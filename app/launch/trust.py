"""What a config may ask for: values, never code.

Hydra calls what a config names: the `_target_` of callbacks, launcher and sweeper, the classes and
factories of its logging; it sets environment variables, and launchers run shell commands. A config
file may be somebody else's. So every config that Hydra composes is held against short lists before
Hydra acts on it.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple, cast

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.config.parameters import leaves
from app.errors import InputError
from app.launch import credentials, quoting

BASIC = "hydra._internal.core_plugins"
PLUGINS = "hydra_plugins.hydra"
# All that `_target_` may name: the sweep's report, and what runs its jobs.
TARGETS = (
    "app.launch.callback.SweepCallback",
    f"{BASIC}.basic_launcher.BasicLauncher",
    f"{BASIC}.basic_sweeper.BasicSweeper",
    f"{PLUGINS}_optuna_sweeper.optuna_sweeper.OptunaSweeper",
    *(f"optuna.samplers.{name}Sampler" for name in ("TPE", "Random", "CmaEs", "NSGAII")),
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
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
LEVELS = ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# What settings of logging may hold: parts by name, and the values that each may have; None: any.
FORMATTER: dict[str, Any] = {"format": None, "datefmt": None, "style": ("%", "$")}
HANDLER: dict[str, Any] = {
    "class": ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"),
    "stream": STREAMS, "filename": ("${hydra.runtime.output_dir}/${hydra.job.name}.log", None),
    "mode": ("a", "w"), "level": LEVELS,
    "formatter": None, "delay": None, "encoding": None,
}  # fmt: skip
LOGGER: dict[str, Any] = {"level": LEVELS, "handlers": None, "propagate": None}
# Environment variables that say how fast, never what is run.
HARMLESS = re.compile(r"\w+_NUM_THREADS|CUDA_VISIBLE_DEVICES")
SHIPPED = (("pkg", "hydra.conf"), ("structured", ""))  # sources of configs, Hydra's own


class Checked(NamedTuple):
    """A command line that may be run."""

    config: DictConfig
    overrides: list[str]
    sweeps: bool
    config_name: str
    loader: ConfigLoaderImpl


def check_command(options: argparse.Namespace, own: Path, config_name: str) -> Checked | None:
    """Refuse a command line whose config, or that of one of its jobs, `check` refuses.

    Composes what Hydra is about to compose, before it acts on it; None where Hydra only prints.
    `own` is the folder of the program's configs: where it prints these alone, none is composed.
    """
    if options.experimental_rerun is not None:
        raise _refused("--experimental-rerun", options.experimental_rerun, "left out: it unpickles")
    folder, added = options.config_path or str(own), options.config_dir
    if not os.path.isabs(folder):
        raise _refused("--config-path", folder, "the absolute path of a folder")
    name, overrides = options.config_name or config_name, list(options.overrides)
    overrides += ["hydra.mode=MULTIRUN"] * options.multirun  # as Hydra has it
    if options.shell_completion or (added and not os.path.isdir(added)):
        return None  # what follows are no overrides; Hydra says what is wrong
    others = list(filter(None, (options.config_path, added)))
    prints = options.help or options.hydra_help or options.cfg or options.info
    with composing():
        parsed = quoting.parse(overrides, sweeps=options.multirun)
        searched = _find_search_path(others, name, parsed)
        if not prints or others or searched:
            loader = _make_loader(folder, added)
            config, sweeps = _check_composed(loader, name, parsed, own, options.multirun)
            spelled = [quoting.spell_numbers(word) for word in overrides]
            return None if prints else Checked(config, spelled, sweeps, name, loader)
    return None


@contextmanager
def composing() -> Iterator[None]:
    """Make an InputError of what Hydra's own checks let through in the body: `=3`, no YAML."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, InputError):
        raise
    except Exception as error:
        raise InputError(
            "no config can be made of this command line and its files: "
            f"{' '.join(str(error).split())}; --help shows how overrides are written"
        ) from error


def _make_loader(folder: str, added: str | None) -> ConfigLoaderImpl:
    """Make the loader of --config-path and --config-dir, as Hydra does."""
    version.setbase("1.3")
    setup_globals()
    searched = create_config_search_path(folder)
    if added is not None:
        searched.prepend("command-line", f"file://{os.path.abspath(added)}", anchor="schema")
    return ConfigLoaderImpl(searched)


def _find_search_path(folders: Iterable[str], name: str, parsed: Iterable[Override]) -> list[str]:
    """Find what the command line, and a primary config in the folders, add to the search path.

    Refused are packages, which would be imported, and what is no folder.
    """
    given = [each.value() for each in parsed if each.get_key_element() == "hydra.searchpath"]
    for file in (Path(folder, f"{name.removesuffix('.yaml')}.yaml") for folder in folders):
        if file.is_file():
            given.append(OmegaConf.select(OmegaConf.load(file), "hydra.searchpath"))
    listed: Any = chain(*(each for each in given if isinstance(each, (list, ListConfig))))
    paths = [path for path in listed if isinstance(path, str)]
    for path in paths:
        scheme, separator, _ = path.partition("://")
        if separator and scheme != "file":
            raise _refused("hydra.searchpath", path, "a folder: file://<path>")
        if not Path(path.removeprefix("file://")).is_dir():
            raise InputError(f"hydra.searchpath={path} is no folder: give one that holds configs")
    return paths


def words(hydra: Any) -> list[str]:
    """List the command line's overrides of the program's config, references left as they are."""
    return cast(list[str], OmegaConf.to_container(hydra.overrides.task, resolve=False))


def list_choices(hydra: Any, loader: ConfigLoader | None = None) -> dict[str, list[str]]:
    """List what makes jobs: for each name the one override, or all those of a sweep, in its order.

    They are the sweeper's `params` and then the command line's; the later of a name stands.
    `loader` finds what `metric=glob(*)` stands for. Ranges that only other sweepers understand are
    left out.
    """
    params = (hydra.sweeper or {}).get("params") or {}
    given = [*(f"{name}={value}" for name, value in params.items()), *words(hydra)]
    found = {}
    for override in OverridesParser.create(loader).parse_overrides(given):
        name = override.get_key_element()
        if override.is_discrete_sweep():
            found[name] = [f"{name}={value}" for value in override.sweep_string_iterator()]
        elif not override.is_sweep_override():
            found[name] = [f"{name}={override.get_value_element_as_str()}"]
    return found


def _check_composed(
    loader: ConfigLoaderImpl, name: str, parsed: Sequence[Override], own: Path, sweeps: bool
) -> tuple[DictConfig, bool]:
    """Check the config of the overrides, and those of all jobs where others' files take part.

    Returns that config, and whether it is swept.
    """

    def compose(given: Iterable[Override]) -> DictConfig:
        words = [str(override.input_line) for override in given]
        mode = RunMode.MULTIRUN if sweeps else RunMode.RUN
        # Where the line does not sweep, `quoting` says better what is wrong.
        return loader.load_configuration(name, words, mode, validate_sweep_overrides=sweeps)

    nulls = [override for override in parsed if quoting.holds_null(override)]
    try:
        config = compose(parsed)
    except Exception:
        if nulls:
            quoting.check_nulls(compose(each for each in parsed if each not in nulls), nulls)
        raise
    overrides = [str(override.input_line) for override in parsed]
    check(config, overrides, own)
    sweeps = sweeps or config.hydra.mode == RunMode.MULTIRUN
    quoting.check_values(config, parsed, sweeps=sweeps)
    quoting.check_nulls(config, [each for each in nulls if each.is_sweep_override()])
    sources = {(source.schema, source.path) for source in config.hydra.runtime.config_sources}
    others = sources - {*SHIPPED, ("file", str(own))}
    choices = list_choices(config.hydra, loader) if sweeps else {}
    if empty := [name for name, words in choices.items() if not words]:
        raise InputError(f"{empty[0]}: its sweep stands for no value, so there are no jobs")
    if others and sweeps:
        given: Any = OmegaConf.to_container(config.hydra.overrides.hydra)
        for job in map(list, product(*choices.values())):
            check(loader.load_sweep_config(config, job), [*given, *job], own)
    return config, sweeps


def check(config: DictConfig, overrides: Sequence[str], own: Path) -> None:
    """Refuse a composed config that names what Hydra would call, or that holds credentials.

    The command line's `overrides` may say what a file may not: who runs the program types them.
    The launchers' presets in `own`, the folder of the program's configs, count as typed, too.
    """
    tree: Any = OmegaConf.to_container(config, resolve=False)
    values = dict(leaves(tree))
    # The program's own first: Hydra's repeat what was typed for them.
    ordered = sorted(values.items(), key=lambda entry: entry[0].startswith("hydra."))
    credentials.check_values(ordered)
    for path, value in values.items():
        if path.rpartition(".")[2] == "_target_" and value not in TARGETS:
            names = ", ".join(target.rpartition(".")[2] for target in TARGETS)
            raise _refused(path, value, f"one of the classes {names}, in full")
    hydra = tree["hydra"]
    for kind in ("hydra", "task"):
        forged = set(hydra["overrides"][kind]) - set(overrides)
        if forged:
            raise _refused(f"hydra.overrides.{kind}", forged.pop(), "left to the command line")
    for name in (*INSTANTIATED, *LOGGING):
        _check_references(f"hydra.{name}", hydra.get(name))
    for name in LOGGING:
        _check_logging(f"hydra.{name}", hydra.get(name) or {})
    typed = {override.lstrip("+~").partition("=")[0] for override in overrides}
    _check_calls(hydra)
    _check_environment(hydra["job"]["env_set"], typed)
    _check_launcher(hydra, typed, own)


def _check_calls(hydra: Mapping[str, Any]) -> None:
    """Let through callbacks called by their class, and sweeps of the program's settings alone."""
    for name, settings in (hydra["callbacks"] or {}).items():
        if not isinstance(settings, dict) or "_target_" not in settings:
            raise _refused(f"hydra.callbacks.{name}", settings, "left as it is")
    if (code := (hydra["sweeper"] or {}).get("custom_search_space")) is not None:
        raise _refused("hydra.sweeper.custom_search_space", code, "null")
    for key, value in ((hydra["sweeper"] or {}).get("params") or {}).items():
        if key.lstrip("+~").startswith("hydra"):
            raise _refused("hydra.sweeper.params", key, "settings of the program alone")
        if (meant := quoting.spell_numbers(given := f"{key}={value}")) != given:
            raise InputError(f"hydra.sweeper.params has {given}, whose sums would slip: {meant}")


def _check_environment(variables: Mapping[str, Any], typed: set[str]) -> None:
    """Let through variables that are harmless, typed, or in the environment as they are."""
    for name, value in variables.items():
        path = f"hydra.job.env_set.{name}"
        if not (HARMLESS.fullmatch(name) or value == os.environ.get(name) or path in typed):
            raise _refused(path, value, "on the command line or in the environment")


def _check_references(path: str, node: Any) -> None:
    """Let through only references whose value can be nothing but text or a number."""
    if not isinstance(node, (dict, type(None))):
        raise _refused(path, node, "a mapping of its own")
    for leaf, value in leaves(node, path):
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "${" in REFERENCES.sub("", text):
                raise _refused(leaf, text, "written out, without such references")


def _check_logging(path: str, node: Mapping[str, Any]) -> None:
    """Let through handlers that write to the terminal or to the job's log, and plain formats."""
    parts = [(f"{path}.root", node.get("root"), LOGGER)]
    for kind, allowed in (("formatters", FORMATTER), ("handlers", HANDLER), ("loggers", LOGGER)):
        for name, settings in (node.get(kind) or {}).items():
            parts.append((f"{path}.{kind}.{name}", settings, allowed))
    for part, settings, allowed in parts:
        for key, value in (settings or {}).items():
            right = allowed.get(key, allowed)  # values, or what else may stand there
            if key not in allowed or (right is not None and value not in right):
                raise _refused(f"{part}.{key}", value, f"one of {', '.join(map(str, right))}")
    if node.get("filters"):
        raise _refused(f"{path}.filters", node["filters"], "left out")
    for leaf, value in leaves(node, path):
        text = str(value)
        if "cfg://" in text or "ext://" in text and text not in STREAMS:
            raise _refused(leaf, text, f"one of {', '.join(STREAMS)}")


def _check_launcher(hydra: Mapping[str, Any], typed: set[str], own: Path) -> None:
    """Let through no shell commands but those that are typed, or in the program's own preset.

    Lists and mappings are commands and options of the scheduler; a line break in any text would
    begin a command in the script that is handed to it.
    """
    preset = own / f"hydra/launcher/{hydra['runtime']['choices'].get('hydra/launcher')}.yaml"
    known: Any = OmegaConf.to_container(OmegaConf.load(preset)) if preset.is_file() else {}
    shipped = dict(leaves(known, "hydra.launcher"))
    for path, value in leaves(hydra["launcher"], "hydra.launcher"):
        texts = value if isinstance(value, list) else [value]
        broken = any(isinstance(text, str) and not text.isprintable() for text in texts)
        _, _, name, *deeper = path.split(".")
        risky = broken or bool(deeper) or isinstance(value, list) or name in ("python", "setup")
        trusted = value in (None, [], {}) or path in typed or shipped.get(path) == value
        if risky and not trusted:
            raise _refused(path, value, f"on the command line, or in {preset}")


def _refused(path: str, value: Any, right: str) -> InputError:
    shown = " ".join(str(value).split())
    return InputError(
        f"{path}={shown if len(shown) <= 100 else shown[:99] + '…'} is refused, since a config "
        f"must not run code: it must be {right}"
    )
