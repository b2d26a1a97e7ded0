"""One private training as a value: sampler, clip, noise and accounting that fit each other.

An update of DP-SGD (Abadi et al. 2016) with a plan is

    draw = plan.draw(sampling)                    # Poisson: each example with probability q = B / N
    total = clipping.zero()
    for part in draw.physical_batches(size):
        total = total + clipping(*views_and_labels(part))  # each example's gradient clipped to C
    gradient = plan.privatize(draw, total, noise) # + N(0, (sigma C)^2), once; / B

**Why this is private.**  Adding or removing one example changes ``total`` by at most C (see ``clipping``), with
probability q; ``privatize`` adds noise with standard deviation sigma C to every coordinate of it and divides by B, a
constant that depends neither on the draw nor on the examples.  So each call is one Poisson-subsampled Gaussian
mechanism, and ``plan.event(updates)`` is exactly the composition of that many.  Everything computed from the gradient
(momentum, averages, the next ascent direction) is post-processing.

N is public under add-or-remove-one neighbors, as in all of this field's accounting: q is computed from it.

A draw may also hold canaries, with numbers from N on: ``privacy.canaries`` says why they change nothing of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor, nn

from trilemma.errors import InputError, PrivacyError
from trilemma.privacy import accounting
from trilemma.privacy.clipping import Clipping, Method
from trilemma.privacy.evidence import Evidence
from trilemma.privacy.gradients.sums import ClippedSum, Loss, cross_entropy
from trilemma.privacy.noise import add_gaussian_noise
from trilemma.privacy.randomness import RandomStream
from trilemma.privacy.sampling import Draw, poisson_draw
from trilemma.words import CLIPPING_NORM_RANGE, CLIPPING_NORMS


@dataclass(frozen=True)
class Plan:
    """What a private training does, and so what its epsilon is computed for.

    Attributes:
      examples: N.
      batch_size: B, the expected size of the logical batch.
      updates: T.
      clipping_norm: C, between 1e-30 and 1e30.
      noise_multiplier: sigma.

    Raises:
      InputError: N, B or T is not a whole number, fewer than one example or update, a batch outside [1, N], or a
        clipping norm outside [1e-30, 1e30].
      PrivacyError: a noise multiplier that is not positive and finite.
    """

    examples: int
    batch_size: int
    updates: int
    clipping_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        for name in ("examples", "batch_size", "updates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise InputError(f"{name} must be a whole number (an int), not {value!r}")
        for name in ("clipping_norm", "noise_multiplier"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise InputError(f"{name} must be a number, not {value!r}")
        self.event(self.updates)
        if self.updates < 1:
            raise InputError(f"updates must be at least 1, not {self.updates}")
        if not CLIPPING_NORMS[0] <= self.clipping_norm <= CLIPPING_NORMS[1]:
            raise InputError(CLIPPING_NORM_RANGE.format(self.clipping_norm))

    @classmethod
    def calibrated(
        cls,
        *,
        epsilon: float,
        delta: float,
        batch_size: int,
        updates: int,
        examples: int,
        clipping_norm: float = 1.0,
        allow_large_delta: bool = False,
    ) -> Plan:
        """The plan with the least noise that keeps (epsilon, delta).

        Raises:
          InputError: arguments out of range or a budget out of reach.
          PrivacyError: delta of 1/N or more without ``allow_large_delta``.
        """
        accounting.check_delta(delta, examples, allow_large=allow_large_delta)
        sigma = accounting.noise_multiplier(
            epsilon=epsilon, delta=delta, batch_size=batch_size, updates=updates, examples=examples
        )
        return cls(examples, batch_size, updates, clipping_norm, sigma)

    @property
    def sampling_probability(self) -> float:
        """q = B / N, the probability with which an update draws each example."""
        return accounting.sampling_probability(self.batch_size, self.examples)

    def draw(self, stream: RandomStream) -> Draw:
        """The examples of the next update."""
        return poisson_draw(self.examples, self.sampling_probability, stream)

    def clipping(
        self,
        model: nn.Module,
        *,
        method: Method = "auto",
        loss: Loss = cross_entropy,
        autocast: torch.dtype | None = None,
    ) -> Clipping:
        """Clipped sums for ``model`` at this plan's clipping norm."""
        return Clipping(model, self.clipping_norm, method, loss, autocast)

    def privatize(
        self, draw: Draw, total: ClippedSum, stream: RandomStream, evidence: Evidence | None = None
    ) -> dict[str, Tensor]:
        """The private mean gradient of one update, float32 by parameter name: (total + noise) / B.

        Args:
          draw: what this plan drew, for this update alone.
          total: the clipped sum over exactly the drawn examples.
          stream: source of the noise, used for nothing else; it advances by a block, and so counts the updates.
          evidence: records what this training does, for its truth check at the end.

        Raises:
          PrivacyError: a sum that does not belong to this plan and draw: of another clipping norm, of more or fewer
            examples than were drawn, or of a draw with another probability; a draw of which a gradient was released
            before; or the plan's updates have all been made with this stream.
        """
        if stream.position >= self.updates:
            raise PrivacyError(
                f"the plan accounts for {self.updates} updates, and its noise stream has been used {stream.position} "
                "times: stop here, or plan for more updates, and give each training a stream for its noise alone"
            )
        if draw.released:
            raise PrivacyError(
                "a gradient over this draw was released before, and the plan accounts for one: draw again with "
                "plan.draw for each update"
            )
        if draw.sampling_probability != self.sampling_probability:
            raise PrivacyError(
                f"the batch was drawn with probability {draw.sampling_probability}, the plan accounts for "
                f"{self.sampling_probability}: draw with plan.draw"
            )
        if total.clipping_norm != self.clipping_norm:
            raise PrivacyError(
                f"the sum was clipped to {total.clipping_norm}, the plan's noise is for {self.clipping_norm}: "
                "clip with plan.clipping"
            )
        if total.count != len(draw):
            raise PrivacyError(
                f"the sum is over {total.count} examples but {len(draw)} were drawn: add up every physical batch once"
            )
        draw.mark_released()
        noisy = add_gaussian_noise(
            total.sums,
            standard_deviation=self.noise_multiplier * self.clipping_norm,
            stream=stream,
        )
        released = {name: value / self.batch_size for name, value in noisy.items()}
        if evidence is not None:
            deviation = self.noise_multiplier * self.clipping_norm
            evidence.record(draw, total, released, batch_size=self.batch_size, standard_deviation=deviation)
        return released

    def event(self, updates: int) -> accounting.Event:
        """What ``updates`` updates of this plan are to an accountant."""
        return accounting.Event(self.sampling_probability, self.noise_multiplier, updates)
