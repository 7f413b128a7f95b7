"""What users get wrong: one line that names culprit and mend, and the exit code.

`COMMANDS` and what needs Hydra's own part run as commands. The others begin where the command does
and take Hydra's part short (see `refuse_here`): the kept line is the same for both.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from PIL import Image

from app.__main__ import job
from app.launch import trust
from app.launch.commandline import CONFIG_FOLDER, Parser, run
from app.models.vgg import WIDTHS_MINI, seeded
from app.stimuli import floc
from tests.composing import compose_config
from tests.conftest import MATERIAL, run_app
from tests.goldens import refused


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm-was-done"),))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wrong_material(tmp_path_factory.mktemp("material"))


def wrong_material(root: Path) -> Path:
    """Folders and checkpoints that are wrong in one way each."""
    rng = np.random.default_rng(0)
    categories = ("adult", "child", "body", "limb", "word", "number", "house", "corridor", "car")
    sound = root / "sound"
    for category in (*categories, "instrument"):
        (sound / category).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (70, 80), dtype=np.uint8)
            Image.fromarray(pixels).save(sound / category / f"{number}.jpg")
    for name in ("single", "text", "truncated", "lacking"):
        shutil.copytree(sound, root / name)
    (root / "single" / "car" / "1.jpg").unlink()
    (root / "text" / "house" / "1.jpg").write_text("I am no picture")
    cut = root / "truncated" / "word" / "0.jpg"
    cut.write_bytes(cut.read_bytes()[:700])
    shutil.rmtree(root / "lacking" / "limb")
    (root / "empty").mkdir()

    state = seeded(0, WIDTHS_MINI, 256, 180, 64).state_dict()
    torch.save(seeded(0, WIDTHS_MINI, 256, 99, 64).state_dict(), root / "other.pt")
    torch.save(Harmful(), root / "harmful.pt")
    (root / "harmful.pth").write_bytes(pickle.dumps({"model_state_dict": Harmful()}, protocol=2))
    broken = {**state, "classifier.0.bias": torch.full((256,), float("nan"))}
    torch.save(broken, root / "nan.pt")
    (root / "junk.safetensors").write_text("junk")
    (root / "a_file").write_text("")
    (root / "mlflow.db").write_text("this is no database " * 100)

    (root / "empty.pt").write_bytes(b"")
    torch.save([torch.zeros(3)], root / "list.pt")
    torch.save({**state, "classifier.0.bias": "a word"}, root / "word.pt")
    torch.save({}, root / "nothing.pt")
    (root / "long.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    for name in ("hollow", "dangling", "huge", "nested"):
        shutil.copytree(sound, root / name)
    (root / "hollow" / "adult" / "0.jpg").write_bytes(b"")
    (root / "dangling" / "adult" / "0.jpg").unlink()
    (root / "dangling" / "adult" / "0.jpg").symlink_to("nowhere.jpg")
    (root / "huge" / "adult" / "0.jpg").unlink()
    (root / "huge" / "adult" / "0.png").write_bytes(png(100_000, 100_000))
    (root / "nested" / "adult" / "0.jpg").unlink()
    (root / "nested" / "adult" / "0.jpg").mkdir()
    for person, count in (("Ann", 3), ("Bo", 1)):
        (root / "people" / person).mkdir(parents=True)
        for number in range(count):
            shutil.copy(sound / "adult" / "0.jpg", root / "people" / person / f"{number}.jpg")
    shutil.copytree(root / "people" / "Ann", root / "alone" / "Ann")
    shutil.copytree(sound / "car", root / "classes" / "car")
    lines = [f"class{number}" for number in range(120)]
    (root / "twice.txt").write_text("\n".join(["class1", *lines[:119]]))
    (root / "short.txt").write_text("car\n")
    (root / "other.txt").write_text("\n".join(lines))
    (root / "binary.txt").write_bytes(b"\xff\xfe\x00")

    conf = root / "conf" / "experiment"
    conf.mkdir(parents=True)
    for name, content in FILES.items():
        (conf / f"{name}.yaml").write_text(content)
    return root


def png(width: int, height: int) -> bytes:
    """The head of a PNG file of this size, with next to nothing in it."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 100)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


