"""Nothing but the privatized gradient leads from private images to what is released, or to somebody else's code."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import trilemma as tl
from trilemma.errors import PrivacyError
from trilemma.privacy import check_network
from trilemma.training.loop import Training
from trilemma.training.recipe import Recipe

RECIPE = Recipe(model="mine", epsilon=1.0, batch_size=60, epochs=2, learning_rate=0.5, secret_noise=False)


class Keeps(nn.Module):
    """Keeps what it saw in a buffer, at the moments that ``when`` names."""

    def __init__(self, when):
        super().__init__()
        self.when = when
        self.register_buffer("seen", torch.zeros(8, 8))

    def forward(self, images):
        now = {"gradients": torch.is_grad_enabled(), "no gradients": not torch.is_grad_enabled()}
        now |= {"evaluation": not self.training, "large batches": len(images) > 4}
        if now[self.when]:
            self.seen.lerp_(images[:, 0].detach().mean(0), 0.1)
        return images


@pytest.fixture(scope="module")
def data():
    return tl.load_data("digits", limit=120, test_limit=120)


def network_with(layer):
    torch.manual_seed(0)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize("when", ["gradients", "no gradients"])
def test_a_buffer_that_is_written_in_one_mode_alone_is_seen_by_the_check(when):
    with pytest.raises(PrivacyError, match=r"changes the buffer 0\.seen"):
        check_network(network_with(Keeps(when)), (1, 8, 8))


@pytest.mark.parametrize("when", ["large batches", "evaluation"])
def test_a_buffer_that_the_check_did_not_see_written_ends_the_training(data, when):
    """Guards: a released buffer that holds a private image, with a truth check that passes."""
    training = Training(RECIPE, data, network=network_with(Keeps(when)))

    def train_and_evaluate():
        list(training.run_updates(2))
        training.logits("train")

    with pytest.raises(PrivacyError, match=r"changed its buffer 0\.seen"):
        train_and_evaluate()


@pytest.mark.parametrize("techniques", [(), ("am", "pa", "sat")])
def test_hooks_on_parameters_are_never_called(data, techniques):
    """Guards: an optimizer from outside that reads the gradients of single examples through a hook."""
    training = Training(replace(RECIPE, techniques=techniques, views=2), data, network=network_with(nn.Identity()))
    called = []
    for parameter in training.state.model.parameters():
        parameter.register_hook(called.append)
    for _ in training.run_updates(4):
        pass
    assert training.state.evidence.spots[0] > 1
    assert not called
