"""What a command line would compose is checked before Hydra acts on it, every job's config too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from app.errors import InputError
from app.launch import trust
from app.launch.commandline import CONFIG_FOLDER, Parser, told
from tests.composing import register
from tests.conftest import SMALL, finished, run_app

CALL = "hydra: {callbacks: {more: {_target_: os.system, command: 'true'}}}"
FILES = {
    "experiment/sound": "# @package _global_\nseed: 1",
    "experiment/harm": f"# @package _global_\n{CALL}",
    "experiment/sweeps": """# @package _global_
hydra: {mode: MULTIRUN, sweeper: {params: {+pair@_global_: 'a_b,b_b'}}}""",
    "pairs": "defaults: [first: a, second: a, pair@_global_: '${first}_${second}']",
    **{f"{name}/{value}": "seed: 1" for name in ("first", "second") for value in "ab"},
    **{f"pair/{first}_{second}": "seed: 2" for first in "ab" for second in "ab"},
    "pair/b_b": CALL,
    "elsewhere": "hydra: {searchpath: ['pkg://antigravity']}",
    "nowhere": "hydra: {searchpath: ['file:///no/such/folder']}",
}  # fmt: skip


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A colleague's folder of configs; its name needs quotes."""
    folder = tmp_path_factory.mktemp("a colleague's, [old]")
    for name, content in FILES.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return str(folder)


def check(*arguments: str) -> None:
    register()
    options = Parser(parents=[get_args_parser()], add_help=False).parse_args(arguments)
    trust.check_command(options, CONFIG_FOLDER, "config")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["-cd", "{}", "+experiment=harm"],
        ["hydra.searchpath=['file://{}']", "+experiment=harm"],
        ["-m", "-cd", "{}", "+experiment=sound,harm"],
        ["-m", "-cd", "{}", "+experiment=glob(*)"],
        ["-cd", "{}", "+experiment=sweeps"],
        ["-cp", "{}", "-cn", "pairs", "-m", "first=a,b", "second=a,b"],
        ["-cd", "{}", "--help", "+experiment=harm"],
        ["-cd", "{}", "--hydra-help", "+experiment=harm"],
        ["--config-d", "{}", "--info", "all", "+experiment=harm"],
    ],
)
def test_no_file_escapes(foreign: str, words: list[str]):
    folder = foreign.replace("'", "\\'") if "{}" not in words else foreign
    with pytest.raises(InputError, match="callbacks.more._target_=os.system is refused"):
        check(*(word.format(folder) for word in words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra.searchpath=[pkg://antigravity]"], "hydra.searchpath=pkg://antigravity is refused"),
        (["hydra.searchpath=[pkg://antigravity]", "--cfg", "job"], "is refused"),
        (["-cd", "{}", "-cn", "elsewhere"], "hydra.searchpath=pkg://antigravity is refused"),
        (["-cp", "{}", "-cn", "elsewhere.yaml"], "hydra.searchpath=pkg://antigravity is refused"),
        (["-cp", "{}", "-cn", "nowhere"], "is no folder"),
        (["-cp", "pkg://antigravity"], "--config-path=pkg://antigravity is refused"),
        (["-cp", "../conf"], "the absolute path of a folder"),
        (["--experimental-rerun", "a.pickle"], "--experimental-rerun=a.pickle is refused"),
    ],
)  # fmt: skip
def test_nothing_is_imported_or_unpickled(foreign: str, words: list[str], said: str):
    with pytest.raises(InputError, match=said):
        check(*(word.format(foreign) for word in words))
    assert "antigravity" not in sys.modules


def test_a_swept_value_may_not_bring_credentials(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(os.environ, "MIRROR", "http://me:word@host")
    with pytest.raises(InputError, match="… holds credentials"):
        check("-m", "stimuli=floc", "stimuli.address=http://host,'${oc.env:MIRROR}'")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-m", "metric=fsi,ttest", "layer=conv1,conv2"],
        ["+experiment=figure1"],
        ["-m", "-cd", "{}", "+experiment=sound", "metric=fsi,ttest"],
        ["-cp", "{}", "-cn", "pairs", "-m", "first=a", "second=a,b"],
        ["-cd", "{}/nowhere"],
        ["-sc", "query=bash"],
    ],
)
def test_what_is_sound_is_let_through(foreign: str, words: list[str]):
    check(*(word.format(foreign) for word in words))


@pytest.mark.parametrize("option", [["--help"], ["--cfg", "all"], ["--info"], ["-sc"]])
def test_what_only_prints_is_not_composed_first(monkeypatch: pytest.MonkeyPatch, option: list[str]):
    monkeypatch.setattr(trust, "_check_composed", None)
    check(*option)


def test_the_program_s_own_folder_is_known(tmp_path: Path):
    """Through a link, as a folder may be reached: it is someone else's then, and checked whole."""
    (tmp_path / "conf").symlink_to(CONFIG_FOLDER)
    check("-cp", str(tmp_path / "conf"), "-m", "metric=fsi,ttest")


def test_who_has_read_enough_is_told_nothing(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(BrokenPipeError), told(debug=False):
        raise BrokenPipeError
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_terminal_and_files_that_are_no_utf8(tmp_path: Path):
    """As with LANG=en_US.ISO-8859-1: d' is written with a sign that neither has."""
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    words = ["-m", "metric=dprime,fsi", "layer=conv13", "aggregation=l2", "lesion=none",
             "decoding=none", "figures=false", "tracking=none", *SMALL]  # fmt: skip
    process = finished(run_app(tmp_path, *words, fresh=True, **plain))
    assert "2 of 2 jobs finished" in process.stdout and " d? " in process.stdout
    (folder,) = tmp_path.glob("outputs/sweeps/*/*")
    for file in ("0/config.yaml", "report/report.md"):
        assert "d′" in (folder / file).read_text(encoding="utf-8")
