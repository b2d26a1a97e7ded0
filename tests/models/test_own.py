"""A user's module: what cannot be trained is refused in one line, and what is given stays as it is."""

import copy

import pytest
import torch
from torch import nn

from trilemma.errors import InputError, PrivacyError
from trilemma.models.own import own_network
from trilemma.privacy.validation import check_network

SHAPE = (1, 8, 8)


def linear(classes=3, **choices):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes, **choices))


class Cut(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = linear()

    def forward(self, images):
        with torch.no_grad():
            return self.inside(images)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows, self.head = nn.LSTM(8, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.rows(images.squeeze(1))[0][:, -1])


class Detached(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 3))

    def forward(self, images):
        return super().forward(images).detach()


class Counts(nn.Module):
    """Changes in every pass, also in an evaluation."""

    def __init__(self):
        super().__init__()
        self.passes = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images):
        self.passes += 1
        self.seen += images.sum() + 1
        return images


class Uncopied(nn.Identity):
    def __deepcopy__(self, memo):
        raise RuntimeError("once\nand no more")


def normed():
    network = linear()
    nn.utils.weight_norm(network[1])
    return network


REFUSED = {
    "no module": (lambda: torch.relu, "give a torch.nn.Module"),
    "float64": (lambda: linear().double(), "float64"),
    "float16": (lambda: linear().half(), "float16"),
    "bfloat16": (lambda: linear().bfloat16(), "bfloat16"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "has no weights yet"),
    "meta": (lambda: linear(device="meta"), "device meta"),
    "parallel": (lambda: nn.DataParallel(linear()), "give the module inside"),
    "no gradients": (Cut, "without gradients"),
    "too few classes": (lambda: linear(2), r"not return logits \(n, 3\)"),
    "too many classes": (lambda: linear(4), r"not return logits \(n, 3\)"),
    "other images": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(63, 3)), "RuntimeError"),
    "older weight norm": (
        normed,
        "has torch.nn.utils.weight_norm on 1.*: use torch.nn.utils.parametrizations.weight_norm",
    ),
    "not copied": (lambda: nn.Sequential(linear(), Uncopied()), "cannot be copied"),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning", "ignore:.*Lazy modules:UserWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_trained_is_refused_in_one_line(kind):
    make, words = REFUSED[kind]
    with pytest.raises(InputError, match=words) as error:
        own_network("mine", make(), 3, SHAPE)
    assert "\n" not in str(error.value)


def test_the_copy_has_the_weights_and_nothing_that_the_trial_left():
    network = nn.Sequential(Counts(), nn.Dropout(), linear()).eval()
    before, generator = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    mine = own_network("mine", network, 3, SHAPE)
    assert mine.training
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    assert mine[0].passes == 0
    assert not {p.data_ptr() for p in mine.parameters()} & {p.data_ptr() for p in network.parameters()}
    assert torch.equal(torch.random.get_rng_state(), generator)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Recurrent, "changes the attribute rows._flat_weight"),
        (lambda: torch.jit.script(linear()), "does not show what it keeps"),
        (Detached, "cannot be computed"),
    ],
)
def test_what_an_update_would_refuse_is_refused_before_the_first(make, words):
    with pytest.raises(PrivacyError, match=words):
        check_network(make(), SHAPE)


class Itself(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = linear()

    def forward(self, images):
        return self.inside(images)

    def __deepcopy__(self, memo):
        return self


class Shallow(Itself):
    def __deepcopy__(self, memo):
        twin = Shallow()
        twin.inside = self.inside
        return twin


@pytest.mark.parametrize("kind", [Itself, Shallow])
def test_a_copy_that_is_none_is_refused(kind):
    """Guards: the caller's weights are trained, and the next private training begins with them."""
    with pytest.raises(InputError, match="shares weights with its copy"):
        own_network("net", kind(), 3, SHAPE)