# Experiments of a colleague's, in a folder that --config-dir names.
FILES = {
    "broken": "target: [faces",
    "tagged": "seed: !!python/object/apply:pathlib.Path.touch [harm-was-done]",
    "unknown": "# @package _global_\nmetrik: fsi\n",
    "callback": """# @package _global_
hydra:
  callbacks:
    more: {_target_: pathlib.Path.touch, _args_: [harm-was-done]}
""",
    "log": """# @package _global_
hydra:
  job_logging:
    handlers:
      more: {(): pathlib.Path, name: harm-was-done}
""",
    "environment": """# @package _global_
hydra:
  job:
    env_set: {GIT_CONFIG_COUNT: '1'}
""",
    "secret": """# @package _global_
stimuli: {address: 'http://me:hunter2@127.0.0.1:9'}
""",
}


CASES = {
    "unknown metric": (["metric=fsy"], ["metric", "fsy", "wilcoxon"]),
    "unknown key": (["metrik=fsi"], ["metrik"]),
    "value of the wrong type": (["batch_size=many"], ["batch_size", "many"]),
    "not an override": (["layer"], ["layer"]),
    "layer the model lacks": (["layer.name=conv14"], ["layer.name=conv14", "conv13"]),
    "threshold out of range": (["threshold.fsi=2"], ["threshold.fsi=2", "between -1 and 1"]),
    "probability out of range": (["metric=wilcoxon", "threshold.wilcoxon=-1"], ["between 0 and 1"]),
    "threshold of no metric": (
        ["threshold.fsii=0.1"],
        [
            "threshold.fsii=0.1",
            "'fsii'",
            "auc, ccmas, class_selectivity, cohens_d, dprime, fsi, lifetime_sparseness, "
            "mutual_information, precision, target_mean, ttest, welch_t, wilcoxon",
        ],
    ),
    "threshold that is no number": (["threshold.auc=high"], ["threshold.auc=high", "not a number"]),
    "fraction of no kernels": (["lesion=greedy", "lesion.fraction=0"], ["lesion.fraction=0.0"]),
    "fraction above all": (["lesion=greedy", "lesion.fraction=1.5"], ["lesion.fraction=1.5"]),
    "fraction that is none": (["lesion.fraction=nan"], ["lesion.fraction=nan", "above 0"]),
    "set of no kernels": (["lesion.sets=[0,5]"], ["lesion.sets=[0, 5]", "1 to 100"]),
    "a set twice": (["lesion.sets=[5,5]"], ["lesion.sets=[5, 5]", "each once"]),
    "no random kernels": (["lesion.random_draws=0"], ["lesion.random_draws=0", "at least 1"]),
    "no kernels a group": (["lesion=greedy", "lesion.group_size=0"], ["lesion.group_size=0"]),
    "unknown lesion": (
        ["lesion.name=both"],
        ["lesion.name=both", "single, attribution, greedy, none"],
    ),
    "target that is no domain": (["target=cats"], ["target=cats", "faces, bodies"]),
    "no root": (["stimuli=folder"], ["stimuli.root"]),
    "fLoc from where nothing listens": (
        ["stimuli=floc", "stimuli.address=http://127.0.0.1:9", "stimuli.folder={root}/fetched"],
        ["http://127.0.0.1:9/stimuli/", "Connection refused"],
    ),
    "fLoc into a file": (
        ["stimuli=floc", "stimuli.folder={root}/a_file/floc"],
        ["a_file", "stimuli.folder=<folder>"],
    ),
    "missing folder": (
        ["stimuli=floc", "stimuli.root={root}/nowhere"],
        ["nowhere", "no folder|not a folder"],
    ),
    "empty folder": (["stimuli=folder", "stimuli.root={root}/empty"], ["empty", "stimuli.root"]),
    "folder lacks a category": (["stimuli=floc", "stimuli.root={root}/lacking"], ["limb"]),
    "category of one image": (["stimuli=floc", "stimuli.root={root}/single"], ["car", "two"]),
    "target of a folder": (["stimuli=folder", "stimuli.root={root}/sound"], ["faces", "adult"]),
    "text called jpg": (
        ["stimuli=floc", "stimuli.root={root}/text"],
        ["house/1.jpg", "not an image"],
    ),
    "truncated image": (
        ["stimuli=floc", "stimuli.root={root}/truncated"],
        ["word/0.jpg", "truncated"],
    ),
    "no identities": (["identities=folder", "identities.root={root}/nowhere"], ["identities.root"]),
    "no checkpoint given": (["model=dualtask_vgg16"], ["model.checkpoint"]),
    "checkpoint missing": (["model.checkpoint={root}/none.pt"], ["none.pt", "no file"]),
    "checkpoint of another architecture": (
        ["model.checkpoint={root}/other.pt"],
        ["other.pt", "classifier.6.weight", "(99, 256)", "(180, 256)"],
    ),
    "pickle that runs code": (["model.checkpoint={root}/harmful.pt"], ["harmful.pt", "refused"]),
    "old pickle that runs code": (["model.checkpoint={root}/harmful.pth"], ["refused"]),
    "weights not finite": (["model.checkpoint={root}/nan.pt"], ["classifier.0.bias", "256 NaN"]),
    "junk weights": (
        ["model.checkpoint={root}/junk.safetensors"],
        ["junk.safetensors", "cannot be read"],
    ),
    "memory for no row of units": (
        ["aggregation=unit", "layer=conv2", "memory_gb=0.1"],
        ["memory_gb=0.1", "units of conv2", "at least"],
    ),
    "negative memory": (["memory_gb=-4"], ["memory_gb=-4", "positive"]),
    "half precision without a GPU": (
        ["precision=float16", "device=cpu", "stimuli.seed=17"],
        ["precision=float16", "GPU", "precision=float32"],
    ),
    "unknown precision": (["precision=double"], ["precision=double", "float32, float16, bfloat16"]),
    "output folder is a file": (["hydra.run.dir={root}/a_file/run"], ["a_file"]),
    "cache folder is a file": (["cache={root}/a_file/cache"], ["a_file", "cache"]),
    "tracking folder is a file": (["tracking.folder={root}/a_file/mlruns"], ["a_file"]),
    "store that is no database": (["tracking.folder={root}"], ["mlflow.db"]),
    "server that does not answer": (
        ["tracking=server", "tracking.uri=http://127.0.0.1:9"],
        ["http://127.0.0.1:9", "does not answer"],
    ),
    # ------------------------------------------------------------------ the command line itself
    "an option that there is not": (["--sweep"], ["--sweep", "options such as -m", "--help"]),
    "an option after the overrides": (["metric=fsi", "-m", "layer=conv1"], ["-m come before"]),
    "a list without -m": (["metric=fsi,dprime"], ["metric=fsi,dprime", "with -m before"]),
    "an override without a name": (["=3"], ["command line", "--help"]),
    "an unclosed list": (["lesion.sets=[1"], ["[1"]),
    "a reference to nothing": (["target=${{nowhere}}"], ["nowhere", "full_key: target"]),
    "a reference to itself": (["target=${{target}}"], ["Recursive", "full_key: target"]),
    "a variable that is not set": (["target=${{oc.env:NOT_SET_HERE}}"], ["NOT_SET_HERE", "target"]),
    "unknown experiment": (["+experiment=figure9"], ["experiment/figure9", "figure1"]),
    "unknown config folder": (["--config-dir", "{root}/nowhere"], ["nowhere", "not found"]),
    "unknown folder of the search path": (
        ["hydra.searchpath=[file://{root}/nowhere]"],
        ["hydra.searchpath=file://", "nowhere is no folder"],
    ),
    "group left out": (["~metric"], ["metric.name", "Missing mandatory value"]),
    "all metrics left out": (["~metrics"], ["metrics"]),
    "unknown launcher": (["hydra/launcher=slurm"], ["hydra/launcher/slurm", "basic"]),
    "unknown level of logging": (["hydra.job_logging.root.level=LOUD"], ["level=LOUD", "DEBUG"]),
    # ------------------------------------------------------------------------------------ config
    "unknown option of a metric": (
        ["+metric.options.foo=1"],
        ["metric fsi has no option 'foo'", "metric.options.foo=1", "it has none"],
    ),
    "unknown option beside one that is": (
        ["metric=ttest", "+metric.options.foo=1"],
        ["no option 'foo'", "it has equal_variance"],
    ),
    "option of the wrong type": (
        ["metric=ttest", "metric.options.equal_variance=maybe"],
        ["metric.options.equal_variance=maybe", "bool"],
    ),
    "option of an unknown value": (
        ["metric=cohens_d", "metric.options.correction=best"],
        ["'best'", "none, hedges"],
    ),
    "option of a metric in the set": (["+metrics.auc.options.x=1"], ["metrics.auc"]),
    "metric on a device that is none": (
        ["metric=auc", "+metric.options.device=tpu"],
        ["device=tpu", "auto, cpu, cuda"],
    ),
    "range of one number": (["metric.criterion.range=[1]"], ["range=[1.0]", "[low, high]"]),
    "rule that is none": (["metric.criterion.rule=best"], ["criterion.rule=best", "fdr_bh"]),
    "preset without numbers": (
        ["threshold.name=mine"],
        ["threshold=mine", "threshold.fsi=<number>"],
    ),
    "unknown preset": (["threshold=mine"], ["threshold/mine", "paper"]),
    "negative seed": (["seed=-1"], ["seed is negative"]),
    "seed that is no number": (["seed=random"], ["seed=random"]),
    "too many threads": (["threads=100000"], ["threads=100000", "at most 1024"]),
    "no images a batch": (["batch_size=0"], ["batch_size=0", "at least 1"]),
    "GPU that is not there": (["device=cuda", "stimuli.seed=17"], ["device=cuda", "no GPU"]),
    "device that is none": (["device=tpu"], ["device=tpu", "auto, cpu, cuda"]),
    "penalty without end": (["decoding.penalty=inf"], ["decoding.penalty=inf", "finite"]),
    "lesions of no layer": (["lesion.layers=[conv14]"], ["conv14", "conv13"]),
    "decoding of no layer": (["decoding.layers=[conv0]"], ["conv0", "conv13"]),
    "more kernels than the layer has": (
        ["layer=conv2", "decoding.kernels=17"],
        ["decoding.kernels=17", "conv2 of dualtask_mini has 16 kernels"],
    ),
    "more kernels than a module has": (
        ["layer=module", "layer.name=features.0", "decoding.kernels=17"],
        ["decoding.kernels=17", "features.0 of dualtask_mini has 16 kernels"],
    ),
    "negative widths": (
        ["model.widths=[-1,16,32,32,64,64,64,128,128,128,128,128,128]"],
        ["model.widths=[-1, 16", "1 or more"],
    ),
    "mean that is no number": (["model.mean=[nan,0,0]"], ["model.mean", "one number per RGB"]),
    "crop outside the image": (["model.resize=32"], ["model.resize=32", "model.input_size=64"]),
    "image that does not halve": (
        ["model.input_size=80", "model.resize=80"],
        ["model.input_size=80", "a multiple of 32"],
    ),
    "more faces than outputs": (["model.face_classes=180"], ["model.face_classes=180", "180"]),
    "network without a name": (["model.name="], ["model.name is empty"]),
    "network of no library": (["model.source=hub"], ["model.source=hub", "vgg, torchvision, timm"]),
    "module that the network lacks": (
        ["layer=module", "layer.name=features.99"],
        ["layer.name=features.99", "nearest are"],
    ),
    "output that does not fit": (
        ["layer=module", "layer.name=classifier.6"],
        ["layer.output=map", "take layer.output=vector"],
    ),
    # ----------------------------------------------------------------------------------- stimuli
    "category twice": (
        ["stimuli.domains.faces=[adult,adult]"],
        ["stimuli.domains", "'adult'", "once"],
    ),
    "category in two domains": (["stimuli.domains.faces=[adult,car]"], ["'car'", "one domain"]),
    "domain of nothing": (
        ["+stimuli.domains.noise=[static]"],
        ["noise names the category 'static'", "there are adult, child"],
    ),
    "domains that are none": (
        ["stimuli.domains=3"],
        ["stimuli.domains=3", "list of its categories"],
    ),
    "category that leads out": (
        [
            "stimuli=folder",
            "stimuli.root={root}/sound",
            "target=faces",
            "stimuli.domains={{faces:[adult],secrets:[../people]}}",
        ],
        ["no folder '../people'"],
    ),  # fmt: skip
    "fLoc's category that leads out": (
        ["stimuli=floc", "stimuli.folder={root}/fetched", "+stimuli.domains.secrets=[../people]"],
        ["no category '../people'"],
    ),
    "file of an address": (
        ["stimuli=floc", "stimuli.address=file:///etc"],
        ["stimuli.address=file:"],
    ),
    "root that is a file": (
        ["stimuli=folder", "stimuli.root={root}/a_file"],
        ["stimuli.root=", "a_file is not a folder"],
    ),
    "image of no bytes": (
        ["stimuli=floc", "stimuli.root={root}/hollow"],
        ["adult/0.jpg", "not an"],
    ),
    "link to nothing": (
        ["stimuli=floc", "stimuli.root={root}/dangling"],
        ["adult/0.jpg", "No such"],
    ),
    "folder called jpg": (
        ["stimuli=floc", "stimuli.root={root}/nested"],
        ["adult/0.jpg", "Is a directory"],
    ),
    "image that would fill the memory": (
        ["stimuli=floc", "stimuli.root={root}/huge"],
        ["adult/0.png", "10000 million pixels"],
    ),
    "images beyond reason": (["stimuli.size=100000"], ["stimuli.size=100000", "at most 4096"]),
    # -------------------------------------------------------------------------------- identities
    "identity of one image": (
        ["identities=folder", "identities.root={root}/people"],
        ["'Bo'", "identities.root=", "two are needed"],
    ),
    "identities without a folder": (["identities=folder"], ["identities.root=<folder"]),
    "one identity alone": (
        ["identities=folder", "identities.root={root}/alone", "lesion=none"],
        ["identities.root=", "two"],
    ),
    "too few identities": (["identities.count=1"], ["identities.count=1", "at least 2"]),
    "faces of nowhere": (
        ["lesion.faces.root={root}/nowhere"],
        ["lesion.faces.root=", "not a folder"],
    ),
    "root of faces empty": (["lesion.faces.root="], ["lesion.faces.root is empty"]),
    "objects without a list": (
        ["lesion.objects.root={root}/classes"],
        ["has 1 folders", "60 such outputs", "lesion.objects.classes="],
    ),
    "list that is not there": (
        ["lesion.faces.root={root}/classes", "lesion.faces.classes={root}/none.txt"],
        ["lesion.faces.classes=", "none.txt", "No such file"],
    ),
    "list that is no text": (
        ["lesion.faces.root={root}/classes", "lesion.faces.classes={root}/binary.txt"],
        ["binary.txt", "not UTF-8"],
    ),
    "list too short": (
        ["lesion.faces.root={root}/classes", "lesion.faces.classes={root}/short.txt"],
        ["short.txt has 1 lines", "120 such outputs"],
    ),
    "list with a line twice": (
        ["lesion.faces.root={root}/classes", "lesion.faces.classes={root}/twice.txt"],
        ["twice.txt: lines 1 and 3", "'class1'"],
    ),
    "list of others": (
        ["lesion.faces.root={root}/classes", "lesion.faces.classes={root}/other.txt"],
        ["'car'", "other.txt does not list"],
    ),
    "list without its folders": (["lesion.faces.classes={root}/short.txt"], ["lesion.faces.root="]),
    # ------------------------------------------------------------------------------- checkpoints
    "checkpoint of no bytes": (["model.checkpoint={root}/empty.pt"], ["empty.pt cannot be read"]),
    "checkpoint of a list": (["model.checkpoint={root}/list.pt"], ["list.pt", "no state dict"]),
    "checkpoint of nothing": (["model.checkpoint={root}/nothing.pt"], ["no state dict"]),
    "checkpoint with a word": (
        ["model.checkpoint={root}/word.pt"],
        ["word.pt", "lacks classifier.0.bias"],
    ),
    "checkpoint of a false length": (
        ["model.checkpoint={root}/long.safetensors"],
        ["long.safetensors cannot be read"],
    ),
    "checkpoint that is a folder": (["model.checkpoint={root}"], ["model.checkpoint=", "no file"]),
    "builtin that leads out": (
        ["model.checkpoint=builtin:../../vgg.py"],
        ["builtin:../", "no file"],
    ),
    "more outputs than the weights": (["model.outputs=181"], ["(180, 256)", "(181, 256)"]),
    "weights of the wrong library": (
        ["model.weights=DEFAULT"],
        ["model.weights=DEFAULT", "checkpoint"],
    ),
    "network that timm lacks": (
        ["model=timm", "model.name=resnet51", "layer=module", "layer.name=fc"],
        ["model.name=resnet51", "nearest are"],
    ),
    # --------------------------------------------------------------------- paths and environment
    "cache without a name": (["cache="], ["cache is empty"]),
    "tracking without a name": (["tracking.folder="], ["tracking.folder is empty"]),
    "tracking folder that SQLite misreads": (["tracking.folder=a?b"], ["a?b", "choose another"]),
    "address that is none": (
        ["tracking=server", "tracking.uri=ftp://host"],
        ["tracking.uri=ftp://host", "http://host:port"],
    ),
    "password in an address": (
        ["tracking=server", "tracking.uri=http://me:hunter2@127.0.0.1:9"],
        ["tracking.uri=… holds credentials", "MLFLOW_TRACKING_PASSWORD"],
    ),
    "password in the address of images": (
        ["stimuli=floc", "stimuli.address=http://me:hunter2@127.0.0.1:9"],
        ["stimuli.address=… holds credentials", "~/.netrc"],
    ),
    "password with a slash": (
        ["+model.mirror=http://me:/hunter2@127.0.0.1"],
        ["model.mirror=… holds credentials"],
    ),
    "password without an equals sign": (
        ["tracking.uri", "http://me:hunter2@127.0.0.1:9"],
        ["an argument=… holds credentials"],
    ),
    "password in a file": (
        ["--config-dir", "{root}/conf", "+experiment=secret"],
        ["stimuli.address=… holds credentials", "~/.netrc"],
    ),
    "password from a variable": (
        ["MIRROR=http://me:hunter2@127.0.0.1:9", "stimuli.address=${{oc.env:MIRROR}}"],
        ["stimuli.address=… holds credentials", "~/.netrc"],
    ),
    "password copied from the environment": (
        ["MLFLOW_TRACKING_PASSWORD=hunter2", "hydra.job.env_copy=[MLFLOW_TRACKING_PASSWORD]"],
        ["hydra.job.env_copy names MLFLOW_TRACKING_PASSWORD", "leave it out"],
    ),
    "results where none can be": (
        ["hydra.run.dir=/proc/results"],
        ["/proc/results cannot be used"],
    ),
    "images kept where none can be": (
        ["XDG_CACHE_HOME={root}/a_file", "stimuli=floc"],
        ["a_file", "stimuli.folder=<folder>"],
    ),
    # ------------------------------------------------------------- what others' files would call
    "file that is no YAML": (
        ["--config-dir", "{root}/conf", "+experiment=broken"],
        ["broken.yaml"],
    ),
    "file with a tag of Python's": (
        ["--config-dir", "{root}/conf", "+experiment=tagged"],
        ["python/object/apply", "tagged.yaml"],
    ),
    "file with an unknown key": (
        ["--config-dir", "{root}/conf", "+experiment=unknown"],
        ["metrik"],
    ),
    "file with a callback": (
        ["--config-dir", "{root}/conf", "+experiment=callback"],
        ["hydra.callbacks.more._target_=pathlib.Path.touch is refused", "SweepCallback"],
    ),
    "file with a log of its own": (
        ["--config-dir", "{root}/conf", "+experiment=log"],
        ["hydra.job_logging.handlers.more.()=pathlib.Path is refused", "formatter"],
    ),
    "file that sets the environment": (
        ["--config-dir", "{root}/conf", "+experiment=environment"],
        ["hydra.job.env_set.GIT_CONFIG_COUNT=1 is refused", "on the command line"],
    ),
    "callback on the command line": (
        ["+hydra.callbacks.more._target_=os.system"],
        ["hydra.callbacks.more._target_=os.system is refused"],
    ),
    "launcher that is a process": (
        ["hydra.launcher._target_=subprocess.Popen"],
        ["hydra.launcher._target_=subprocess.Popen is refused"],
    ),
    "package of configs": (
        ["hydra.searchpath=[pkg://antigravity]"],
        ["hydra.searchpath=pkg://antigravity is refused", "file://"],
    ),
    # ------------------------------------------------------------------------ the other commands
    "layers of no network": (["@app.layers", "model=timm"], ["model.name=<network>"]),
    "layers of a network without weights": (
        ["@app.layers", "model=dualtask_vgg16"],
        ["model.checkpoint=<path>"],
    ),
    "training of no epochs": (["@app.train", "epochs=0"], ["epochs=0", "at least 1"]),
    "training from a checkpoint": (
        ["@app.train", "model.checkpoint=x"],
        ["leave model.checkpoint out"],
    ),
    "training on one folder": (["@app.train", "faces.root={root}/people"], ["objects.root is not"]),
    "training into a file": (["@app.train", "output={root}/a_file/out"], ["a_file"]),
    "report of no run": (["@app.report", "run=latest"], ["run=latest", "32 digits"]),
    "report without a run": (["@app.report"], ["run=<id of a sweep's parent run>"]),
    "resumption of no sweep": (["@app.resume"], ["required: folder; "]),
}


