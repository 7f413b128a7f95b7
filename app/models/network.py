"""A network as the steps of a run are given it: known by its settings, loaded when it is needed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from app.models.checkpoint import read_key_map
from app.models.export import export
from app.models.graph import Graph
from app.models.loading import Loaded, digest_weights, given, load, make_preprocessing
from app.models.places import Place, Places
from app.models.program import Hooks, Program
from app.stimuli.images import Preprocessing

if TYPE_CHECKING:
    from app.config.schema import Layer, Model
    from app.memo import Memo

# Settings that change nothing in what the network computes: they say where its weights are, or
# what its outputs stand for. The weights are known by their digest.
_ABOUT = ("checkpoint", "weights", "seed", "classes")
# And those that are coupled to the values of weights.
_OF_WEIGHTS = ("key_map", "trained", "resize", "mean", "sd", "interpolation", "squash")


class Network:
    """A network whose layers are conv1 … conv13, or the names of its modules.

    `output` is what its modules give, see `app.models.places`; None: layers are conv1 … conv13 of a
    dual-task network. `loaded` brings the network with its weights; None: as the settings say.
    """

    def __init__(
        self,
        settings: Model,
        output: str | None = None,
        loaded: Callable[[], Loaded] | None = None,
        memo: Memo | None = None,
    ) -> None:
        self.settings, self.output, self.memo = settings, output, memo
        self.load = loaded or functools.cache(lambda: load(settings))
        self.program = functools.cache(self._bind)

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
    def graph(self) -> Graph:
        """All operations of its forward pass, and the calls of its modules."""
        loaded = self.load()
        built = Architecture(loaded.network, loaded.settings)
        return self.memo(export_network, built) if self.memo else export_network(built)

    def place(self, layer: str, output: str | None = None) -> Place:
        """What is read for a layer; InputError where there is none, or its output is another."""
        return Places(self.graph, self.settings.name).find(layer, output or self.output)

    @property
    def preprocessing(self) -> Preprocessing:
        """How its images are prepared."""
        return make_preprocessing(self.settings)

    def map_shape(self, layer: str) -> tuple[int, int, int]:
        """(channels, rows, columns) of a layer's map; InputError where there is no such layer."""
        return self.place(layer).shape

    def _bind(self, device: torch.device, dtype: torch.dtype) -> Program | Hooks:
        """The network as it is run on a device, its weights and maps of a type."""
        runs = Program if self.graph.operations else Hooks
        return runs(self.graph, self.load().network, device, dtype)


@dataclass(frozen=True, eq=False)
class Architecture:
    """A network, whatever the values of its weights."""

    network: nn.Module
    settings: Model  # with nothing left open

    def __memo__(self) -> dict[str, Any]:
        """What its graph depends on."""
        settings = {name: value for name, value in asdict(self.settings).items()
                    if name not in (*_ABOUT, *_OF_WEIGHTS)}  # fmt: skip
        state = self.network.state_dict()
        return {**settings, "shapes": {name: tuple(each.shape) for name, each in state.items()}}


def export_network(built: Architecture) -> Graph:
    """The network's graph; where it has none, the calls of its modules. InputError."""
    return export(built.network, given(built.settings.input_size), built.settings.name)


def find_layer(settings: Model, layer: Layer, memo: Memo) -> Layer:
    """The layer that is asked, by its name where it was asked for by its depth."""
    if layer.depth is None:
        return layer
    name, output = memo(find_at, Network(settings, memo=memo), layer.depth)
    return replace(layer, name=name, output=output)


def find_at(network: Network, depth: float) -> tuple[str, str]:
    """The name and the output of the network's layer at a depth; InputError where none is."""
    return Places(network.graph, network.settings.name).find_at(depth)


@dataclass(frozen=True)
class Subject:
    """The layer that is asked, and what only the network knows."""

    shape: tuple[int, int, int]  # channels, rows, columns; tokens are rows
    depth: int | None  # where the layer stands in the network, from 1; None: it is a recording
    read: str  # what is read for the layer, in words
    digest: str  # of the network's weights
    leads_to: tuple[str, ...]  # "outputs", "features" that the head takes: what rests on the layer
    settings: dict[str, Any]  # the network's, with nothing left open
    notes: tuple[str, ...] = ()  # what was taken of a checkpoint, and what was assumed of it


def look_at(network: Network, layer: str) -> Subject:
    """Load the network and see what its settings leave open."""
    loaded, place, graph = network.load(), network.place(layer), network.graph
    notes, leads_to = loaded.notes, tuple[str, ...]()
    if graph.failure:
        said = f"model: read by hooks, not lesioned, for it has no graph: {graph.failure}"
        notes = (said, *notes)
    else:
        after = graph.find_dependent([place.value])
        ends = {"outputs": graph.result, "features": graph.features[0]}
        leads_to = tuple(name for name, value in ends.items() if value in after)
    if network.output is not None:
        notes = (f"layer: read {place.words}", *notes)
    settings = asdict(loaded.settings)
    where = place.shape, place.depth, place.words
    return Subject(*where, loaded.digest, leads_to, settings, notes)


def open_network(settings: Model, layer: Layer, memo: Memo) -> tuple[Network, Subject]:
    """The network with nothing left open in its settings, and the layer that is asked.

    It is looked at once: what was found is stored.
    """
    network = Network(settings, layer.output, memo=memo)
    subject = memo(look_at, network, layer.name)
    # What is given stays: what was found may be of another path to the same weights.
    found: Any = {name: list(value) if isinstance(value, tuple) else value
             for name, value in subject.settings.items()
             if name == "weights" or getattr(settings, name) is None}  # fmt: skip
    whole = Network(replace(settings, **found), layer.output, loaded=network.load, memo=memo)
    return whole, subject
