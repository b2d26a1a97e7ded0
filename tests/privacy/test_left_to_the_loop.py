"""Networks without a fast rule, or on which one would be wrong, are found and computed exactly all the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipping_cases import CLASSES, SHAPE, batch, by_function, by_method, judge, prepared, scramble
from fast_networks import Net
from slow_networks import SLOW, position_first, pruned
from trilemma.errors import PrivacyError
from trilemma.privacy import Clipping, check_network, clipped_gradient_sum
from trilemma.privacy.gradients.layerwise import why_not_layerwise


class BackwardMixing(torch.autograd.Function):
    """Gradients that are scaled by a number which comes from the whole batch."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / gradient.abs().max()


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("name", SLOW)
def test_what_has_no_fast_rule_is_exact_all_the_same(name, views):
    """Guards: clipping norm ignored (a parameter outside its rule); tied parameters."""
    model = prepared(SLOW[name])
    images, labels = batch(4, views)
    assert check_network(model, SHAPE).reason
    judge(
        model,
        images,
        labels,
        by_function(model, images, labels),
        by_method(model, images, labels, "loop"),
    )


def test_a_weight_that_each_pass_writes_to_an_attribute_is_refused():
    """Torch's pruning does: whether it took its weight from parameters alone, a comparison cannot tell."""
    with pytest.raises(PrivacyError, match=r"attribute 0\.weight"):
        Clipping(prepared(pruned), 1.0)(*batch(2, 1))


def test_a_subclass_gets_no_rule_by_inheritance():
    """The rule of its parent class would give the gradient of another function."""
    model = prepared(SLOW["subclass"])
    assert "ScaledConv" in why_not_layerwise(model)
    with pytest.raises(ValueError, match="ScaledConv"):
        Clipping(model, 1.0, "layerwise")(*batch(2, 1))


def test_mixing_in_the_backward_pass_only_is_not_left_to_the_fast_method():
    """Gradients show the mixing and outputs do not; in the loop there is nothing to mix with."""

    def forward(self, x):
        return self.head(BackwardMixing.apply(self.a(x.flatten(1))).tanh())

    model = prepared(lambda: Net(forward, a=nn.Linear(192, 6), head=nn.Linear(6, CLASSES)))
    assert check_network(model, SHAPE).reason
    images, labels = batch(4, 1)
    alone = [
        clipped_gradient_sum(model, i, y, clipping_norm=1e9)[1]
        for i, y in zip(images.split(1), labels.split(1), strict=True)
    ]
    together = clipped_gradient_sum(model, images, labels, clipping_norm=1e9)[1]
    torch.testing.assert_close(together, torch.cat(alone))


# What follows: a layer whose rule does not apply, met on the ways that could go round the check.


@pytest.mark.parametrize("name", ["position-first", "weight-used-elsewhere", "weight-as-a-number"])
def test_auto_is_exact_without_the_check(name):
    """The choice of method may change speed, never the result.  ``Clipping`` itself must find out."""
    model = prepared(SLOW[name])
    images, labels = batch(4, 1)
    judge(model, images, labels, by_method(model, images, labels, "auto"))


@pytest.mark.parametrize("name", ["position-first", "weight-used-elsewhere", "weight-as-a-number"])
def test_layerwise_by_name_is_refused_or_exact(name):
    """The check has found that the fast method is wrong for this network: asking for it by name changes nothing."""
    model = prepared(SLOW[name])
    images, labels = batch(4, 1)
    try:
        clipped_gradient_sum(model, images, labels, method="layerwise")
    except ValueError:
        return
    judge(model, images, labels, by_function(model, images, labels, "layerwise"))


@pytest.mark.parametrize("make", [lambda: position_first(zero_head=True)], ids=["position-first"])
def test_a_head_of_zeros_does_not_blind_the_check(make):
    """A head that starts at zero sends no gradient back, so a check at the initial weights sees nothing behind it.

    Trained on, the fast method would mix examples: their clipped gradients would no longer be bounded by C each.
    """
    torch.manual_seed(5)
    model = make()
    assert check_network(model, SHAPE).reason
    scramble(model)
    images, labels = batch(4, 1)
    judge(model, images, labels, by_function(model, images, labels))


def test_a_gate_of_zero_does_not_blind_the_check():
    """The same error in a branch that is switched off at the start (SkipInit, zero-initialized norm)."""

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        hidden = torch.tanh(self.a(tokens))
        return self.head((hidden + self.gate(F.linear(hidden, self.a.weight))).mean(1))

    torch.manual_seed(5)
    model = Net(forward, a=nn.Linear(3, 3), gate=nn.LayerNorm(3), head=nn.Linear(3, CLASSES))
    nn.init.zeros_(model.gate.weight)
    assert check_network(model, SHAPE).reason


def test_a_single_logit_does_not_blind_the_check():
    """With one logit the softmax loss of the check is constant, so it compares zeros with zeros."""

    def logistic(logits, labels):
        return F.binary_cross_entropy_with_logits(logits.squeeze(1), labels.float(), reduction="none")

    def forward(self, x):
        tokens = x.flatten(2).permute(2, 0, 1)
        return self.head(torch.tanh(self.a(tokens)).square().mean(0))

    torch.manual_seed(0)
    model = Net(forward, a=nn.Linear(3, 6), head=nn.Linear(6, 1))
    images, labels = batch(4, 1, classes=2)
    sums, norms = clipped_gradient_sum(model, images, labels, clipping_norm=1e9, loss=logistic)
    exact, exact_norms = clipped_gradient_sum(model, images, labels, clipping_norm=1e9, loss=logistic, method="loop")
    torch.testing.assert_close(norms, exact_norms, rtol=1e-5, atol=0)
    for name in sums:
        torch.testing.assert_close(sums[name], exact[name], rtol=1e-4, atol=1e-6)


class SumOfLater(nn.Module):
    """Each row adds up itself and all after it, so that an example's gradient depends on its place."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(48, 3)

    def forward(self, x):
        return self.head(x.flatten(1).flip(0).cumsum(0).flip(0))


class TimesTheLength(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(48, 3)

    def forward(self, x):
        return self.head(x.flatten(1)) * len(x)


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_rows_that_depend_on_place_or_number_are_seen_on_any_number_of_cores(monkeypatch, cores):
    """Guards: the fast method computed in parts of one example each, which is the loop once more."""
    for module in ("sums", "layerwise"):
        monkeypatch.setattr(f"trilemma.privacy.gradients.{module}.threads", lambda: cores, raising=False)
    with pytest.raises(PrivacyError, match="mixes examples"):
        check_network(SumOfLater(), (3, 4, 4))
    assert check_network(TimesTheLength(), (3, 4, 4)).reason
