"""What really happened in a private training, collected update by update while it happens.

``Plan.privatize`` hands every draw, clipped sum and released gradient to :meth:`Evidence.record`, which computes the
noise that was added (the released gradient times B, less the clipped sum, in units of sigma C) and keeps a few numbers
of it: so it sees what any part of the mechanism did, and not what it was meant to do.  At the end of the run
:func:`trilemma.privacy.truth.truth_check` judges the numbers.

Under the plan the noise consists of independent standard normals, also given all that came before.  A scalar product
with anything else that was fixed before it, divided by the norm of that, is therefore exactly standard normal; those
are the correlations that are kept.

Evidence is computed from private data and from the noise.  It stays in the checkpoint, which is removed when the run
ends; what the truth check reports of it is as little covered by the guarantee as the training accuracy is.
"""

from __future__ import annotations

import array
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call

from trilemma.errors import InputError
from trilemma.privacy.clipping import Clipping
from trilemma.privacy.gradients.sums import ClippedSum
from trilemma.privacy.sampling import Draw

COLUMNS = (
    "drawn",
    "canaries",
    "overlap",
    "weights",
    "squares",
    "mean",
    "neighbor",
    "halves",
    "tensors",
    "previous",
    "sum",
    "clip",
    "magnitude",
    "deviation",
    "divisor",
)
"""One row for each update. ``drawn``: examples, without canaries; ``canaries``: those drawn; ``overlap``: examples
also in the draw before; ``weights``: noise values; ``squares``: the sum of their squares; ``mean`` to ``sum``: the
noise's sum, and its correlations with itself shifted by one, between the two halves of each tensor, with the tensor
before it, with the update before and with the clipped sum, each standard normal (NaN where there is nothing to
correlate with); ``clip``: norm of the clipped sum divided by its bound, count C; ``magnitude``: norm of the noisy sum,
which bounds the rounding; ``deviation`` and ``divisor``: sigma C and B, in which noise is measured."""

PLACES = 8
"""Noise values of each update that are kept for the whole run, evenly spread over the weights."""

SPOTS = 5  # numbers of the single examples that were computed again, see Evidence.spots

FEW = 64
"""Examples, at most, in whose sum a single example is looked for where the network computes in bfloat16."""

_REMEMBERED = 2**16
"""Values of each tensor's noise that are compared with the next update's, at most."""

_GOLDEN = (math.sqrt(5) - 1) / 2

_PRODUCTS = 13  # numbers of one tensor in one update, see _products


