"""`python -m app.photographs`: photographs of people and of objects, as folders per class.

Fetched once, from the public archives that conf/photographs.yaml names, whose terms are told first.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from app.config.photographs import Photographs, checked
from app.errors import InputError
from app.launch.commandline import run_hydra, told

ConfigStore.instance().store(name="photographs_schema", node=Photographs)


def job(config: DictConfig) -> None:
    """Make the folders that the settings ask for, and say what is in them."""
    from app.stimuli.photographs import DECODE, FACES, OBJECTS, is_made, make_photographs

    with told(debug=config.debug):
        settings = checked(config)
        folder = Path(settings.folder).expanduser()
        if not is_made(settings, folder):
            for archive in (settings.people, settings.things):
                print(f"{archive.title} ({archive.gigabytes:g} GB), {archive.address}")
                print(f"  Terms: {archive.terms}")
            if not settings.accept_terms:
                raise InputError(
                    "nothing was fetched: read the terms, and give accept_terms=true if you accept "
                    "them"
                )
            for note in make_photographs(settings, folder):
                print(f"note: {note}")
        for part, what in ((FACES, "to learn"), (DECODE, "to decode"), (OBJECTS, "to learn")):
            classes, images = ([*(folder / part).glob(depth)] for depth in ("*", "*/*"))
            print(f"{folder / part}: {len(classes)} classes, {len(images)} images {what}")
        place = f"PHOTOGRAPHS={shlex.quote(str(folder.absolute()))}"
        print(f"Train on them: {place} python -m app.train +experiment=photographs")


def main() -> None:
    """Run the command line."""
    again = "interrupted; the same command goes on with what has arrived"
    run_hydra(job, "photographs", writes=("folder", "archives"), interrupted=again)


if __name__ == "__main__":
    main()
