"""What a worker reads: a trial of a study, or a shadow of a run."""

from __future__ import annotations

import json

from trilemma.study.job import Job
from trilemma.study.shadow_job import ShadowJob


def read_work(text: str) -> Job | ShadowJob:
    """Inverse of both classes' ``to_json``."""
    values = json.loads(text)
    return ShadowJob.from_dict(values["shadow job"]) if "shadow job" in values else Job.from_json(text)
