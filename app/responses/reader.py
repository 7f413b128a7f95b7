"""One layer of a network as a run reads it: what was read before is not read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.responses.kernels import Responses, read_kernels

if TYPE_CHECKING:
    from app.memo import Memo
    from app.models.network import Network
    from app.responses.hardware import Hardware
    from app.stimuli.images import Images


@dataclass(frozen=True)
class Reader:
    """A layer of a network, what it runs on, and what remembers its responses."""

    network: Network
    layer: str
    hardware: Hardware
    memo: Memo
    others: tuple[str, ...] = ()  # layers that other jobs of the sweep will ask for

    def read(self, images: Images) -> Responses:
        """The responses of the layer's kernels, by aggregation.

        Where they are not stored, one forward pass reads those of the other layers, too.
        """
        layers = {name: name for name in (self.layer, *self.others)}
        found = self.memo.each(
            read_kernels, layers, [self.layer], self.network, images, self.hardware
        )
        return found[self.layer]
