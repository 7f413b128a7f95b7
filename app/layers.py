"""`python -m app.layers model=torchvision model.name=resnet50`: the layers that can be read.

Prints every module that the network calls, what it gives for one image and how to name it.
"""

from __future__ import annotations

from omegaconf import DictConfig

from app.config import schema
from app.config.checks import checked_model
from app.config.schema import Model
from app.launch.commandline import RESULTS, run_hydra, told

schema.register()


def job(config: DictConfig) -> None:
    """Print the layers of the config's network, a row each, on standard output."""
    with told(debug=config.debug):
        _show(checked_model(config.model))


def _show(model: Model) -> None:
    import pandas as pd

    from app.models.loading import given, load
    from app.models.modules import ModuleNetwork
    from app.sweeps.tables import lay_out

    loaded = load(model)
    size = given(loaded.settings.input_size)
    network = ModuleNetwork(loaded.network, model.name, size, "map")
    rows = []
    for name in dict.fromkeys(call.name for call in network.calls if call.name):
        asked, read = network.point(name)
        if read.shape is None:
            continue
        after = "" if read is asked else f" + {read.kind}"
        gives = " x ".join(map(str, read.shape[1:]))
        fitting = " | ".join(network.find_outputs(read)) or "none"
        rows.append((name, asked.kind + after, gives, fitting))
    heads = ["layer.name", "module", "gives", "layer.output"]
    print(lay_out(pd.DataFrame(rows, columns=heads), heads))


def main() -> None:
    """Run the command line."""
    run_hydra(job, "config", writes=(RESULTS,))


if __name__ == "__main__":
    main()
