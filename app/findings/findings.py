"""All that a run found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app import names
from app.findings.certainty import Certainty
from app.findings.consistency import Consistency, Overlap
from app.findings.decoding import Decoded
from app.findings.lesion_certainty import LesionCertainty
from app.findings.lesioned import Lesioned
from app.findings.multiverse import Multiverse
from app.findings.selection import Criterion, Curve, Selectivity
from app.metrics import Scored


@dataclass(frozen=True)
class Findings:
    """What a layer's units answered to one metric, beside the others that it is compared with."""

    metric: str  # that the run is about
    scored: Mapping[str, Scored]  # by every compared metric
    criteria: Mapping[str, Criterion]  # of each
    selected: Mapping[str, NDArray[np.bool_]]  # (units,) by its criterion
    selectivity: Selectivity  # of the metric
    curve: Curve
    consistency: Consistency
    overlap: Overlap
    certainty: Certainty | None
    lesioned: Lesioned | None
    lesion_certainty: LesionCertainty | None
    decoded: Decoded | None
    decoded_fixed: Decoded | None  # from as many kernels as were asked for
    notes: tuple[str, ...]  # a line for each step that did not apply
    depth: int | None = None  # of the layer in its network, from 1
    multiverse: Multiverse | None = None  # where every other way to ask was asked for

    @property
    def scores(self) -> dict[str, NDArray[np.float64]]:
        """(units,) by every compared metric."""
        return {name: scored.scores.score for name, scored in self.scored.items()}

    def metrics(self) -> dict[str, float]:
        """Single numbers by the names that they are logged under."""
        found = self.selectivity.metrics()
        found |= self.consistency.metrics(self.metric) | self.overlap.metrics(self.metric)
        score, sure = self.scores[self.metric], self.certainty
        if sure is not None:
            found |= sure[self.metric].metrics(score, self.selectivity.percent)
            found |= sure.name_consistency(self.metric, found)
        if self.lesioned is not None:
            found |= self.lesioned.metrics(score)
        if sure is not None and self.lesion_certainty is not None:
            found |= self.lesion_certainty.metrics(sure[self.metric].reliability)
        if self.decoded is not None:
            found |= self.decoded.metrics(self.metric)
        if self.decoded_fixed is not None:
            fixed = self.decoded_fixed.metrics(self.metric)
            found |= {name.replace(names.DECODED, names.DECODED_FIXED): value
                      for name, value in fixed.items()}  # fmt: skip
        if self.multiverse is not None:
            found |= self.multiverse.metrics()
        if self.depth is not None:
            found[names.DEPTH] = float(self.depth)
        return found

    def curves(self) -> dict[str, dict[int, float]]:
        """Numbers by step, by the names that they are logged under."""
        found = self.curve.logged(self.metric)
        return found | (self.lesioned.curves() if self.lesioned is not None else {})

    def table(
        self, shape: tuple[int, int, int] | None, units: NDArray[np.intp] | None = None
    ) -> pd.DataFrame:
        """A row a unit, of all or of `units`: where it is, its scores, which metrics select it.

        And how sure scores are: their intervals and the mean of the halves'.

        `shape` is the layer's (channels, rows, columns) where single units were scored; the token
        of a sequence is its row. None: kernels were, which have no position.
        """
        unit = np.arange(len(self.selected[self.metric])) if units is None else units
        nowhere: Any = pd.array([None], dtype="Int64").repeat(len(unit))
        place = (unit, nowhere, nowhere) if shape is None else np.unravel_index(unit, shape)
        where = dict(zip(names.POSITION, place, strict=True))
        selected = {f"selected_{name}": mask for name, mask in self.selected.items()}
        sure = self.certainty.columns() if self.certainty is not None else {}
        columns = {**self.scores, **selected, **sure}
        if units is not None:
            columns = {name: values[units] for name, values in columns.items()}
        return pd.DataFrame({"unit": unit, **where, **columns})

    def list_selected(self, shape: tuple[int, int, int] | None, most: int) -> pd.DataFrame:
        """The rows of `table` that the metric selects, the highest scores first, so many at most.

        Without positions where there are none.
        """
        own = np.flatnonzero(self.selected[self.metric])
        order = np.argsort(-self.scores[self.metric][own], kind="stable")
        table = self.table(shape, own[order[:most]])
        return table if shape else table.drop(columns=[*names.POSITION])

    def tables(self, shape: tuple[int, int, int] | None) -> dict[str, pd.DataFrame]:
        """All tables of the run by the names of their files."""
        curve = pd.DataFrame(self.curve.metrics())
        tables = {
            "scores": self.table(shape),
            "threshold": curve.rename(columns=lambda name: name.partition("/")[2]),
        }
        if self.certainty is not None:
            lesions = self.lesion_certainty.spearman if self.lesion_certainty is not None else {}
            more = {f"lesion_spearman_{task}": values for task, values in lesions.items()}
            tables["certainty"] = self.certainty.table(self.metric, **more)
        if self.lesioned is not None:
            tables["lesion"] = self.lesioned.table()
            if self.lesioned.sets:
                tables["lesion_sets"] = self.lesioned.set_table()
            if self.lesioned.damage is not None:
                tables["lesion_classes"] = self.lesioned.damage.table()
        if self.decoded is not None:
            tables["decoding"] = self.decoded.table()
        if self.decoded_fixed is not None:
            tables["decoding_fixed"] = self.decoded_fixed.table()
        if self.multiverse is not None:
            tables |= self.multiverse.tables()
        return tables
