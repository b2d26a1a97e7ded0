"""``trilemma export``: the model of a run as an ONNX file, preprocessing included, checked with onnxruntime."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trilemma.cli.terminal import show, show_error
from trilemma.data.views import normalize
from trilemma.errors import InputError
from trilemma.files import make_folder, written
from trilemma.hints import one_line
from trilemma.models.prior import OnMaps, PriorNetwork
from trilemma.trial.model import Model, load_model

TOLERANCE = 1e-4
"""Largest difference of a logit that is accepted between torch and onnxruntime, relative to the largest logit."""

_CHECKED = 16  # the number of images that the two are compared on
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


class _FromPixels(nn.Module):
    """uint8 (n, C, H, W) to logits."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network, self._facts = model.network, model.facts

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(normalize(images, self._facts.mean, self._facts.std))
        return logits


def export_command(options: argparse.Namespace) -> int:
    out = Path(options.onnx)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"an ONNX file needs {' and '.join(missing)}: pip install 'trilemma[onnx]'")
    model = load_model(options.run, network=options.network, tell=show_error)
    make_folder(out.parent)
    difference = export(model, out)
    show(f"{out}: uint8 (n, {', '.join(map(str, model.facts.image_shape))}) to logits")
    show(f"onnxruntime agrees with torch to {difference:.1g} of the largest logit")
    return 0


def export(model: Model, out: Path) -> float:
    """Write the file; returns the largest difference from torch, relative to the largest logit.

    Raises:
      InputError: the network cannot be exported, or onnxruntime computes something else.
    """
    if isinstance(model.network, PriorNetwork | OnMaps):
        raise InputError(
            "a prior is more than a network of layers and cannot be written as ONNX: use load_model, or predict"
        )
    shape = model.facts.image_shape
    images = torch.randint(0, 256, (_CHECKED, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = _FromPixels(model).eval()
    with written(out) as part:
        try:
            with warnings.catch_warnings(), _quiet():
                warnings.simplefilter("ignore")
                program: Any = torch.onnx.export(
                    whole,
                    (images,),
                    input_names=["images"],
                    output_names=["logits"],
                    dynamic_shapes={"images": {0: torch.export.Dim("n")}},
                    dynamo=True,
                    verbose=False,
                )
            program.model.metadata_props["classes"] = json.dumps(list(model.classes))
            program.model.metadata_props["privacy"] = json.dumps(dict(model.facts.privacy))
            program.save(str(part))
        except Exception as error:  # the exporter raises errors of any class
            raise InputError(f"the network cannot be exported ({one_line(error)})") from error
        difference = _difference(whole, part, images)
        if not difference <= TOLERANCE:
            raise InputError(
                f"onnxruntime differs from torch by {difference:.2g} of the largest logit: no file is written"
            )
    return difference


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter logs about packages that are not needed here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _difference(whole: nn.Module, path: Path, images: Tensor) -> float:
    """The largest relative difference on random images, and on a single one, since any batch size must work."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    largest = 0.0
    for part in (images, images[:1]):
        with torch.no_grad():
            expected = whole(part).numpy()
        (logits,) = session.run(None, {"images": part.numpy()})
        scale = max(1e-6, float(np.abs(expected).max()))
        largest = max(largest, float(np.abs(logits - expected).max()) / scale)
    return largest
