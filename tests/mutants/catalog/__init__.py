"""All planted errors and harmless edits, by the package that they are made in."""

from __future__ import annotations

from planting import Planted

from catalog import attacks, privacy, studies, training, trial

PITFALLS = {
    "batch-factor": "sensitivity wrong by a factor of the batch size",
    "scale-normalizer": "noise scale and normalizer do not fit",
    "drawn-batch": "division by the drawn batch, or by the private N",
    "shuffled": "shuffled batches accounted as Poisson",
    "accumulation": "accumulation forgotten in the sampling rate",
    "foreign-rate": "rate taken from a foreign sampler's length",
    "noise-count": "noise added twice, once per physical batch, or per parameter clip",
    "unused-wrapper": "private wrapper built, then not used",
    "clip-ignored": "clipping norm ignored; bias norm left out",
    "tied-frozen": "tied, frozen or partly frozen parameters",
    "unclipped": "unclipped gradient mixed in",
    "batch-norm": "batch norm and other buffers",
    "empty-draw": "empty draw crashes or is skipped",
    "nan-gradient": "NaN gradient passes the clip",
    "micro-batch-clip": "clipping per micro-batch doubles sensitivity",
    "generator-reused": "generator reused: the same noise again",
    "resume-seed": "resume restarts the seed and repeats noise",
    "every-rank": "every rank adds noise, or none",
    "floating-point": "floating-point attack",
    "half-precision": "norms, sums or noise in half precision",
    "overshoot": "calibration overshoots the target",
    "underestimate": "an accountant that underestimates",
    "adjacency": "replace-one counted as add-or-remove",
    "update-count": "number of updates wrong by one, or by physical batches",
    "tuning": "tuning not charged",
    "test-selection": "best model chosen on the test set",
    "dpsat-perturbation": "DP-SAT perturbation added per physical batch, removed once",
    "losses-released": "exact losses released beside the model",
    "large-delta": "delta of 1/N or more",
    "average-per-batch": "averaging per physical batch",
    "clip-each-view": "clipping each view",
    "private-statistics": "statistics of private images; early stopping on private data",
    "sigma-schedule": "a noise schedule that is not told to the accountant",
    "last-batch": "last physical batch dropped",
    "unprivatized-average": "averaged weights that include an unprivatized step",
    "pickle": "pickle, and loaders that fall back to it",
    "bombs": "image, zip and header bombs",
    "traversal": "path traversal, stored script in a report",
    "stale-locks": "stale locks, zombie and doubled trials",
}
"""The field's known errors.  ``floating-point`` is a stated limit and cannot be planted; every other one is."""

NOT_PLANTED = frozenset({"floating-point"})

_PACKAGES = (attacks, privacy, studies, training, trial)

ERRORS: list[Planted] = [error for package in _PACKAGES for error in package.ERRORS]
HARMLESS: list[Planted] = [edit for package in _PACKAGES for edit in package.HARMLESS]
