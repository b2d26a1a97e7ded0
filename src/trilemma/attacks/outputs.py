"""The predictions of a torch module, or of a classifier with scikit-learn's interface, on members and non-members."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.dataset import Split
from trilemma.errors import InputError
from trilemma.hints import one_line

_AT_ONCE = 256


def fields_from_model(model: Any, train: Any, test: Any) -> dict[str, Any]:
    """The arguments of ``Predictions`` for a torch module, or a model of :func:`trilemma.load_model`.

    Args:
      model: maps a batch of inputs to logits (n, C).  A module is used as it is, in evaluation mode.
      train, test: (inputs, labels) or (inputs, labels, groups) as arrays or tensors, a ``Split``, or an iterable of
        such batches (a ``DataLoader``): its training examples, and other examples.

    Raises:
      InputError: the model does not accept the inputs, or does not return logits.
    """
    parts = [_asked(model, part, what) for part, what in ((train, "train"), (test, "test"))]
    logits, labels, groups = (list(values) for values in zip(*parts, strict=True))
    if logits[0].shape[1] != logits[1].shape[1]:
        raise InputError("the model returns different numbers of classes for train and test: give inputs of one kind")
    fields: dict[str, Any] = {"logits": np.concatenate(logits), "labels": np.concatenate(labels)}
    fields["member"] = np.arange(len(fields["labels"])) < len(labels[0])
    if all(values is not None for values in groups):
        fields["groups"] = np.concatenate(groups)
    names = getattr(model, "classes", None)
    if isinstance(names, tuple | list) and len(names) == logits[0].shape[1]:  # of a model of tl.load_model
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
    probabilities = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    classes = list(estimator.classes_)
    places = {value: index for index, value in enumerate(classes)}
    unknown = next((value for value in np.asarray(y).tolist() if value not in places), None)
    if unknown is not None:
        raise InputError(f"y contains {unknown!r}, which is not one of the classes that the classifier was fitted on")
    labels = np.array([places[value] for value in np.asarray(y).tolist()], dtype=np.int64)
    names = tuple(str(value) for value in classes)
    fields: dict[str, Any] = {"probs": probabilities, "labels": labels, "member": member, "class_names": names}
    return fields if groups is None else fields | {"groups": groups}


def _asked(model: Any, part: Any, what: str) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any] | None]:
    """(logits, labels, groups or None) of one side."""
    batches = [_batch(batch, what) for batch in _batches(part)]
    if not batches:
        raise InputError(f"{what} holds no examples: give at least ten")
    logits = [_logits(model, inputs, what) for inputs, _, _ in batches]
    groups = [batch[2] for batch in batches]
    known = None if any(values is None for values in groups) else np.concatenate([g for g in groups if g is not None])
    return np.concatenate(logits), np.concatenate([batch[1] for batch in batches]), known


def _batches(part: Any) -> Any:
    if isinstance(part, Split):
        return [(part.images, part.labels) if part.groups is None else (part.images, part.labels, part.groups)]
    return [part] if isinstance(part, tuple) else part


def _batch(batch: Any, what: str) -> tuple[Any, NDArray[Any], NDArray[Any] | None]:
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise InputError(f"{what} must be (inputs, labels) or (inputs, labels, groups), or batches of these")
    labels = np.asarray(batch[1])
    if len(batch[0]) != len(labels):
        raise InputError(f"{what} has {len(batch[0])} inputs but {len(labels)} labels: give one for each")
    return batch[0], labels, np.asarray(batch[2]) if len(batch) == 3 else None


def _logits(model: Any, inputs: Any, what: str) -> NDArray[np.float32]:
    import torch

    if not isinstance(model, torch.nn.Module):
        return np.asarray(model.logits(inputs), dtype=np.float32)
    tensor = torch.as_tensor(inputs)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    training, parts = model.training, []
    model.eval()
    try:
        with torch.no_grad():
            for rows in tensor.split(_AT_ONCE):
                outputs = model(rows.to(device))
                if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != len(rows):
                    raise InputError("the model must return logits (n, classes) for a batch of n inputs")
                parts.append(outputs.float().cpu().numpy())
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the model does not accept the inputs of {what} ({one_line(error)}): give them as it was trained on them "
            "(float32, normalized)"
        ) from error
    finally:
        model.train(training)
    return np.concatenate(parts)