def asked(case: str, material: Path, outputs: Path) -> tuple[str, list[str], dict[str, str]]:
    """The module, the arguments and the environment of a case."""
    arguments = [word.format(root=material) for word in CASES[case][0]]
    module = arguments.pop(0)[1:] if arguments[0].startswith("@") else "app"
    environment = (
        dict([arguments.pop(0).split("=")])
        if arguments[:1] and arguments[0].partition("=")[0].isupper()
        else {}
    )
    if module == "app":
        arguments += [
            word for word in MATERIAL if word.partition("=")[0] not in " ".join(arguments)
        ]
        if not any(argument.startswith(("cache=", "hydra.run.dir=")) for argument in arguments):
            arguments.append(f"cache={outputs}/cache")
    return module, arguments, environment


# What Hydra says itself or the process counts for, and of the others a few of each kind.
COMMANDS = {
    "an option that there is not", "an option after the overrides", "a list without -m",
    "not an override", "unknown config folder", "all metrics left out", "unknown metric",
    "server that does not answer", "pickle that runs code", "password in an address",
    "memory for no row of units", "file with a callback",
}  # fmt: skip


def needs_command(case: str, module: str, arguments: list[str], environment: dict) -> bool:
    """Whether it runs as a command, in a folder, an environment or a module of its own."""
    folders = any(word.startswith(("hydra.run.dir=", "hydra/launcher=")) for word in arguments)
    return case in COMMANDS or module != "app" or folders or bool(environment)


