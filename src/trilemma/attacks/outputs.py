"""The predictions of a torch module, or of a classifier with scikit-learn's interface, on members and non-members."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.dataset import Split
from trilemma.errors import InputError, check_type
from trilemma.hints import one_line

_AT_ONCE = 256


def fields_from_model(model: Any, train: Any, test: Any) -> dict[str, Any]:
    """The arguments of ``Predictions`` for a torch module, or a model of :func:`trilemma.load_model`.

    Args:
      model: maps a batch of inputs to logits (n, C).  A module is used as it is, in evaluation mode.
      train, test: (inputs, labels) or (inputs, labels, groups) as arrays or tensors, a ``Split``, a torch ``Dataset``,
        or an iterable of such batches (a ``DataLoader``): its training examples, and other examples.

    Raises:
      InputError: an argument is of another type, the model does not accept the inputs, or does not return logits.
    """
    parts = [_asked(model, part, what) for part, what in ((train, "train"), (test, "test"))]
    logits, labels, groups = (list(values) for values in zip(*parts, strict=True))
    if len({outputs.shape[1:] for side in logits for outputs in side}) > 1:
        raise InputError("the model returns different numbers of classes for different inputs: give inputs of one kind")
    fields: dict[str, Any] = {"logits": np.concatenate([*logits[0], *logits[1]]), "labels": np.concatenate(labels)}
    fields["member"] = np.arange(len(fields["labels"])) < len(labels[0])
    if all(values is not None for values in groups):
        fields["groups"] = np.concatenate(groups)
    names = getattr(model, "classes", None)
    if isinstance(names, tuple | list) and len(names) == logits[0][0].shape[1]:  # of a model of tl.load_model
        fields["class_names"] = tuple(map(str, names))
    return fields


def fields_from_estimator(estimator: Any, X: Any, y: Any, member: Any, groups: Any) -> dict[str, Any]:
    """The arguments of ``Predictions`` for a fitted classifier with ``predict_proba`` and ``classes_``.

    Args:
      estimator: the classifier.
      X: inputs, N rows.
      y: the true classes (N,), as in ``classes_``.
      member: bool (N,), which rows it was fitted on.
      groups: (N,) or None.

    Raises:
      InputError: it has no probabilities, or ``y`` contains a class that the classifier does not have.
    """
    if not hasattr(estimator, "predict_proba") or not hasattr(estimator, "classes_"):
        raise InputError(
            f"{type(estimator).__name__} has no predict_proba, or was not fitted: give a fitted classifier with "
            "probabilities (CalibratedClassifierCV adds them)"
        )
    try:
        probabilities = np.asarray(estimator.predict_proba(X), dtype=np.float64)
        classes = np.asarray(estimator.classes_).tolist()
        places = {value: index for index, value in enumerate(classes)}
    except Exception as error:  # the classifier's own code may raise anything
        raise InputError(
            f"{type(estimator).__name__} does not give probabilities of one label for X ({type(error).__name__}: "
            f"{one_line(error)}): give what it was fitted on, and a classifier of one label"
        ) from error
    values = _one_each(y, "y").tolist()
    unknown = next((value for value in values if isinstance(value, list) or value not in places), None)
    if unknown is not None:
        raise InputError(f"y contains {unknown!r}, which is not one of the classes that the classifier was fitted on")
    labels = np.array([places[value] for value in values], dtype=np.int64)
    names = tuple(str(value) for value in classes)
    fields: dict[str, Any] = {"probs": probabilities, "labels": labels, "member": member, "class_names": names}
    return fields if groups is None else fields | {"groups": groups}


def _asked(model: Any, part: Any, what: str) -> tuple[list[NDArray[np.float32]], NDArray[Any], NDArray[Any] | None]:
    """(logits of each batch, labels, groups or None) of one side."""
    try:
        read = list(_batches(part))
    except Exception as error:  # an iterable's own code may raise anything
        raise InputError(
            f"{what} does not give batches ({type(error).__name__}: {one_line(error)}): give (inputs, labels), or a "
            "DataLoader"
        ) from error
    batches = [_batch(batch, what) for batch in read]
    if not batches:
        raise InputError(f"{what} holds no examples: give at least ten")
    logits = [_logits(model, inputs, what) for inputs, _, _ in batches]
    groups = [batch[2] for batch in batches]
    known = None if any(values is None for values in groups) else np.concatenate([g for g in groups if g is not None])
    return logits, np.concatenate([batch[1] for batch in batches]), known


def _batches(part: Any) -> Any:
    if isinstance(part, Split):
        return [(part.images, part.labels) if part.groups is None else (part.images, part.labels, part.groups)]
    if isinstance(part, tuple):
        return [part]
    from torch.utils.data import DataLoader, Dataset

    return DataLoader(part, batch_size=_AT_ONCE) if isinstance(part, Dataset) else part


def _batch(batch: Any, what: str) -> tuple[Any, NDArray[Any], NDArray[Any] | None]:
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise InputError(f"{what} must be (inputs, labels) or (inputs, labels, groups), or batches of these")
    inputs, labels = batch[0], _one_each(batch[1], f"labels of {what}")
    try:
        count = len(inputs)
    except TypeError:  # a number
        count = 0
    if count != len(labels):
        raise InputError(f"{what} has {count} inputs but {len(labels)} labels: give one for each")
    return inputs, labels, _one_each(batch[2], f"groups of {what}") if len(batch) == 3 else None


def _one_each(values: Any, what: str) -> NDArray[Any]:
    """One value for each example (n,), also of a column (n, 1)."""
    try:
        array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"the {what} cannot be read as one array ({one_line(error)}): give one number each") from error
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise InputError(
            f"the {what} must be (n,), one for each example, not {array.shape}: for one-hot rows, give the argmax"
        )
    return array


def _logits(model: Any, inputs: Any, what: str) -> NDArray[np.float32]:
    """float32 (n, C) of a batch; a module gets copies, since it may write in place."""
    import torch

    network = isinstance(model, torch.nn.Module)
    if not callable(getattr(model, "logits", None)):
        check_type("the model", model, torch.nn.Module, "a torch.nn.Module, or a model of load_model")
    try:
        logits = _network_logits(model, torch.as_tensor(inputs)) if network else np.asarray(model.logits(inputs))
        if logits.ndim != 2 or len(logits) != len(inputs):
            raise InputError("the model must return logits (n, classes) for a batch of n inputs")
        return logits.astype(np.float32, copy=False)
    except InputError:
        raise
    except Exception as error:  # a model's own code may raise anything
        raise InputError(
            f"the model does not accept the inputs of {what} ({type(error).__name__}: {one_line(error)}): give them as "
            "in training (float32, normalized)"
        ) from error


def _network_logits(network: Any, inputs: Any) -> NDArray[Any]:
    """Logits of a module in evaluation mode, in which it is left as it was found."""
    import torch

    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    training, parts = network.training, []
    network.eval()
    try:
        with torch.no_grad():
            for rows in inputs.split(_AT_ONCE):
                outputs = network(rows.to(device, copy=True))
                if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != len(rows):
                    raise InputError("the model must return logits (n, classes) for a batch of n inputs")
                parts.append(outputs.float().cpu().numpy())
    finally:
        network.train(training)
    return np.concatenate(parts)
