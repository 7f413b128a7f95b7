"""What was shown in a recording: a table of its presentations, and the stimuli they make up."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from app.errors import InputError
from app.files import reading
from app.spelling import spell
from app.stimuli.images import Images
from app.stimuli.localizer import Localizer, check_shown, group

if TYPE_CHECKING:
    from app.config.schema import Stimuli

# As which BIDS, R, NumPy and pandas write what is missing.
MISSING = ("n/a", "NA", "nan", "NaN", "None", "<NA>")

# What is known of a presentation, and what else such a column is called, in BIDS among others.
COLUMNS = {
    "category": ("category_name", "trial_type"),
    "stimulus": ("stimulus_id", "image_id", "stim_file"),
    "repetition": (),
    "identity": (),
}


def find_columns(names: Iterable[str]) -> dict[str, str]:
    """Find which of some names are those of `COLUMNS`, in small letters or large ones."""
    present = {str(name).strip().lower(): name for name in names}
    return {
        column: present[found[0]]
        for column, others in COLUMNS.items()
        if (found := [name for name in (column, *others) if name in present])
    }


def name_columns(values: Mapping[str, Any]) -> pd.DataFrame:
    """Make a table of text of the `COLUMNS` that there are; what is missing is empty."""
    table = pd.DataFrame({column: values[name] for column, name in find_columns(values).items()})
    return table.map(_to_text).astype(object)


def _to_text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():  # of whole numbers, where some are missing
        value = int(value)
    text = "" if pd.isna(value) else spell(str(value)).strip()
    return "" if text in MISSING else text


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of stimuli, .csv, .tsv or .parquet; InputError for one that is none."""
    table = read_columns(path, "responses.stimuli")
    if not find_columns(table.columns):
        raise InputError(
            f"responses.stimuli={path} has none of the columns {', '.join(COLUMNS)}: it has "
            f"{', '.join(map(str, table))}"
        )
    return name_columns(dict(table))


def read_columns(path: Path, setting: str) -> pd.DataFrame:
    """Read a table, .csv, .tsv or .parquet; InputError, by the setting, for one that is none."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".tsv", ".parquet"):
        raise InputError(f"{setting}={path} must be a .csv, .tsv or .parquet table")
    with reading(f"{setting}={path}", path):
        if kind == ".parquet":
            found = pd.read_parquet(path)
        else:
            with open(path, encoding="utf-8-sig") as file:
                separator = max(",;\t", key=file.readline().count)  # a spreadsheet's, by country
            found = pd.read_csv(path, dtype=str, sep=separator, na_filter=False)
    return found.reset_index(drop=True)  # rows count, not their names, which R writes, too


def describe_presentations(
    table: pd.DataFrame | None, own: pd.DataFrame, count: int, path: Path
) -> pd.DataFrame:
    """Say of each of so many presentations what is known of it: a row each.

    `own` is what the recording itself says of them. A table has a row a presentation, or, where the
    recording says which stimulus each presentation was of, a row a stimulus. InputError where they
    do not fit, and for a stimulus that is missing, repeated, or two things at once.
    """
    if table is None:
        told, where = own, f"{path}"
    else:
        told, where = _join(table, own), "responses.stimuli"
    if "category" not in told:
        raise InputError(
            f"{where} does not say the category of each presentation: give "
            "responses.stimuli=<table with a column category>; it has "
            f"{', '.join(map(str, told)) or 'none of ' + ', '.join(COLUMNS)}"
        )
    if len(told) != count:
        raise InputError(
            f"{where} has {len(told)} rows, and {path} {count} presentations: a row each, in their "
            "order, or a row a stimulus where the file has a coordinate stimulus"
        )
    if not told["category"].any():
        raise InputError(f"{where}: the category of each presentation is empty")
    _check_stimuli(told, where)
    return told


def _check_stimuli(told: pd.DataFrame, where: str) -> None:
    """Refuse stimuli that are nameless, repeated, or two things at once; InputError."""
    if "stimulus" not in told:
        if "repetition" in told:
            raise InputError(f"{where} has repetition without stimulus: of what it is one")
        return
    for column in ("category", "identity"):
        if column in told:
            several = told.groupby("stimulus")[column].nunique()
            if (several > 1).any():
                raise InputError(
                    f"{where}: stimulus {several.idxmax()!r} has {several.max()} values of "
                    f"{column}: a stimulus has one"
                )
    if (told["stimulus"] == "").any():
        row = int(np.argmax(told["stimulus"] == ""))
        raise InputError(f"{where}: row {row + 1} has no stimulus")
    if "repetition" in told and (twice := told.duplicated(["stimulus", "repetition"])).any():
        name, number = told.loc[twice, ["stimulus", "repetition"]].iloc[0]
        raise InputError(f"{where} has stimulus {name!r}, repetition {number!r}, twice")


def _join(table: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Give each presentation its stimulus' row, where the recording says which one it was of."""
    if "stimulus" not in table or "stimulus" not in own:
        return table
    if table["stimulus"].equals(own["stimulus"]):
        return pd.concat([table, own.drop(columns=table.columns, errors="ignore")], axis=1)
    twice = table["stimulus"].duplicated()
    if twice.any():
        raise InputError(
            f"responses.stimuli has stimulus {table['stimulus'][twice].iloc[0]!r} twice: a row a "
            "stimulus, or a row a presentation in the file's order"
        )
    lacks = ~own["stimulus"].isin(table["stimulus"])
    if lacks.any():
        raise InputError(
            f"responses.stimuli lacks {own['stimulus'][lacks].nunique()} stimuli of the file, the "
            f"first {own['stimulus'][lacks].iloc[0]!r}"
        )
    rows = table.set_index("stimulus").loc[own["stimulus"]].reset_index()
    return pd.concat([rows, own.drop(columns=rows.columns, errors="ignore")], axis=1)


