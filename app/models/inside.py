"""From Python: read, lesion and attribute inside any torch network, in a few lines."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from app.choices import REPLACEMENTS
from app.errors import InputError
from app.machine import settle_functions
from app.models.attribution import attribute
from app.models.export import export
from app.models.graph import PIXELS
from app.models.places import Place, Places
from app.models.program import Program


class Inside:
    """A network whose layers are read, lesioned and attributed to by the names of modules.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on the CPU, in float32; it takes images (n, 3, input_size, input_size)
        and gives one tensor.
    input_size : int
        Rows, and columns, of its images, in pixels.
    device : str or torch.device
        Where it is run.

    Raises
    ------
    InputError
        One line, for a network in training mode, elsewhere than on the CPU or not in float32, that
        fails on such images, or has no graph.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    >>> network = Inside(body, 8)
    >>> images = torch.rand(5, 3, 8, 8)
    >>> network.read(images, ["0"])["0"].shape
    torch.Size([5, 4, 6, 6])
    >>> network.lesion(images, {"0": [1, 3]}).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, network: nn.Module, input_size: int, device: str | torch.device = "cpu"
    ) -> None:
        self.name = type(network).__name__
        if any(module.training for module in network.modules()):
            raise InputError(
                f"{self.name} is in training mode, in which dropout and batch normalisation make "
                "its outputs depend on chance and on the batch: take network.eval()"
            )
        for each in network.state_dict().values():
            if not each.is_cpu or (each.is_floating_point() and each.dtype != torch.float32):
                raise InputError(
                    f"{self.name} has a tensor of {each.dtype} on {each.device}: take "
                    "network.float().cpu(); `device` says where it is run"
                )
        settle_functions()
        self.graph = export(network, input_size, self.name)
        if self.graph.failure:
            raise InputError(f"{self.name} has no graph: {self.graph.failure}")
        self.program = Program(self.graph, network, torch.device(device), torch.float32)
        # As it is now: where it learns on, some of its tensors would be copies, some its own.
        self.program.tensors = copy.deepcopy(self.program.tensors)
        self.places = Places(self.graph, self.name)

    def list_layers(self) -> list[str]:
        """The names of all layers that can be read, in the network's order."""
        return [name for name, _, _, outputs in self.places.list_all() if outputs]

    def find(self, layer: str) -> Place:
        """What is read for a layer: after the activation that takes its output as it is.

        InputError for a name that is none, and where rows and channels cannot be told apart.
        """
        outputs = self.places.find_outputs(layer) or ["map"]
        if len(outputs) > 1:
            raise InputError(f"{layer} of {self.name} may be {' or '.join(outputs)}")
        return self.places.find(layer, outputs[0])

    @torch.inference_mode()
    def read(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The maps of layers, (images, channels, rows, columns) each, from one forward pass.

        Tokens are rows; of a vector rows and columns are 1.
        """
        places = [self.find(layer) for layer in layers]
        found = dict(self.program.run(self._give(images), [place.value for place in places]))
        return {place.layer: place.view(found[place.value]) for place in places}

    @torch.inference_mode()
    def lesion(
        self, images: Tensor, kernels: Mapping[str, Sequence[int]], replacement: str = "zero"
    ) -> Tensor:
        """The outputs (images, outputs) with kernels of one or several layers lesioned together.

        Parameters
        ----------
        images : tensor, (images, 3, input_size, input_size)
            As the network wants them.
        kernels : mapping of str to sequence of int
            The numbers of the kernels of each layer; none gives the network's own outputs.
        replacement : str
            What becomes of their maps: `zero`; `mean`, that over these images; `resample`, their
            maps for the image before. The latter two are those of the intact network.
        """
        if replacement not in REPLACEMENTS:
            raise InputError(f"replacement={replacement} is one of {', '.join(REPLACEMENTS)}")
        intact, change = self.read(images, list(kernels)) if replacement != "zero" else {}, {}
        for layer, own in kernels.items():
            place, donors = self.find(layer), intact.get(layer)
            if wrong := [number for number in own if not 0 <= number < place.shape[0]]:
                raise InputError(
                    f"{layer} of {self.name} has no kernel {wrong[0]}: they are 0 to "
                    f"{place.shape[0] - 1}"
                )
            if donors is not None:
                mean = replacement == "mean"
                donors = donors.mean(0).expand_as(donors) if mean else donors.roll(1, 0)
            if place.value in change:
                raise InputError(
                    f"two of the layers {', '.join(kernels)} of {self.name} are read at one place, "
                    f"{place.words}: name one of them"
                )
            where = slice(None), list(own)
            change[place.value] = partial(place.replace, where=where, donors=donors)
        return self.program.get(self._give(images), self.graph.result, change)

    def attribute(
        self,
        images: Tensor,
        loss: Callable[[Tensor], Tensor],
        layers: Sequence[str],
        points: int = 1,
    ) -> dict[str, Tensor]:
        """Estimate how much each position of layers' maps, set to zero, would add to a loss.

        Parameters
        ----------
        images : tensor, (images, 3, input_size, input_size)
            As the network wants them.
        loss : callable
            The loss (images,) of outputs (images, outputs).
        layers : sequence of str
            One forward and one backward pass serve all.
        points : int
            More read slopes half way to zero, a part of the kernels at a time, as many passes a
            layer: see `app.models.attribution.attribute`.

        Returns
        -------
        dict of str to tensor
            (images, channels, rows, columns) by layer. Its sum over rows and columns estimates the
            lesion of a kernel. An estimate is worth what exact lesions (`lesion`) of some kernels
            say of it.
        """
        places = [self.find(layer) for layer in layers]
        given, judge = self._give(images), (self.graph.result, loss)
        return attribute(self.program, places, given, judge, points=points).changes

    def _give(self, images: Tensor) -> dict[str, Tensor]:
        """Images where the network is; InputError for what it does not take."""
        wanted = (3, self.graph.size, self.graph.size)
        if images.ndim != 4 or images.shape[1:] != wanted or images.dtype != torch.float32:
            raise InputError(
                f"{self.name} takes images (n, {', '.join(map(str, wanted))}) of torch.float32: "
                f"these are {tuple(images.shape)} of {images.dtype}"
            )
        return {PIXELS: images.to(self.program.device)}
