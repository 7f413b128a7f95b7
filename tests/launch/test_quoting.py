"""What a command line may hold, and the override in full where Hydra would read another."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from app import cache, report, train
from app.__main__ import announce
from app.config import schema
from app.errors import InputError
from app.launch import trust
from app.launch.commandline import CONFIG_FOLDER, Parser
from app.launch.quoting import spell_numbers, type_override

COMMANDS = (cache, report, train)  # imported, they have registered what their configs hold


def refusal(*words: str, config: str = "config") -> str:
    """The line that a command ends with whose words are refused."""
    schema.register()
    options = Parser(parents=[get_args_parser()], add_help=False).parse_args(words)
    with pytest.raises(InputError) as caught:
        trust.check_command(options, CONFIG_FOLDER, config)
    return str(caught.value)


def typed(line: str) -> list[str]:
    """The overrides in a line, as a shell would hand them on."""
    return [word.rstrip(";,") for word in shlex.split(line)]


def read(word: str) -> object:
    """What an override means, references followed."""
    value = OverridesParser.create().parse_override(word).value()
    return OmegaConf.to_container(OmegaConf.create({"is": value}), resolve=True)["is"]


@pytest.mark.parametrize("value", ["a=b", "x (1)", "Tür", "it's", 'say "no"', "ends in \\", "a,b"])
def test_an_override_is_typed_so_that_its_text_arrives(value: str):
    (word,) = shlex.split(type_override("model.checkpoint", value))
    assert OverridesParser.create().parse_override(word).value() == value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "correction"),
    [
        (["faces.root=/a=b"], 'faces.root="/a=b"'),
        (["stimuli.root=/my", "stimuli", "of 2020"], 'stimuli.root="/my stimuli of 2020"'),
        (["-m", "target=a=b,face"], 'target="a=b",face'),
        (["-m", "target=a=b,face"], 'target="a=b,face"'),
        (["stimuli.leave_out=[Tür,a b,a=b]"], 'stimuli.leave_out=["Tür",a b,"a=b"]'),
        (["stimuli.leave_out=a,b"], "stimuli.leave_out=[a,b]"),
        (["-m", "layer=module", "layer.name=0.10,0.2"], 'layer.name="0.10"'),
        (["tracking.experiment=2026_11"], 'tracking.experiment="2026_11"'),
        (["tracking.experiment=true"], 'tracking.experiment="true"'),
        (["-m", "target=faces,null"], 'target="null"'),
    ],
)
def test_the_override_stands_in_the_line_as_it_is_to_be_typed(words: list[str], correction: str):
    assert correction in typed(refusal(*words))


@pytest.mark.parametrize("word", ["threshold.fsi=range(1,0.5)", "layer=glob(conv99*)"])
def test_a_sweep_of_nothing_is_refused(word: str):
    assert f"{word.partition('=')[0]}: its sweep stands for no value" in refusal("-m", word)


def test_names_in_a_mapping_are_quoted_where_they_need_it():
    plain = typed(refusal("stimuli.domains={faces (adult):[a],b:[Tür,c d]}"))[-1]
    assert read(plain) == {"faces (adult)": ["a"], "b": ["Tür", "c d"]}
    whole = typed(refusal("stimuli.domains={Tür:[a],b=c:[1e3]}"))[-1]  # no key for Hydra
    assert read(whole) == {"Tür": ["a"], "b=c": ["1e3"]}
    spaced = typed(refusal("stimuli.domains={\"a+b\": [c, d], 'e f': [g]}"))[-1]
    assert read(spaced) == {"a+b": ["c", "d"], "e f": ["g"]}


def test_a_path_with_a_comma_is_no_sweep(tmp_path: Path):
    (tmp_path / "Ekman, 1976").mkdir()
    words = ["-m", "metric=fsi,ttest", f"stimuli.root={tmp_path}/Ekman, 1976"]
    assert f'stimuli.root="{tmp_path}/Ekman, 1976"' in typed(refusal(*words))


def test_what_is_sound_is_let_through():
    many = ",".join(f"0.{number:03}" for number in range(100))  # longer than a path may be
    words = ["-m", f"threshold.fsi={many}", "layer=conv2,conv13", "target=1e3", "seed=1,2"]
    options = Parser(parents=[get_args_parser()], add_help=False).parse_args(words)
    schema.register()
    composed = trust.check_command(options, CONFIG_FOLDER, "config")
    assert composed is not None and composed.sweeps
    assert composed.overrides == [*words[1:], "hydra.mode=MULTIRUN"]
    assert announce(composed.config, words[1:], True) == f"A sweep: {' '.join(words[1:])}"
    asked = "dualtask_mini / conv13 / fsi / paper / l2 / synthetic / 1000.0 / 0"
    assert announce(composed.config, [], False) == asked


@pytest.mark.parametrize(
    ("word", "spelled"),
    [
        ("threshold.fsi=range(0.1,0.4,0.1)", "threshold.fsi=0.1,0.2,0.3"),
        ("threshold.fsi=range(0.6,0.9,0.1)", "threshold.fsi=0.6,0.7,0.8"),  # not 0.9, as Hydra has
        ("+a=range(1,0.5,-0.25)", "+a=1.0,0.75"),
        ("threshold.fsi=sort(range(0.1,0.4,0.1),reverse=true)",
         "threshold.fsi=sort(choice(0.1,0.2,0.3),reverse=true)"),
        ("x=shuffle(range(0.1,0.4,0.1))", "x=shuffle(choice(0.1,0.2,0.3))"),
        ("x=tag(a, sort(range(step=0.1, start=0.6, stop=0.9)))",
         "x=tag(a, sort(choice(0.6,0.7,0.8)))"),
        ("x=sort(range(1,4))", "x=sort(range(1,4))"),
        ("x=range(1,0.5)", "x=range(1,0.5)"),  # which is refused elsewhere
        ("x='range(0.1,0.4,0.1)'", "x='range(0.1,0.4,0.1)'"),
        ("seed=range(1,4)", "seed=range(1,4)"),
        ("seed=1", "seed=1"),
        ("threshold.fsi=0.30000000000000004,0.4", "threshold.fsi=0.3,0.4"),
        ("model.mean=[0.7999999999999999, 1]", "model.mean=[0.8, 1]"),
        ("metric.criterion.presets={paper: 0.30000000000000004}",
         "metric.criterion.presets={paper: 0.3}"),
        ("x=choice(0.30000000000000004,1)", "x=choice(0.3,1)"),
        ("x=110.00000000000001", "x=110.0"),
        ("stimuli.root=a-0.30000000000000004/b", "stimuli.root=a-0.30000000000000004/b"),
        ("target='0.30000000000000004'", "target='0.30000000000000004'"),
        ("threshold.fsi=0.30000000000123457", "threshold.fsi=0.30000000000123457"),
    ],
)  # fmt: skip
def test_fractions_are_what_they_mean_and_ranges_end_before_their_stop(word: str, spelled: str):
    assert spell_numbers(word) == spelled


@pytest.mark.parametrize(
    ("config", "word", "right"),
    [("train", "faces.root=/ä", 'faces.root="/ä"'), ("report", "run=a,b", 'run="a,b"'),
     ("report", "run=12e3", 'run="12e3"'), ("cache", "cache=~/x", 'cache="~/x"')],
)  # fmt: skip
def test_all_commands_tell_it(config: str, word: str, right: str):
    assert right in typed(refusal(word, config=config))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "config"),
    [("layer=null", "config"), ("stimuli.size=null", "config"), ("lesion.faces=null", "config"),
     ("epochs=null", "train"), ("run=null", "report"), ("prune=null", "cache")],
)  # fmt: skip
def test_null_for_what_needs_a_value(word: str, config: str):
    assert refusal(word, config=config).startswith(f"{word}: it needs a value")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "said"),
    [("/a=b", "is no name of a setting"), ("lesion.sets=[1", "brackets do not match"),
     ("threshold.fsi=range(0,1,0.5)", "with -m before"), ("metric=fsi,ttest", "with -m before")],
)  # fmt: skip
def test_what_else_is_wrong(word: str, said: str):
    line = refusal(word)
    assert said in line and "type" not in line
