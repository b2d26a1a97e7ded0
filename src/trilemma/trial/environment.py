"""The software and hardware that a result was computed with."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "fairlearn", "dp-accounting")


def describe(device: torch.device, autocast: torch.dtype | None, seed: int) -> dict[str, Any]:
    """Versions, device, commit and seed, for ``result.json``."""
    from trilemma.version import __version__

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "trilemma": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "device": f"{device.type} ({name})",
        "compute": "float32" if autocast is None else str(autocast).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "commit": _commit(),
        "seed": seed,
    }


@functools.cache
def _commit() -> str | None:
    """The commit of the checkout that the package runs from, or None."""
    folder = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
