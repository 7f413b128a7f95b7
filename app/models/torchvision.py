"""The one way to import torchvision."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import torch


def import_torchvision(module: str) -> Any:
    """Import a module of torchvision, also where its compiled part does not fit torch.

    That part (a build for GPUs beside a torch for CPUs, say) serves detection alone, yet the
    import fails over it: two operators are declared here, without an implementation.

    Examples
    --------
    >>> v2 = import_torchvision("transforms.v2")
    """
    try:
        import torchvision  # noqa: F401  named, so that its version is part of stored results' keys

        return import_module(f"torchvision.{module}")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{operator}",
            "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )
    return import_module(f"torchvision.{module}")
