"""The commands whose findings are kept, and those that are refused."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import MATERIAL, SMALL, finished, run_app
from tests.goldens import collect, refused
from tests.test_bad_input import CASES, asked

PLAIN = ("decoding=none", "lesion=none", "figures=false")


@dataclass(frozen=True)
class Command:
    """What is asked of `python -m app`, and how much of it is kept."""

    arguments: tuple[str, ...]
    tables: bool = True  # the tables of each job, too
    slow: bool = False

    @property
    def sweep(self) -> bool:
        return self.arguments[0] == "-m" or self.arguments[0].startswith("+experiment=")


MAIN = ("-m", "metric=fsi,dprime,wilcoxon,ttest", "layer=conv2,conv13")
COMMANDS = {
    "main": Command((*MAIN, "figures=false", *SMALL)),
    "main_full": Command(MAIN, slow=True),
    "threshold": Command(
        ("-m", "metric=fsi", "threshold.fsi=0.1,0.2,0.3", "figures=false", *SMALL)
    ),
    "other_metrics": Command(("-m", "metric=auc,cohens_d,welch_t", *MATERIAL, *PLAIN), slow=True),
    "figure1": Command(
        (
            "+experiment=figure1",
            "layer=conv7,conv13",
            "aggregation=unit,l2",
            "metric=fsi,dprime",
            *SMALL,
        ),
        tables=False,
    ),
    "figure1_full": Command(
        (
            "+experiment=figure1",
            "layer=conv2,conv7,conv13",
            "aggregation=unit,mean,l2,max",
            *MATERIAL,
        ),
        tables=False,
        slow=True,
    ),
    "sensitivity": Command(
        (
            "+experiment=threshold_sensitivity",
            "metric=fsi,ttest",
            "threshold=level_1,paper,level_9",
            "figures=false",
            *MATERIAL,
        ),
        tables=False,
        slow=True,
    ),
    "sensitivity_full": Command(
        ("+experiment=threshold_sensitivity", *MATERIAL), tables=False, slow=True
    ),
    "greedy": Command(("lesion=greedy", "lesion.fraction=0.04", *SMALL)),
    "unit": Command(("aggregation=unit", *SMALL)),
    "alexnet": Command(
        (
            "model=torchvision",
            "model.name=alexnet",
            "model.weights=null",
            "model.input_size=64",
            "model.resize=64",
            "layer=module",
            "layer.name=features.3",
            "figures=false",
            # Features of an untrained network hardly vary between images: a readout of them, and
            # lesions judged by it, magnify what processors round otherwise to per cents.
            "lesion=none",
            *MATERIAL,
        )
    ),
}


def run_golden(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command of this name, run in `folder`, whose cache all may share."""
    kind = "sweep" if COMMANDS[name].sweep else "run"
    places = [f"hydra.{kind}.dir={name}", f"tracking.experiment={name}"]
    return finished(run_app(folder, *COMMANDS[name].arguments, *places))


def differences(name: str, folder: Path) -> list[str]:
    """From what was kept of the command of this name, which was run in `folder`."""
    now = collect.of_folder(folder, name, tables=COMMANDS[name].tables)
    return collect.differences(collect.read(name), now, name)


def found(name: str, folder: Path) -> collect.Found:
    """What the command of this name finds, run in `folder`."""
    run_golden(name, folder)
    return collect.of_folder(folder, name, tables=COMMANDS[name].tables)


# ------------------------------------------------------------------------------- refused commands

# What fits no network or layer.
UNFIT = {
    "torchvision without a name": ["model=torchvision"],
    "timm without a module": ["model=timm", "model.name=test_vit"],
    "module without a name": ["layer=module"],
    "weights of no library": ["model.weights=DEFAULT"],
    "module and checkpoint": ["model=timm", "model.name=test_vit", "layer=module",
                              "layer.name=blocks.0", "model.checkpoint=x.pth"],
    "unknown output": ["layer=module", "layer.name=features.0", "layer.output=image"],
    "unknown interpolation": ["model.interpolation=cubic"],
    "tokens read as maps": ["model=timm", "model.weights=null", "model.name=test_vit",
                            "layer=module", "layer.name=blocks.0"],
}  # fmt: skip

# What a file of a colleague's, merged into Hydra's own settings, may hold.
UNTRUSTED = {
    "callback": {"callbacks": {"x": {"_target_": "os.system", "command": "true"}}},
    "the sweep's own callback": {"callbacks": {"sweep": {"_target_": "os.system"}}},
    "nested": {"callbacks": {"x": {"a": [{"b": {"_target_": "os.system"}}]}}},
    "own code that is no callback": {"callbacks": {"x": {"_target_": "app.commandline.run"}}},
    "target by reference": {"callbacks": {"x": {"_target_": "${target}"}}},
    "callback made by a resolver": {"callbacks": {"x": "${oc.create:'{_target_: os.system}'}"}},
    "callbacks by reference": {"callbacks": "${metric.options}"},
    "callback that is none": {"callbacks": {"sweep": None}},
    "launcher": {"launcher": {"_target_": "subprocess.Popen"}},
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

REFUSED = [
    *(f"input: {case}" for case in CASES),
    *(f"network: {case}" for case in UNFIT),
    *(f"trust: {case}" for case in UNTRUSTED),
]


def untrusted_files(folder: Path) -> Path:
    """A config folder with an experiment of each of `UNTRUSTED`."""
    experiments = folder / "conf" / "experiment"
    experiments.mkdir(parents=True)
    for number, content in enumerate(UNTRUSTED.values()):
        text = "# @package _global_\n" + json.dumps({"hydra": content})  # which is YAML, too
        (experiments / f"untrusted{number}.yaml").write_text(text)
    return folder / "conf"


def untrusted_words(case: str, folder: Path) -> list[str]:
    """What a user would type who tries an experiment of that folder."""
    experiment = f"+experiment=untrusted{list(UNTRUSTED).index(case)}"
    launcher = ["hydra/launcher=submitit_slurm"] if "launcher" in UNTRUSTED[case] else []
    return ["--config-dir", str(folder), experiment, "tracking=none", *launcher]


def refusal(case: str, material: Path, outputs: Path) -> refused.Refusal:
    """What a refused command says.

    `material` is that of `tests.test_bad_input`, with `untrusted_files` in its folder `untrusted`.
    """
    table, _, name = case.partition(": ")
    if table == "input":
        module, arguments, environment = asked(name, material, outputs)
        process = run_app(outputs, *arguments, module=module, **environment)
    elif table == "network":
        process = run_app(outputs, *UNFIT[name], "tracking=none")
    else:
        process = run_app(outputs, *untrusted_words(name, material / "untrusted/conf"))
    return refused.told(process, root=material, outputs=outputs)
