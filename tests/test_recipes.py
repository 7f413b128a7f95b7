"""Every recipe's selection against a few lines of scipy and statsmodels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from app import experiment
from app.config.schema import Config
from app.errors import InputError
from app.experiment import Job
from app.launch.commandline import CONFIG_FOLDER
from app.memo import Memo
from app.models.network import open_network
from app.responses.hardware import Hardware
from app.responses.units import Units
from app.stimuli.localizer import make_localizer
from app.sweeps.results import Result
from tests.composing import check_config
from tests.conftest import MATERIAL, SMALL, finished, run_app

RECIPES = sorted(path.stem for path in (CONFIG_FOLDER / "recipe").glob("*.yaml"))
QUICK = [*MATERIAL, "stimuli.images_per_category=24", "certainty=none", "tracking=none"]
LAYERS = ("conv12", "conv13")
pytestmark = pytest.mark.slow

Groups = list[NDArray[np.float32]]  # (images, units) each, the target's first


def ask(folder: Path, *words: str, layer: str = "conv13", layers: tuple[str, ...] = ()) -> Result:
    """What a run in this process finds."""
    config = check_config(*QUICK, f"layer={layer}", f"cache={folder}/cache", *words)
    results = folder / str(len(list(folder.iterdir())))
    return experiment.run(config, results, Job(figures=False, layers=layers))


def read_table(found: Result, name: str = "scores") -> pd.DataFrame:
    return pd.read_parquet(Path(found.folder) / f"{name}.parquet")


def read(config: Config, over: str = "domains") -> Groups:
    """The responses of a layer's single units, in the groups that are compared."""
    memo = Memo(config.cache)
    network, _ = open_network(config.model, config.layer, memo)
    shown = make_localizer(config.stimuli, memo)
    labels, domains = np.array(shown.images.labels), shown.domains
    blocks = [
        (numbers, part.copy())
        for numbers, part in Units(network, config.layer.name).read(
            shown.images, Hardware.choose(config), 8
        )
    ]
    order = np.argsort(np.concatenate([numbers for numbers, _ in blocks]))
    responses = np.concatenate([part for _, part in blocks], axis=1)[:, order]
    others = [members for domain, members in domains.items() if domain != "faces"]
    if over == "categories":
        others = [[name] for members in others for name in members]
    return [responses[np.isin(labels, [*own])] for own in (domains["faces"], *others)]


def correct(p: NDArray[np.float64], method: str) -> NDArray[np.bool_]:
    """What a false discovery rate of 0.05 rejects of the tests that are defined."""
    rejected = np.zeros(len(p), bool)
    rejected[~np.isnan(p)] = multipletests(p[~np.isnan(p)], 0.05, method)[0]
    return rejected


def by_t_tests(groups: Groups, method: str) -> NDArray[np.bool_]:
    tests = [stats.ttest_ind(groups[0], other) for other in groups[1:]]
    return np.all([correct(test.pvalue, method) & (test.statistic > 0) for test in tests], axis=0)


def by_ranks(groups: Groups) -> NDArray[np.bool_]:
    p = [stats.mannwhitneyu(groups[0], o, method="asymptotic").pvalue for o in groups[1:]]
    prefers = np.argmax([own.mean(axis=0, dtype=float) for own in groups], axis=0) == 0
    return prefers & (np.max(p, axis=0) < 0.001)


def by_t(groups: Groups, equal_var: bool) -> NDArray[np.float64]:
    return stats.ttest_ind(groups[0], np.concatenate(groups[1:]), equal_var=equal_var).statistic


