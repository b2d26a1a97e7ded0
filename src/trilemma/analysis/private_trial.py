"""What the ledger needs to know about a private trial, and which trials learned from the same images."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trilemma.data.named import NAMED, same_images
from trilemma.errors import InputError, PrivacyError
from trilemma.privacy.accounting import Event, check_delta

_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+):[\w.-]+")


def data_family(name: str) -> str:
    """The name that all data made from the same images share.

    Two paths are two families, even if they hold the same images.

    >>> data_family("cifar10s"), data_family("./birds/"), data_family("owner/birds:small")
    ('cifar10', 'birds', 'owner/birds')
    """
    hub = _HUB_NAME.fullmatch(name)
    return same_images(name) if name in NAMED else os.path.normpath(hub[1] if hub else name)


@dataclass(frozen=True)
class PrivateTrial:
    """What the ledger needs to know about a private trial.

    Attributes:
      id: the id of the trial.
      label: its title.
      family: see :func:`data_family`.
      event: what was run.
      delta: in (0, 1).
      epsilon: as the trial's run reported it.
      chosen_by: id of the trial by whose outcome its training set was chosen; None if there is none.
      noise: the source of its sampling and noise: trials with the same text drew the same numbers.  None means the
        operating system, whose numbers are never the same.
    """

    id: str
    label: str
    family: str
    event: Event
    delta: float
    epsilon: float
    chosen_by: str | None = None
    noise: str | None = None

    def __post_init__(self) -> None:
        check_delta(self.delta)
        if not self.epsilon >= 0:
            raise PrivacyError(f"trial {self.id} reports epsilon {self.epsilon}: it must be a number of at least 0")

    @classmethod
    def from_files(
        cls, id: str, trial: Mapping[str, Any], privacy: Mapping[str, Any], *, label: str = ""
    ) -> PrivateTrial:
        """The entry of a trial, from the trial in ``study.json`` and ``privacy`` of its run's ``result.json``.

        Raises:
          InputError: they lack an entry.
          PrivacyError: an event that cannot be accounted for, or a run that failed its truth check.
        """
        if not privacy.get("truth", {"passed": True})["passed"]:  # runs of older versions have no truth check
            raise PrivacyError(f"trial {id} is not private (truth check failed): it cannot be composed with others")
        if privacy.get("epsilon", 0) is None:
            raise PrivacyError(
                f"trial {id} has no epsilon (its claim was withdrawn): it cannot be composed with others"
            )
        try:
            recipe, removal = trial["recipe"], trial.get("removal")
            return cls(
                id,
                label or id,
                data_family(str(trial["data"]["name"])),
                Event.from_dict(privacy["event"]),
                float(privacy["delta"]),
                float(privacy["epsilon"]),
                None if removal is None else str(removal["scored_by"]),
                _noise(recipe, privacy.get("noise_key_digest")),
            )
        except KeyError as error:
            raise InputError(f"the files of trial {id} lack {error}: run the trial again with this version") from error


def _noise(recipe: Mapping[str, Any], key_digest: str | None) -> str | None:
    """The digest of the key or, for runs of the first version, which recorded none, the seed."""
    if recipe.get("secret_noise"):
        return None
    return f"seed {recipe['seed']}" if key_digest is None else f"key {key_digest}"