@dataclass(eq=False)
class Evidence:
    """The evidence of one training so far; part of its state, and of its checkpoints.

    Attributes:
      examples: N, without canaries.
      canaries: how many canaries are in; their numbers in a draw are those from N on.
      inclusions: int64 (N + canaries,), how often each example, and then each canary, was drawn.
      last_draw: int64 (n,), the examples of the latest draw, without canaries, or None before the first.
      tensors: by parameter name: float64 (3,), how many noise values it got in all, their sum, the sum of squares.
      last_noise: by parameter name: float32 (at most 65,536,), the beginning of its latest noise.
      spots: float64 (5,): single examples looked at; the largest distance of what one adds by itself from its clipped
        gradient by the plain loop, and the largest norm of that, both in units of C; the largest relative error of a
        norm that was reported within its batch; and the largest distance, in units of C, of what one added to the sum
        of its physical batch from its clipped gradient.
    """

    examples: int
    canaries: int = 0
    inclusions: Tensor = field(init=False)
    last_draw: Tensor | None = field(default=None, init=False)
    tensors: dict[str, Tensor] = field(default_factory=dict, init=False)
    last_noise: dict[str, Tensor] = field(default_factory=dict, init=False)
    spots: Tensor = field(default_factory=lambda: torch.zeros(SPOTS, dtype=torch.float64), init=False)
    _rows: array.array[float] = field(default_factory=lambda: array.array("d"), init=False, repr=False)
    _places: array.array[float] = field(default_factory=lambda: array.array("f"), init=False, repr=False)
    _digests: array.array[int] = field(default_factory=lambda: array.array("q"), init=False, repr=False)

    def __post_init__(self) -> None:
        self.inclusions = torch.zeros(self.examples + self.canaries, dtype=torch.int64)

    @property
    def updates(self) -> int:
        """How many updates were recorded."""
        return len(self._rows) // len(COLUMNS)

    @property
    def rows(self) -> Tensor:
        """float64 (updates, len(COLUMNS))."""
        return torch.tensor(self._rows, dtype=torch.float64).view(-1, len(COLUMNS))

    @property
    def places(self) -> Tensor:
        """float32 (updates, PLACES), noise values at the same places in every update; NaN beyond the weights."""
        return torch.tensor(self._places, dtype=torch.float32).view(-1, PLACES)

    @property
    def digests(self) -> Tensor:
        """int64 (updates,), a digest of the examples of each draw, without canaries."""
        return torch.tensor(self._digests, dtype=torch.int64)

    @torch.no_grad()
    def record(
        self,
        draw: Draw,
        total: ClippedSum,
        released: Mapping[str, Tensor],
        *,
        batch_size: int,
        standard_deviation: float,
    ) -> None:
        """Record one update.

        Args:
          draw: the logical batch.
          total: the clipped sum, as it was before noise was added.
          released: the privatized gradient, float32 by parameter name.
          batch_size: B, by which the plan divides.
          standard_deviation: sigma C, in the unit of the sums.
        """
        drawn = self._record_draw(draw)
        sizes = [tensor.numel() for tensor in released.values()]
        wanted = _spread_out(sum(sizes))
        products, places, before, start = [], [], None, 0
        for name, tensor in released.items():
            noise = torch.sub(tensor, total.sums[name], alpha=1 / batch_size).float().flatten()
            clipped = total.sums[name].float().flatten()
            products.append(self._products(noise, clipped, before, self.last_noise.get(name)))
            places += [noise[place - start] for place in wanted if start <= place < start + len(noise)]
            # Of a long tensor only the beginning is kept: a copy, which lets go of the rest.
            self.last_noise[name] = noise if len(noise) <= _REMEMBERED else noise[:_REMEMBERED].clone()
            before, start = noise, start + len(noise)
        numbers = torch.stack([*(value for values in products for value in values), *places]).double().cpu()
        unit = standard_deviation / batch_size
        table = numbers[: _PRODUCTS * len(sizes)].view(-1, _PRODUCTS)
        values = numbers[_PRODUCTS * len(sizes) :] / unit
        self._record_tensors(list(released), sizes, table, unit)
        self._places.extend([*values.tolist(), *[math.nan] * (PLACES - len(values))])
        self._rows.extend([*drawn, float(sum(sizes)), *_noise_row(sizes, table, unit)])
        norm = float(table[:, 7].sum().sqrt())
        bound = total.count * total.clipping_norm
        magnitude = norm / standard_deviation + float(table[:, 1].sum().sqrt()) / unit
        clip = norm / bound if bound else math.inf if norm else 0.0
        self._rows.extend([clip, magnitude, standard_deviation, float(batch_size)])

    def _record_draw(self, draw: Draw) -> tuple[float, float, float]:
        """``drawn``, ``canaries`` and ``overlap`` of ``COLUMNS``, apart: canaries must not hide the examples' draws."""
        indices, overlap = draw.indices[draw.indices < self.examples], math.nan
        if self.last_draw is not None:
            before = torch.zeros(self.examples, dtype=torch.bool)
            before[self.last_draw] = True
            overlap = float(before[indices].sum())
        self.inclusions[draw.indices] += 1  # an example drawn twice counts once, which the totals then reveal
        self.last_draw = indices
        digest = hashlib.blake2b(indices.numpy().tobytes(), digest_size=8).digest()
        self._digests.append(int.from_bytes(digest, "big", signed=True))
        return float(len(indices)), float(len(draw) - len(indices)), overlap

    @staticmethod
    def _products(noise: Tensor, total: Tensor, before: Tensor | None, last: Tensor | None) -> list[Tensor]:
        """Sum and squares of a tensor's noise; then scalar products with what it must not depend on, each followed by
        the squared norm of that: shifted by one, the other half, the clipped sum, the update before, the tensor
        before (0 where there is none); last, 1 if there was a tensor before."""
        half, even = len(noise) // 2, noise[: len(noise) // 2 * 2].view(-1, 2)
        zero = noise.new_zeros(())
        row = [noise.sum(), torch.dot(noise, noise)]
        row += [torch.dot(even[:, 0], even[:, 1]), torch.dot(even[:, 0], even[:, 0])]
        row += [torch.dot(noise[:half], noise[half : 2 * half]), torch.dot(noise[:half], noise[:half])]
        row += [torch.dot(noise, total), torch.dot(total, total)]
        for other in (last, before):
            if other is None:
                row += [zero, zero]
                continue
            length = min(len(other), len(noise))
            row += [torch.dot(noise[:length], other[:length]), torch.dot(other[:length], other[:length])]
        return [*row, zero if before is None else zero + 1]

    def _record_tensors(self, names: list[str], sizes: list[int], table: Tensor, unit: float) -> None:
        for name, size, row in zip(names, sizes, table.tolist(), strict=True):
            sums = self.tensors.setdefault(name, torch.zeros(3, dtype=torch.float64))
            sums += torch.tensor([size, row[0] / unit, row[1] / unit**2], dtype=torch.float64)

    # ---- single examples --------------------------------------------------------------------------------------------

    def spot_place(self, count: int) -> int | None:
        """The place, among ``count`` examples of this update's draw, of the one to recompute, or None for no example.

        One is due in updates 1, 2, 4, 8, ..., or in the next one with examples.  The places are multiples of the golden
        ratio, modulo 1: the next one always lies in one of the widest gaps between those before.  So an error at some
        places of a draw, or in some of its physical batches, is not passed by in every update.
        """
        looked_at = int(self.spots[0])
        if not count or looked_at >= 1 + math.floor(math.log2(self.updates + 1)):
            return None
        return int(count * (looked_at * _GOLDEN % 1))

    def spot(self, clipping: Clipping, images: Tensor, labels: Tensor, clipped: ClippedSum, place: int) -> None:
        """Compute one example of a physical batch again, by an ordinary backward pass of its own, and the sum of that
        batch without it: the difference of the two sums must be the example's clipped gradient.  So it is seen where
        examples have come to be mixed since the network was checked, as by code that was replaced meanwhile.

        In bfloat16 each example may be rounded otherwise in another batch, which in a large one would hide a whole
        example: there both sums are computed again, over ``FEW`` examples around this one.

        Args:
          clipping: what computes this run's clipped sums.
          images, labels: the physical batch, as they were given to ``clipping``.
          clipped: what it returned for them.
          place: of the example in the physical batch.
        """
        reported, whole = float(clipped.norms[place]), clipped.sums
        if clipping.autocast is not None:
            first = max(0, place - FEW // 2)
            images, labels, place = images[first : first + FEW], labels[first : first + FEW], place - first
            whole = clipping(images, labels).sums
        image, label = images[place : place + 1], labels[place : place + 1]
        gradient = _plain_gradient(clipping, image, label)
        alone = clipping(image, label).sums
        flat = torch.cat([g.flatten() for g in gradient.values()])
        exact, limit = float(flat.norm()), clipping.clipping_norm
        expected = flat * min(1.0, limit / max(exact, 1e-300)) if math.isfinite(exact) else torch.zeros_like(flat)
        rest = torch.arange(len(labels), device=labels.device) != place
        others = clipping(images[rest], labels[rest]).sums
        added = torch.cat([alone[name].double().flatten() for name in gradient])
        difference = torch.cat([(whole[name].double() - others[name]).flatten() for name in gradient])
        error = abs(reported - exact) / max(exact, limit * 1e-3) if math.isfinite(exact) else 0.0
        distances = [float((value - expected).norm()) / limit for value in (added, difference)]
        measured = torch.tensor([0.0, distances[0], float(added.norm()) / limit, error, distances[1]])
        self.spots = torch.maximum(self.spots, measured)  # which keeps a NaN, so that it fails the check
        self.spots[0] += 1

    # ---- in the training's state ------------------------------------------------------------------------------------

    def to_tensors(self) -> dict[str, Tensor]:
        """All evidence as tensors, by name."""
        return {
            "inclusions": self.inclusions,
            "last_draw": torch.zeros(0, dtype=torch.int64) if self.last_draw is None else self.last_draw,
            "spots": self.spots,
            "rows": self.rows,
            "places": self.places,
            "digests": self.digests,
            **{f"tensors/{name}": value for name, value in self.tensors.items()},
            **{f"last_noise/{name}": value for name, value in self.last_noise.items()},
        }

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Restore the evidence that was saved.

        Args:
          tensors: the value of :meth:`to_tensors`.
          device: the device of the noise.

        Raises:
          InputError: they hold no evidence, or that of an earlier version.
        """
        if "rows" not in tensors or (tensors["rows"].shape[1:], len(tensors["spots"])) != ((len(COLUMNS),), SPOTS):
            raise InputError(
                "the checkpoint was written by a version that kept no evidence of what it did, or less than this one, "
                "so the run could not be checked at its end: start again in another --out"
            )
        self.canaries = len(tensors["inclusions"]) - self.examples  # in by chance, so the saved number counts
        self.inclusions, self.spots = tensors["inclusions"].cpu(), tensors["spots"].cpu()
        self._rows = array.array("d", tensors["rows"].flatten().tolist())
        self._places = array.array("f", tensors["places"].flatten().tolist())
        self._digests = array.array("q", tensors["digests"].tolist())
        self.last_draw = tensors["last_draw"].cpu() if self.updates else None
        self.tensors = {n.removeprefix("tensors/"): t.cpu() for n, t in tensors.items() if n.startswith("tensors/")}
        self.last_noise = {
            # Copied, because the last bits of a product depend on how its factors are aligned in memory.
            n.removeprefix("last_noise/"): t.to(device, copy=True)
            for n, t in tensors.items()
            if n.startswith("last_noise/")
        }


def _spread_out(count: int) -> list[int]:
    """At most ``PLACES`` places among ``count``, all different."""
    places = min(PLACES, count)
    return [number * count // places for number in range(places)]


def _noise_row(sizes: list[int], table: Tensor, unit: float) -> list[float]:
    """``squares`` to ``sum`` of ``COLUMNS``, from the tensors' products."""
    sums = table.sum(dim=0).tolist()

    def normal(product: int) -> float:
        norm = math.sqrt(sums[product + 1])
        return sums[product] / norm / unit if norm > 0 else math.nan

    # Tensors form a chain, in which each is tested given the one before it, so each product has its own norm.
    chained = table[table[:, 12] > 0]
    tensors = float((chained[:, 10] / chained[:, 11].sqrt()).sum()) / unit / math.sqrt(max(1, len(chained)))
    mean = sums[0] / unit / math.sqrt(max(1, sum(sizes)))
    return [
        sums[1] / unit**2,
        mean,
        normal(2),
        normal(4),
        tensors if len(chained) else math.nan,
        normal(8),
        normal(6),
    ]


def _plain_gradient(clipping: Clipping, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The gradient, float64 by name, of one example's mean loss over its views, by ordinary autograd.

    It is taken for copies of the parameters: hooks that somebody put on the parameters must not see it.
    """
    parameters = {name: p.detach().requires_grad_() for name, p in clipping.objective.parameters().items()}
    views = images.shape[1]
    with (
        torch.enable_grad(),
        torch.autocast(
            images.device.type, dtype=clipping.autocast or torch.bfloat16, enabled=clipping.autocast is not None
        ),
    ):
        logits = functional_call(clipping.model, parameters, (images.flatten(0, 1).float(),))
    loss = clipping.loss(logits, labels.repeat_interleave(views)).mean()
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    pairs = zip(parameters.items(), gradients, strict=True)
    return {name: (torch.zeros_like(p) if g is None else g).double() for (name, p), g in pairs}
