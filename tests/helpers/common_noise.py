"""``trilemma`` with noise that follows from key and update alone, and not from the sum that it is added to.

Trainings whose sums are rounded differently, as by two processes and by one, can then be compared number by number.
"""

import contextlib
import sys
from unittest import mock

from trilemma.cli.main import main
from trilemma.privacy import noise


def common_noise() -> contextlib.AbstractContextManager[object]:
    """Inside, no sum decides its noise."""
    return mock.patch.object(noise, "noise_stream", lambda sums, *, stream, **_: stream.derived(b""))


if __name__ == "__main__":
    with common_noise():
        sys.exit(main())
