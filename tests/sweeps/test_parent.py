"""What MLflow's table of runs shows of a sweep."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from app.sweeps import parent
from app.sweeps.results import Result


def test_paths_are_no_columns_of_the_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parent, "find_parent", lambda _: "abc")
    store = Mock()
    asked = [{"layer": f"conv{n}", "model.checkpoint": f"/{'data/' * 9}{n}.pth"} for n in (1, 2)]
    parent.save_view(tmp_path, store, [Result("finished", "a", params) for params in asked])
    (view,) = store.save_view.call_args.args
    assert view.params == ["layer"]
