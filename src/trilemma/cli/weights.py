"""``trilemma audit --weights FILE --model MODULE:NAME --data DATA``: a model that was trained elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from trilemma.attacks import Predictions
from trilemma.cli.train import data_options
from trilemma.data import load_data
from trilemma.data.views import normalize
from trilemma.errors import InputError
from trilemma.hints import one_line
from trilemma.models import build
from trilemma.models.own import fill
from trilemma.trial.dry_call import dry_call, without_outputs
from trilemma.trial.measure import predictions_of

_AT_ONCE = 256


def check_weights_options(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is read.

    Raises:
      InputError: one is missing, or one too many.
    """
    if (options.source is None) == (options.weights is None):
        raise InputError("audit takes a run or a file of predictions, or --weights FILE with --model and --data")
    if options.weights is not None and (options.model is None or options.data is None):
        raise InputError("--weights needs --model (a name, or MODULE:NAME) and --data (what the model was trained on)")
    if options.weights is None and (options.model is not None or options.data is not None):
        raise InputError("--model and --data are for --weights: leave them out, or give the weights")


def predictions_of_weights(options: argparse.Namespace, attacks: Sequence[str]) -> Predictions:
    """The model's outputs for the training split (members) and the test split of the data.

    The module gets what ours get: float32 images, normalized by the constants of the data set.

    Args:
      options: of the command.
      attacks: the names of the requested attacks; those from outside are tried out before the model is run.

    Raises:
      InputError: the module or an attack cannot be imported or used, or the weights do not fit the module.
    """
    requested = {name: value for name, value in data_options(options).items() if value is not None}
    data, path = load_data(options.data, **requested), Path(options.weights)
    unused = torch.Generator().manual_seed(0)  # of initial weights
    network = build(options.model, classes=len(data.classes), image_shape=data.image_shape, generator=unused)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read {path} ({one_line(error)}): give a .safetensors file") from error
    fill(network, weights, options.model, path)
    network.eval()
    dry_call(without_outputs(data), attacks, seed=options.seed, before="the model is run on the images")
    outputs = []
    for split in (data.train, data.test):
        parts = []
        with torch.no_grad():
            for start in range(0, len(split), _AT_ONCE):
                images = torch.tensor(split.images[start : start + _AT_ONCE])
                parts.append(network(normalize(images, data.mean, data.std)).float())
        outputs.append(torch.cat(parts).numpy())
    return predictions_of(data, *outputs)
