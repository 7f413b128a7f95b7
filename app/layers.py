"""`python -m app.layers model=torchvision model.name=resnet50`: the layers that can be read.

Prints every module that the network calls, what it gives for one image and how to name it.
"""

from __future__ import annotations

from omegaconf import DictConfig

from app.config import schema
from app.config.checks import checked_model
from app.launch.commandline import run_hydra, told

schema.register()


def job(config: DictConfig) -> None:
    """Print the layers of the config's network, a row each, on standard output."""
    with told(debug=config.debug):
        model = checked_model(config.model)  # before what takes seconds to import

        import pandas as pd

        from app.models.network import Network
        from app.models.places import Places
        from app.sweeps.tables import lay_out

        heads = ["layer.name", "module", "gives", "layer.output"]
        listed = Places(Network(model).graph, model.name).list_all()
        rows = [(*place[:3], " | ".join(place[3]) or "none") for place in listed]
        print(lay_out(pd.DataFrame(rows, columns=heads), heads))


def main() -> None:
    """Run the command line."""
    run_hydra(job, "layers", writes=())


if __name__ == "__main__":
    main()
