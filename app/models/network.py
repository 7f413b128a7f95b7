"""A network as the steps of a run are given it: known by its settings, loaded when it is needed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from app.choices import LAYERS
from app.errors import InputError
from app.models.checkpoint import read_key_map
from app.models.loading import Loaded, digest_weights, given, load, make_preprocessing
from app.models.modules import ModuleNetwork
from app.models.vgg import POOLED, DualTaskVGG
from app.stimuli.images import Preprocessing

if TYPE_CHECKING:
    from app.config.schema import Layer, Model
    from app.memo import Memo

# Settings that change nothing in what the network computes: they say where its weights are, or
# what its outputs stand for. The weights are known by their digest.
_ABOUT = ("checkpoint", "weights", "seed", "face_classes", "classes")


class Network:
    """A network whose layers are conv1 … conv13, or the names of its modules.

    `output` is what its modules give, see `app.models.modules`; None: layers are conv1 … conv13 of
    a dual-task network. `loaded` brings the network with its weights; None: as the settings say.
    """

    def __init__(
        self,
        settings: Model,
        output: str | None = None,
        loaded: Callable[[], Loaded] | None = None,
    ) -> None:
        self.settings, self.output = settings, output
        self.load = loaded or functools.cache(lambda: load(settings))

    def __memo__(self) -> dict[str, Any]:
        """All that the network's responses to an image depend on."""
        settings = {name: value for name, value in asdict(self.settings).items()
                    if name not in _ABOUT}  # fmt: skip
        if settings["source"] == "vgg":
            del settings["name"]
        if settings["key_map"] not in (None, "order"):
            settings["key_map"] = read_key_map(settings["key_map"])  # what it says, wherever it is
        return {**settings, "output": self.output, "weights": digest_weights(self.settings)}

    @functools.cached_property
    def module(self) -> DualTaskVGG | ModuleNetwork:
        """The network itself, in evaluation mode."""
        network: Any = self.load().network
        if self.output is None:
            return network  # type: ignore[no-any-return]
        return ModuleNetwork(network, self.settings.name, self.input_size, self.output)

    @property
    def input_size(self) -> int:
        """Rows, and columns, of its images."""
        return given(self.settings.input_size)

    @property
    def preprocessing(self) -> Preprocessing:
        """How its images are prepared."""
        return make_preprocessing(self.settings)

    def map_shape(self, layer: str) -> tuple[int, int, int]:
        """(channels, rows, columns) of a layer's map; InputError where there is no such layer."""
        if self.output is not None:
            assert isinstance(self.module, ModuleNetwork)
            return self.module.shape(layer)
        if layer not in LAYERS:
            raise InputError(f"layer.name={layer} is no convolution of the dual-task networks")
        number = LAYERS.index(layer) + 1
        side = self.input_size >> sum(pooled < number for pooled in POOLED)
        return self.settings.widths[number - 1], side, side


@dataclass(frozen=True)
class Subject:
    """The layer that is asked, and what only the network knows."""

    shape: tuple[int, int, int]  # channels, rows, columns; tokens are rows
    depth: int  # where the layer stands in the network, from 1
    read: str  # what is read for the layer, in words
    digest: str  # of the network's weights
    settings: dict[str, Any]  # the network's, with nothing left open
    notes: tuple[str, ...] = ()  # what was taken of a checkpoint, and what was assumed of it


def look_at(network: Network, layer: str) -> Subject:
    """Load the network and see what its settings leave open."""
    loaded = network.load()
    whole = Network(loaded.settings, network.output, loaded=network.load)
    return _tell(whole, layer, loaded.digest, loaded.notes)


def _tell(network: Network, layer: str, digest: str, notes: tuple[str, ...] = ()) -> Subject:
    shape = network.map_shape(layer)
    if network.output is None:
        depth = LAYERS.index(layer) + 1
        read = f"{layer} after its ReLU: {' x '.join(map(str, shape))}"
    else:
        assert isinstance(network.module, ModuleNetwork)
        depth, read = network.module.find_depth(layer), network.module.read_as(layer)
        notes = (f"layer: read {read}", *notes)
    return Subject(shape, depth, read, digest, asdict(network.settings), notes)


def open_network(settings: Model, layer: Layer, memo: Memo) -> tuple[Network, Subject]:
    """The network with nothing left open in its settings, and the layer that is asked.

    Where something is open it is looked at once: what was found is stored.
    """
    network = Network(settings, layer.output)
    if layer.output is None and None not in (settings.outputs, settings.trained):
        return network, _tell(network, layer.name, digest_weights(settings))
    subject = memo(look_at, network, layer.name)
    # What is given stays: what was found may be of another path to the same weights.
    found: Any = {name: list(value) if isinstance(value, tuple) else value
             for name, value in subject.settings.items()
             if name == "weights" or getattr(settings, name) is None}  # fmt: skip
    return Network(replace(settings, **found), layer.output, loaded=network.load), subject
