"""A sweep's parent run: opened before the first job, closed after the last with a table of all.

Jobs may run in other processes, so they learn of the parent, and tell of their results, through
files in the sweep's folder. Imports nothing heavy: Hydra loads this file for `--help` too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from app.config import Tracking

PARENT = "sweep.json"
RESULT = "result.json"
LAYERS_FILE = "layers.json"
KEPT_CONFIGS = 1000  # of a sweep's jobs, at most: a third of a megabyte each


def parent_of(folder: Path, settings: Tracking, overrides: Sequence[str]) -> str | None:
    """The MLflow run of the sweep in `folder`, opened by the first job that asks.

    None where tracking is off.
    """
    from filelock import FileLock

    from app.record import tracking

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PARENT
    with FileLock(folder / f"{PARENT}.lock"):
        if not path.is_file():
            run_id = tracking.open_run(
                settings,
                name="sweep " + " ".join(overrides),
                params={},
                tags={"sweep": "true"},
                description="All jobs of: " + " ".join(overrides),
            )
            path.write_text(json.dumps({"run_id": run_id}))
    return _parent_id(folder)


def _parent_id(folder: Path) -> str | None:
    path = folder / PARENT
    return json.loads(path.read_text())["run_id"] if path.is_file() else None


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Leave a job's result where the sweep's end finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).write_text(json.dumps(result, indent=2))


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results of all jobs below the sweep's folder, in the order of their numbers."""
    paths = sorted(folder.glob(f"*/{RESULT}"), key=lambda path: (len(path.parent.name), path))
    return [json.loads(path.read_text()) for path in paths]


def close(folder: Path, settings: Tracking, status: str, finished: int, failed: int) -> None:
    """End the parent run."""
    from app.record import tracking

    tracking.finish(
        settings,
        _parent_id(folder),
        status=status,
        metrics={"jobs/finished": float(finished), "jobs/failed": float(failed)},
    )


def layers_of(folder: Path) -> tuple[str, ...]:
    """The layers that the sweep in `folder` asks for; none where it asks for the default one."""
    path = folder / LAYERS_FILE
    return tuple(json.loads(path.read_text())) if path.is_file() else ()


def swept_layers(overrides: Sequence[str]) -> list[str]:
    """The layers that a sweep's overrides name: `layer=conv2,conv13`, `layer.name=fc6,fc7`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return [
        layer.partition("=")[2] if "=" in layer else layer
        for override in OverridesParser.create().parse_overrides(list(overrides))
        if override.key_or_group in ("layer", "layer.name") and override.is_choice_sweep()
        for layer in override.sweep_string_iterator()
    ]


def compose_once() -> None:
    """Let the launcher use the configs that the sweeper composed to see whether they are legal.

    Hydra composes each job's config twice, a third of a second each time: most of what a job
    costs whose work is stored. A config is handed out once, since the launcher changes it.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    compose = ConfigLoaderImpl.load_sweep_config
    composed: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(
        self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        key = tuple(sweep_overrides)
        if key in composed:
            return composed.pop(key)
        config = compose(self, master_config, sweep_overrides)
        if len(composed) < KEPT_CONFIGS:
            composed[key] = config
        return config

    ConfigLoaderImpl.load_sweep_config = load_sweep_config  # type: ignore[method-assign]


class SweepCallback(Callback):
    """Hydra calls it before the first job of a multirun and when all are done."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        compose_once()
        # Hydra's own words for a sweep: the command line's, and those of its `params`.
        params = config.hydra.sweeper.get("params") or {}
        overrides = [f"{name}={value}" for name, value in params.items()]
        layers = swept_layers([*overrides, *config.hydra.overrides.task])
        if layers:
            folder = Path(config.hydra.sweep.dir)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / LAYERS_FILE).write_text(json.dumps(sorted(set(layers))))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from app.record import tables, tracking

        folder = Path(config.hydra.sweep.dir)
        results = read_results(folder)
        failed = sum(result["status"] == "failed" for result in results)
        tables.show(tables.sweep_table(results))
        close(
            folder,
            config.tracking,
            "FAILED" if failed else "FINISHED",
            finished=len(results) - failed,
            failed=failed,
        )
        print(f"Results: {folder}")
        print(tracking.how_to_compare(config.tracking))
        if failed:
            raise SystemExit(1)