def make_presented(table: pd.DataFrame, settings: Stimuli, source: str) -> Localizer:
    """Make the localizer of what was shown: stimuli of a category, and those of an identity.

    An image stands for a stimulus; its content is the numbers of its presentations. Categories have
    domains as the settings say. InputError for a category that the table does not have.
    """
    present = list(dict.fromkeys(filter(None, table["category"])))
    domains, left = group(settings, present)
    check_shown(domains, present)
    wanted = [name for own in domains.values() for name in own] or [
        name for name in present if name not in left
    ]
    shown = table["category"].isin(wanted).to_numpy()
    images = _gather(table[shown], "category", source)
    if not shown.all():
        said = f"stimuli: {np.sum(~shown)} of {len(shown)} presentations are of no domain"
        images = replace(images, notes=(said,))
    domains = domains or {name: (name,) for name in wanted}
    return Localizer(images, domains, _find_people(table, source))


def _find_people(table: pd.DataFrame, source: str) -> Images:
    """Find the stimuli that have an identity, or the presentations where one has but a stimulus."""
    if "identity" not in table:
        return Images((), (), "", source, ())
    known = table[table["identity"] != ""]
    people = _gather(known, "identity", source)
    if len(people) == len(known) or min(Counter(people.labels).values(), default=2) > 1:
        return people
    said = (
        "decoding: an identity has one stimulus: single presentations are decoded, and a stimulus "
        "is among those trained on and those tested"
    )
    return replace(_gather(known.drop(columns="stimulus"), "identity", source), notes=(said,))


def _gather(table: pd.DataFrame, label: str, source: str) -> Images:
    """Make an image of each stimulus of a table, whose index numbers the presentations."""
    numbers = table.index.to_numpy(np.int64)
    if "stimulus" in table:
        groups = pd.Series(numbers).groupby(table["stimulus"].to_numpy(), sort=False)
        shown = {str(name): own.to_numpy() for name, own in groups}
    else:
        shown = {f"{label}/presentation-{n + 1}": np.array([n], np.int64) for n in numbers}
    names, rows = tuple(shown), list(shown.values())
    labels = tuple(table.loc[[own[0] for own in rows], label])
    told = json.dumps([names, labels, [own.tolist() for own in rows]])
    digest = hashlib.sha256(told.encode()).hexdigest()
    return Images(names, labels, digest, source, rows)
