"""`python -m app.layers model=torchvision model.name=resnet50`: the layers that can be read.

Prints every module that the network calls, what it gives for one image and how to name it.
"""

from __future__ import annotations

import hydra

from app.config import schema
from app.config.schema import Config, check_model
from app.launch.commandline import CONFIG_FOLDER, run, told

schema.register()


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")
def job(config: Config) -> None:
    """Print the table of the config's network."""
    with told(debug=config.debug):
        show(config)


def show(config: Config) -> None:
    """The layers of the config's network, a row each, on standard output."""
    from rich.table import Table

    from app import models
    from app.models.modules import DIMENSIONS
    from app.sweeps import tables

    check_model(config.model)
    network = models.by_modules(models.load(config.model), "map").network
    table = Table("layer.name", "module", "gives", "layer.output", box=None)
    for name in dict.fromkeys(call.name for call in network.calls if call.name):
        asked, read = network.point(name)
        if read.shape is None:
            continue
        fitting = [kind for kind, count in DIMENSIONS.items() if count == len(read.shape)]
        after = "" if read is asked else f" + {read.kind}"
        gives = " x ".join(map(str, read.shape[1:]))
        table.add_row(name, asked.kind + after, gives, " | ".join(fitting) or "none")
    tables.show(table)


def main() -> None:
    """The command line."""
    run(job)


if __name__ == "__main__":
    main()
