"""Canaries in a training: what they are, which of them are in, when they are drawn, and how they are scored.

A canary is an extra example that no real image went into.  Each is put into the training with probability 1/2 and, if
it is in, drawn like any other example: by a Poisson coin of its own, with the same probability q.
:mod:`trilemma.privacy.canaries` says why the guarantee of the real examples is unharmed, and what the scores prove.

==============  ===========================================  ========================================================
kind            a canary                                     its score
==============  ===========================================  ========================================================
mislabelled     a synthetic image with a random label        its loss at the first weights less that at the last ones
blank           an image of one color with a random label    the same
gradient        a direction of norm C, orthogonal to all     the released sums less those of the real examples,
                others (:mod:`trilemma.privacy.directions`)  projected on it and added up over the updates
==============  ===========================================  ========================================================

**What is secret.**  The canaries themselves are public: they follow from the seed.  The coins (who is in, who is drawn)
come from a stream with a key of its own.  They must not be known to what computes the scores, and they may be known
to anybody afterward: the guarantee of the real examples holds for every choice of canaries.  The scores of gradient
canaries must stay secret, since they are projections of the noise: with them, part of what was added to the released
weights could be taken off again.  So coins and scores are in the checkpoint, which is deleted at the end, and a run
keeps only what is counted from them all.  Of the counts of gradient canaries a card says one bit, whether they
contradict the claim.  Even that bit is a function of the noise, so the guarantee of the weights does not cover it.  Of
canary images it says all: their scores are computed from the first and the released weights and from public images, and
the coins depend on no real image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError
from trilemma.hints import did_you_mean
from trilemma.models.prior.synthetic import synthetic_images
from trilemma.privacy.directions import Directions
from trilemma.privacy.gradients.sums import ClippedSum
from trilemma.privacy.plan import Plan
from trilemma.privacy.randomness import RandomStream
from trilemma.privacy.sampling import Draw, poisson_draw
from trilemma.seeds import rng_for
from trilemma.training.recipe import Recipe

Kind = Literal["mislabelled", "blank", "gradient"]
KINDS: tuple[str, ...] = get_args(Kind)
FEWEST, MOST = 20, 100_000
"""Fewer canaries prove nothing worth knowing, and might all be in, or all out.  More take minutes and gigabytes to
count, and prove less: with the correction for the choice of guesses, 4,000 prove at most 6.0 at delta = 1e-5, and
100,000 at most 5.3."""


@dataclass(frozen=True)
class Canaries:
    """What canaries a training has.

    Attributes:
      kind: "gradient" (directions of the clipping norm, the strongest), "mislabelled" (synthetic images with random
        labels) or "blank" (images of one color).
      count: M, from 20 to 100,000, of which about half will be in.

    Raises:
      InputError: another kind, fewer than 20, or more than 100,000.
    """

    kind: Kind
    count: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"no canary is called {self.kind!r}{did_you_mean(self.kind, KINDS)}: {', '.join(KINDS)}")
        if self.count < FEWEST:
            raise InputError(f"{self.count} canaries can show nothing: use at least {FEWEST}")
        if self.count > MOST:
            raise InputError(f"{self.count:,} canaries are more than can be counted: use at most {MOST:,}")

    def to_dict(self) -> dict[str, Any]:
        """As ``config.json`` records it."""
        return {"kind": self.kind, "count": self.count}


@dataclass(eq=False)
class Coins:
    """The part of a training's state that its canaries have.

    Attributes:
      stream: who is in, and who is drawn.
      canaries: what they are.
      included: bool (M,).
      scores: float64 (M,), of gradient canaries so far; of images their loss at the first weights.
    """

    stream: RandomStream
    canaries: Canaries
    included: Tensor
    scores: Tensor

    @classmethod
    def tossed(cls, stream: RandomStream, canaries: Canaries) -> Coins:
        """The coins of all M canaries, the first numbers of the stream."""
        count = canaries.count
        return cls(stream, canaries, stream.uniform(count) < 0.5, torch.zeros(count, dtype=torch.float64))

    @property
    def count(self) -> int:
        """How many canaries are in."""
        return int(self.included.sum())

    def begin(self, losses: Tensor) -> None:
        """Note the losses of canary images at the first weights: float64 (M,), or (0,) of gradient canaries."""
        self.scores[: len(losses)] = losses

    def final_scores(self, losses: Tensor) -> Tensor:
        """float64 (M,): the scores, given the losses of canary images at the last weights, as in :meth:`begin`."""
        return self.scores - losses if len(losses) else self.scores

    def to_tensors(self) -> dict[str, Tensor]:
        return {"stream": self.stream.get_state(), "included": self.included, "scores": self.scores}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take on the coins that were saved.

        Raises:
          InputError: they are missing, or those of another number of canaries.
        """
        shapes = {name: tensors[name].shape for name in ("included", "scores") if name in tensors}
        if "stream" not in tensors or shapes != {"included": self.included.shape, "scores": self.scores.shape}:
            raise InputError(
                f"the checkpoint does not hold the coins of its {self.canaries.count} canaries: "
                "start again with another --out"
            )
        self.stream.set_state(tensors["stream"].cpu())
        self.included, self.scores = tensors["included"].cpu(), tensors["scores"].cpu()