def refuse_here(
    arguments: list[str], results: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> subprocess.CompletedProcess[str]:
    """What `python -m app` does, in this process; of Hydra only the composing."""
    monkeypatch.setattr(sys, "argv", ["app", *arguments])
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setattr(floc, "RETRIES", 0)  # each waits longer
    process = multiprocessing.current_process()
    monkeypatch.setattr(process, "name", process.name)
    hydra_config = HydraConfig.instance()
    monkeypatch.setattr(hydra_config, "cfg", hydra_config.cfg)

    def start() -> None:
        options = Parser(parents=[get_args_parser()], add_help=False).parse_args()
        if options.config_dir or any("hydra" in word for word in options.overrides):
            trust.check_command(options, CONFIG_FOLDER, "config")
            with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
                config = compose("config", options.overrides, return_hydra_config=True)
        else:  # composed once for both, as a command line is not
            with trust.composing():
                config = compose_config(*options.overrides, hydra=True)
            trust.check(config, options.overrides, CONFIG_FOLDER)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.runtime.output_dir = str(results)
        config.hydra.mode = "RUN"
        hydra_config.set_config(config)
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        job(config)

    with pytest.raises(SystemExit) as ended:
        run(start)
    said = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, ended.value.code, said.out, said.err)


@pytest.mark.parametrize("case", CASES)
def test_one_line_on_standard_error(
    case: str, material: Path, outputs: Path, tmp_path: Path, monkeypatch, capsys
):
    needles = CASES[case][1]
    module, arguments, environment = asked(case, material, outputs)
    if needs_command(case, module, arguments, environment):
        process = run_app(outputs, *arguments, module=module, **environment)
    else:
        monkeypatch.chdir(outputs)
        untracked = [] if "tracking" in str(arguments) else ["tracking=none"]
        process = refuse_here([*arguments, *untracked], tmp_path, monkeypatch, capsys)
    message = process.stderr.strip()
    assert process.returncode == 1, process.stdout + message
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1, message
    assert message.startswith("error: ") and "unexpected" not in message, message
    assert "hunter2" not in message + process.stdout
    for needle in needles:
        assert any(choice in message for choice in needle.split("|")), (needle, message)
    assert not (outputs / "harm-was-done").exists()
    # A new case, or another wording: `python -m tests.goldens refusals`.
    assert refused.told(process, root=material, outputs=outputs) == refused.kept()[f"input: {case}"]


def test_debug_shows_the_traceback(outputs: Path):
    process = run_app(outputs, "target=cats", "debug=true")
    assert process.returncode == 1
    assert "Traceback" in process.stderr and "target=cats is no domain" in process.stderr
