"""What a forward pass runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from app.choices import DEVICES, PRECISIONS
from app.errors import InputError
from app.machine import count_threads, settle_functions

if TYPE_CHECKING:
    from app.config.schema import Config

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in PRECISIONS}
# Values of the largest map that go through the network at once. On a CPU 32 MB, up to which the
# system's allocator uses memory again: larger batches cost a third more time in page faults.
BATCH_VALUES = {"cpu": 2**23, "cuda": 2**29}


@dataclass(frozen=True)
class Hardware:
    """A device, and how much of the machine may be used."""

    device: torch.device
    precision: str = "float32"  # of weights and maps, one of `app.choices.PRECISIONS`
    batch_size: int | None = None  # images that run together; None: what suits the device
    threads: int = 1  # of a CPU
    memory_gb: float = 4.0  # of the process while single units are scored, 10^9 bytes

    def __memo__(self) -> dict[str, Any]:
        """What results depend on: on one device they agree within rounding, whatever the rest."""
        name = self.device.type
        if name == "cuda":
            name = f"{name}, {torch.cuda.get_device_name(self.device)}"
        return {"device": name, "precision": self.precision}

    @classmethod
    def choose(cls, config: Config) -> Hardware:
        """The hardware that a config asks for; `auto` and None leave the choice to the machine."""
        device = choose_device(config.device, config.precision)
        threads = config.threads or count_threads()
        return cls(device, config.precision, config.batch_size, threads, config.memory_gb)

    def prepare(self) -> None:
        """Set torch up: as many threads, float32 that is float32, the same order of sums each time.

        The same command on as many threads then gives the same bits.
        """
        settle_functions()
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False

    def batch(self, values: int) -> int:
        """How many images run together when the largest map of one has so many values."""
        if self.batch_size is not None:
            return self.batch_size
        return max(1, min(256, BATCH_VALUES[self.device.type] // values))


def choose_device(name: str, precision: str = "float32") -> torch.device:
    """The device that a name stands for; `auto` is the GPU where there is one.

    InputError for what the machine or the device cannot do.
    """
    if name not in DEVICES:
        raise InputError(f"device={name} is unknown: it is one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but torch sees no GPU here: use device=cpu or device=auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu" and precision != "float32":
        raise InputError(
            f"precision={precision} needs a GPU; on this CPU it would only be slower: "
            "use precision=float32"
        )
    return torch.device(name)
