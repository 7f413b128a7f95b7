"""The words a run leaves behind."""

from app.tracking.contents import tags_of_notes


def test_notes_become_tags_by_step():
    assert tags_of_notes([]) == {}
    notes = ["lesion: none: why", "decoding: three folds", "decoding: fsi selects no kernel"]
    assert tags_of_notes(notes) == {
        "lesion.note": "none: why",
        "decoding.note": "three folds; fsi selects no kernel",
    }
