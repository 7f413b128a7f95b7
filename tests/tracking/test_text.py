"""How a run's words are written for MLflow."""

from app.tracking.record import tag_notes


def test_notes_become_tags_by_step():
    assert tag_notes([]) == {}
    notes = ["lesion: none: why", "decoding: three folds", "decoding: fsi selects no kernel"]
    assert tag_notes(notes) == {
        "lesion.note": "none: why",
        "decoding.note": "three folds; fsi selects no kernel",
    }