@dataclass(eq=False)
class Placed:
    """The canaries of one training beside its examples: numbers from N on in a draw are canaries that are in.

    Attributes:
      canaries: what they are.
      examples: N, the real ones.
      plan: of the training, computed from the real examples alone.
      directions: of gradient canaries, otherwise None.
    """

    canaries: Canaries
    examples: int
    plan: Plan
    directions: Directions | None = field(default=None)

    @classmethod
    def among(cls, canaries: Canaries, recipe: Recipe, examples: int, plan: Plan, model: nn.Module) -> Placed:
        """The canaries of one training.

        Raises:
          InputError: the network has fewer weights than there are gradient canaries.
        """
        if canaries.kind != "gradient":
            return cls(canaries, examples, plan)
        weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if canaries.count > weights:
            raise InputError(
                f"{canaries.count} gradient canaries need as many weights, and the network has {weights}: use fewer"
            )
        return cls(canaries, examples, plan, Directions(canaries.count, weights, recipe.seed))

    def draw(self, real: Draw, coins: Coins) -> Draw:
        """The logical batch: the real examples of ``real``, and every canary that is in with the same probability."""
        own = poisson_draw(coins.count, real.sampling_probability, coins.stream)
        return Draw(torch.cat([real.indices, own.indices + self.examples]), real.sampling_probability)

    def rows(self, draw: Draw, coins: Coins) -> Tensor:
        """int64: the rows of the inputs whose gradients are computed: all of the draw, or, where canaries are
        gradients, its real examples."""
        real = draw.indices[draw.indices < self.examples]
        if self.directions is not None:
            return real
        return torch.cat([real, self._drawn(draw, coins) + self.examples])

    def join(self, total: ClippedSum, draw: Draw, coins: Coins) -> ClippedSum:
        """The clipped sum over the draw, from that over the rows."""
        if self.directions is None:
            return total
        return self.directions.join(total, self._drawn(draw, coins))

    def add_scores(self, released: dict[str, Tensor], coins: Coins) -> None:
        """Add to the scores what an update that was just released says."""
        if self.directions is not None:
            plan = self.plan
            coins.scores += self.directions.scores(
                released, batch_size=plan.batch_size, clipping_norm=plan.clipping_norm
            )

    def _drawn(self, draw: Draw, coins: Coins) -> Tensor:
        """int64: which of all M canaries were drawn."""
        numbers = draw.indices[draw.indices >= self.examples] - self.examples
        return torch.nonzero(coins.included).squeeze(1)[numbers]


def refuse_canaries(canaries: Canaries, recipe: Recipe, data: Dataset, processes: int) -> None:
    """Refuse canaries that the training cannot have.

    Raises:
      InputError: there is no budget to audit, there are several processes or more canary images than examples, the
        recipe trains the head alone at first, or the classes and colors do not suffice.
    """
    kind, count, examples = canaries.kind, canaries.count, len(data.train)
    if not recipe.private:
        raise InputError("canaries audit a budget, and this training has none: give --epsilon, or leave out --canaries")
    if processes > 1:
        raise InputError("a training with canaries is made by one process: run the same command without torchrun")
    if kind == "gradient":
        if recipe.pretrain:
            raise InputError(
                "gradient canaries span all weights, and a pre-trained network trains its head alone at first: use "
                "--canary mislabelled, or leave out --pretrain"
            )
        return
    most = min(examples, _blanks(data)) if kind == "blank" else examples
    if count > most:
        raise InputError(f"{count} {kind} canaries are more than {examples} training examples can carry: use {most}")


def with_canaries(data: Dataset, canaries: Canaries | None, seed: int) -> Dataset:
    """The data with canary images behind the training examples; what is measured never sees these.

    Args:
      data: of the training.
      canaries: None and gradient canaries leave the data as they are.
      seed: of the recipe.
    """
    if canaries is None or canaries.kind == "gradient":
        return data
    rng = rng_for(seed, f"canaries {canaries.kind}")
    channels, height, width = data.image_shape
    labels = rng.integers(len(data.classes), size=canaries.count)
    if canaries.kind == "mislabelled":
        images = synthetic_images(canaries.count, data.image_shape, int(rng.integers(2**62))).numpy()
    else:
        # Each is another pair of color and label, or nobody could tell one that is in from one that is not.
        pairs = rng.choice(_blanks(data), size=canaries.count, replace=False)
        colors, labels = np.divmod(pairs, len(data.classes))
        levels = np.stack([colors >> 8 * channel & 255 for channel in range(channels)], axis=1).astype(np.uint8)
        images = np.broadcast_to(levels[:, :, None, None], (canaries.count, channels, height, width))
    train = Split(np.concatenate([data.train.images, images]), np.concatenate([data.train.labels, labels]))
    return replace(data, train=train)


def _blanks(data: Dataset) -> int:
    """The number of different pairs of color and label."""
    return int(256 ** data.image_shape[0] * len(data.classes))