SCRIPTS: dict[str, Callable[[Groups], NDArray[np.bool_]]] = {
    "lado2025": lambda groups: by_t_tests(groups, "fdr_bh"),
    "lado2025_categories": lambda groups: by_t_tests(groups, "fdr_bh"),
    "baek2021": by_ranks,
    "prince2024": lambda groups: by_t_tests(groups, "fdr_by"),
    # With so few images t reaches no 10, which is the recipe's.
    "margalit2024 threshold.welch_t=4": lambda groups: by_t(groups, equal_var=False) > 4,
    "floc": lambda groups: by_t(groups, equal_var=True) > 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


def test_each_has_a_test():
    assert {*(words.split()[0] for words in SCRIPTS), "langloc", "dobs2022"} == {*RECIPES}
    assert check_config("+recipe=margalit2024").metric.criterion.threshold == 10
    lesion = check_config("+recipe=dobs2022").lesion  # the search: `tests.findings.test_greedy`
    assert (lesion.name, lesion.fraction, lesion.group_size) == ("greedy", 0.2, 1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # scipy's, of constant units
@pytest.mark.parametrize("recipe", SCRIPTS)
def test_a_script_selects_the_same_units(recipe: str, folder: Path):
    words = *f"+recipe={recipe}".split(), "aggregation=unit"
    config = check_config(*QUICK, f"cache={folder}/cache", *words)
    groups = read(config, config.metric.over)
    assert len(groups) == {"lado2025_categories": 9, "baek2021": 6, "prince2024": 6}.get(recipe, 5)
    table = read_table(ask(folder, *words))
    selected = table[f"selected_{config.metric.name}"]
    np.testing.assert_array_equal(selected, SCRIPTS[recipe](groups))
    assert 0 < selected.sum() < len(table)
    if recipe == "prince2024":  # what its code stores
        t = [stats.ttest_ind(groups[0], other).statistic for other in groups[1:]]
        np.testing.assert_allclose(table["ttest"], np.nanmean(t, axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("words", "count"), [([], None), (["threshold.welch_t=37"], 37)])
def test_the_highest_of_all_layers_together(words: list[str], count: int | None, folder: Path):
    asked = ["+recipe=langloc", *words]
    t, selected = [], []
    for layer in LAYERS:
        found = ask(folder, *asked, layer=layer, layers=LAYERS)
        assert "welch_t selects from all layers that are asked together, here 2" in str(found.notes)
        selected.append(read_table(found)["selected_welch_t"].to_numpy())
        config = check_config(*QUICK, f"cache={folder}/cache", *asked, f"layer={layer}")
        t.append(by_t(read(config), equal_var=False))
    together = np.concatenate(t)
    cut = np.sort(together[~np.isnan(together)])[::-1][(count or len(together) // 100) - 1]
    for own, found in zip(t, selected, strict=True):
        np.testing.assert_array_equal(found, own >= cut)
    assert sum(map(np.sum, selected)) == (count or len(together) // 100)
    assert len({int(each.sum()) for each in selected}) == 2, "not as many of each"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["+recipe=prince2024", "stimuli.domains.scrambled=[noise]"], "the category 'noise'"),
        (["+recipe=langloc", "threshold.welch_t=99999"], "=99999 is more than the 2048 units"),
        (["+recipe=langloc", "threshold.welch_t=2.5"], "=2.5 is out of range: a fraction below 1"),
        (["metric=dprime", "metric.criterion.of=layers"], "of=layers is for criterion.rule=top"),
        (["metric=dprime", "metric.criterion.rule=fdr_bh", "threshold.dprime=0.05"], "p-values"),
        (["metric=target_mean", "metric.score=mean"], "take metric.score=smallest"),
        (["metric.score=median"], "metric fsi: score=median is unknown: it is one of smallest, me"),
    ],
)
def test_refused(words: list[str], line: str, folder: Path):
    with pytest.raises(InputError, match=f"^[^\n]*{line}[^\n]*$"):
        ask(folder, "lesion=none", "decoding=none", *words)


def test_categories_that_are_the_domains_are_told(folder: Path):
    left = "stimuli.leave_out=[limb,number,corridor,instrument]"
    words = "+recipe=lado2025_categories", left, "lesion=none", "decoding=none"
    assert "metrics.ttest.over=categories is as domains" in str(ask(folder, *words).notes)


def test_recipes_side_by_side(tmp_path: Path):
    """A command line and its report: what recipes select, and share, is what their tables say."""
    words = "+recipe=floc,lado2025,dobs2022", "layer=conv13", "aggregation=l2", *SMALL
    quick = "decoding=none", "lesion.group_size=26", "lesion.sets=[20]", "hydra.sweep.dir=sweep"
    finished(run_app(tmp_path, "+experiment=recipes", *words, *quick))
    table = pd.read_csv(tmp_path / "sweep/report/panel_l.csv").set_index("recipe")
    assert list(table.index) == ["dobs2022", "floc", "lado2025"]
    jobs = pd.read_csv(tmp_path / "sweep/report/jobs.csv").set_index("recipe")["job"]

    def read(recipe: str, name: str) -> pd.DataFrame:
        return pd.read_parquet(tmp_path / f"sweep/{jobs[recipe]}/{name}.parquet")

    chosen = {name: read(name, "scores")["selected_ttest"] for name in ("floc", "lado2025")}
    lesions, sets = (read("dobs2022", name) for name in ("lesion", "lesion_sets"))
    chosen["dobs2022"] = lesions["face_search_step"].notna()
    first = lesions.nlargest(26, "face_loss")["kernel"]  # a fifth, in one search
    assert set(first) == set(lesions.loc[chosen["dobs2022"], "kernel"])
    for name, mask in chosen.items():
        assert table.loc[name, "count"] == mask.sum()
        for other in chosen.keys() - {name}:
            shared = (mask & chosen[other]).sum() / (mask | chosen[other]).sum()
            assert table.loc[name, f"jaccard_{other}"] == pytest.approx(shared)
    intact = lesions["intact_face_top1"].iloc[0]
    random = sets.loc[(sets["set"] == "random") & (sets["kernels"] == 26), "face_top1"].mean()
    assert table.loc["dobs2022", "random_face_cost"] == pytest.approx(100 * (intact - random))
    left = lesions.loc[lesions["face_search_step"] == 1, "face_search_face_top1"].iloc[0]
    assert table.loc["dobs2022", "face_cost"] == pytest.approx(100 * (intact - left))
    text = (tmp_path / "sweep/report/report.md").read_text()
    assert f"floc selects {100 * chosen['floc'].mean():.1f} %" in text
    assert (tmp_path / "sweep/report/panel_l.png").is_file()
