"""A search by Optuna's sweeper: what a job returns, what a file may ask for, how many jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from app.__main__ import check_objective
from app.config import schema
from app.errors import InputError
from app.launch import trust
from app.launch.callback import make_plan
from app.launch.commandline import CONFIG_FOLDER
from app.sweeps.results import read_results
from tests.conftest import SMALL, finished, run_app

SWEEPER = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"


def test_an_objective_is_a_number_of_the_run():
    check_objective(None, {})
    check_objective("reliability/score", {"reliability/score": 0.5})
    with pytest.raises(InputError, match="objective=reliability is none of .*: nearest are relia"):
        check_objective("reliability", {"reliability/score": 0.5, "selectivity/percent": 1.0})


def test_a_file_may_name_samplers_but_no_code():
    schema.register()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", return_hydra_config=True))
    sampler = {"_target_": "optuna.samplers.TPESampler", "seed": 0}
    config["hydra"]["sweeper"] = {"_target_": SWEEPER, "sampler": sampler, "params": None}
    trust.check(OmegaConf.create(config), [], CONFIG_FOLDER)
    config["hydra"]["sweeper"]["custom_search_space"] = "os.system"
    with pytest.raises(InputError, match="hydra.sweeper.custom_search_space=os.system is refused"):
        trust.check(OmegaConf.create(config), [], CONFIG_FOLDER)


def test_a_search_has_as_many_jobs_as_trials():
    plan = make_plan({"metric": ["metric=fsi", "metric=dprime"]}, trials=20)
    assert (plan.jobs, list(plan.swept)) == (20, ["metric"])


@pytest.mark.slow
def test_a_criterion_is_searched_for(tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install '.[optuna]'")
    search = ["direction=maximize", "n_trials=4", "n_jobs=1", "sampler.seed=0"]
    words = ["-m", "hydra/sweeper=optuna", *(f"hydra.sweeper.{word}" for word in search)]
    words += ["objective=selectivity/percent", "threshold.fsi=interval(0.1,0.6)", "figures=false"]
    finished(run_app(tmp_path, *words, *SMALL, "tracking=none", fresh=True))
    (file,) = tmp_path.rglob("optimization_results.yaml")
    best, jobs = yaml.safe_load(file.read_text()), read_results(file.parent)
    percent = {each.params["threshold.fsi"]: each.metrics["selectivity/percent"] for each in jobs}
    assert len(percent) == 4 and best["best_value"] == max(percent.values())
    assert percent[best["best_params"]["threshold.fsi"]] == max(percent.values())
