"""Networks that the guarantee cannot cover are refused, with the module's name and what to put in its place."""

import copy
from contextlib import suppress

import pytest
import torch
from torch import nn

from fast_networks import Net
from trilemma.errors import PrivacyError
from trilemma.models import build
from trilemma.privacy import Clipping, check_network, clipped_gradient_sum
from trilemma.privacy.validation import refuse_random_layers

SHAPE = (3, 8, 8)


def around(layer, channels=6):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3), nn.Sequential(layer), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)
    )


def refused(model, *words):
    """``check_network`` and ``Clipping`` refuse it, in one line that says all of ``words``."""
    images = torch.randn(4, 2, *SHAPE)
    for call in (
        lambda: check_network(model, SHAPE),
        lambda: clipped_gradient_sum(model, images, torch.tensor([0, 1, 0, 1])),
    ):
        with pytest.raises(PrivacyError) as caught:
            call()
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)


# --- known offenders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_batch_norm_is_refused(kind, affine, training):
    """Guards: batch norm and other buffers."""
    refused(around(kind(6, affine=affine)).train(training), "1.0", kind.__name__, "group norm")


def test_batch_norm_of_vectors_and_volumes_is_refused():
    refused(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 5)), "1", "BatchNorm1d", "group norm")
    refused(nn.Sequential(nn.Unflatten(1, (3, 1)), nn.BatchNorm3d(3), nn.Flatten(), nn.Linear(192, 5)), "BatchNorm3d")
    refused(nn.Sequential(nn.LazyBatchNorm2d(), nn.Flatten(), nn.Linear(192, 5)), "BatchNorm2d")


def test_batch_norm_without_statistics_is_refused():
    refused(around(nn.BatchNorm2d(6, track_running_stats=False)), "1.0", "BatchNorm2d")


def test_frozen_batch_norm_is_refused():
    model = around(nn.BatchNorm2d(6))
    for p in model[1].parameters():
        p.requires_grad_(False)
    refused(model, "BatchNorm2d")


def test_a_subclass_of_batch_norm_is_refused():
    class Ours(nn.BatchNorm2d):
        pass

    refused(around(Ours(6)), "Ours")


def test_the_catalog_s_batch_norm_is_refused_by_name():
    for name in ("wrn-10-1", "convnet"):
        model = build(name, classes=5, image_shape=SHAPE, norm="batch", generator=torch.Generator())
        refused(model, "BatchNorm2d", "norm")


def test_a_bare_batch_norm_is_named_too():
    refused(nn.BatchNorm2d(3), "the network", "BatchNorm2d")


def test_instance_norm_with_running_statistics_is_refused():
    """Guards: statistics of private images."""
    refused(
        around(nn.InstanceNorm2d(6, track_running_stats=True)), "1.0", "InstanceNorm2d", "track_running_stats=False"
    )
    assert check_network(around(nn.InstanceNorm2d(6)), SHAPE).reason is None


# --- found by trying --------------------------------------------------------------------------------------------------


def mean_of_the_batch(self, x):
    x = x.flatten(1)
    return self.head(x - x.mean(0))


def noise_of_the_batch(self, x):
    x = x.flatten(1)
    return self.head(x / x.std())


def next_one(self, x):
    return self.head(x.flatten(1) + 0.1 * x.flatten(1).roll(1, 0))


def far_one(self, x):
    return self.head(x.flatten(1) + 0.1 * x.flatten(1).flip(0))


def attention_over_the_batch(self, x):
    x = x.flatten(1)
    return self.head(torch.softmax(x @ x.T / x.shape[1], dim=1) @ x)


def first_one_only(self, x):
    x = x.flatten(1)
    return self.head(torch.cat([x[:1], x[1:] + x[:1]]))


def as_one_image(self, x):
    pooled = nn.functional.max_pool3d(x.transpose(0, 1)[None], (3, 1, 1), stride=1, padding=(1, 0, 0))
    return self.head(pooled[0].transpose(0, 1).flatten(1))


@pytest.mark.parametrize(
    "forward",
    [
        mean_of_the_batch,
        noise_of_the_batch,
        next_one,
        far_one,
        attention_over_the_batch,
        first_one_only,
        as_one_image,
    ],
)
def test_mixing_is_refused(forward):
    """Guards: one example's gradient that changes with another example."""
    torch.manual_seed(0)
    refused(Net(forward, head=nn.Linear(192, 5)), "mixes examples", "batch dimension")


def test_mixing_behind_a_head_of_zeros_is_not_left_to_the_fast_method():
    """Outputs that are all zero show no mixing.  It is refused, or left to the loop, which has nothing to mix."""

    def forward(self, x):
        x = x.flatten(1)
        return self.head(torch.tanh(self.a(x - x.mean(0))))

    torch.manual_seed(0)
    model = Net(forward, a=nn.Linear(192, 6), head=nn.Linear(6, 5))
    nn.init.zeros_(model.head.weight)
    with suppress(PrivacyError):
        assert check_network(model, SHAPE).reason


class Counting(nn.Module):
    """Two buffers that follow the images."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3))
        self.head = nn.Linear(192, 5)

    def forward(self, x):
        self.seen += len(x)
        self.mean.copy_(0.9 * self.mean + 0.1 * x.detach().mean((0, 2, 3)))
        return self.head((x - 0 * self.mean[:, None, None]).flatten(1))


class Replacing(nn.Module):
    """The buffer is another tensor after each pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.zeros(()))
        self.head = nn.Linear(192, 5)

    def forward(self, x):
        self.largest = torch.maximum(self.largest, x.detach().abs().max())
        return self.head(x.flatten(1))


class Late(nn.Module):
    """The buffer appears in the first pass."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 5)

    def forward(self, x):
        if not hasattr(self, "mean"):
            self.register_buffer("mean", x.detach().mean((0, 2, 3)))
        return self.head(x.flatten(1))


@pytest.mark.parametrize(
    ("make", "name"), [(Counting, "seen"), (Replacing, "largest"), (Late, "mean")], ids=["in place", "new", "late"]
)
def test_buffers_that_follow_the_images_are_refused(make, name):
    """Guards: batch norm and other buffers; statistics of private images."""
    refused(make(), name, "buffer")


@pytest.mark.parametrize("make", [Counting, Replacing])
def test_a_refusal_leaves_every_buffer_as_it_was(make):
    """Every buffer is put back, not only the one that the message names."""
    model = make()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PrivacyError):
        check_network(model, SHAPE)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_fixed_buffers_are_fine():
    model = around(nn.GroupNorm(2, 6))
    model.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]))
    assert check_network(model, SHAPE).reason is None


def test_spectral_norm_follows_its_weight_in_a_buffer():
    """The power iteration changes a buffer in every pass, so it is refused, in words that name it."""
    refused(around(nn.utils.parametrizations.spectral_norm(nn.Conv2d(6, 6, 1))), "buffer")


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: self.head(x.flatten(1)).sum(1),
        lambda self, x: self.head(x.flatten(1)).sum(),
        lambda self, x: (self.head(x.flatten(1)), None),
        lambda self, x: self.head(x.flatten(1))[:2],
        lambda self, x: self.head(x.flatten(1))[:, :, None],
        lambda self, x: {"logits": self.head(x.flatten(1))},
    ],
    ids=["vector", "number", "pair", "half", "maps", "dictionary"],
)
def test_outputs_that_are_not_rows_of_logits_are_refused(forward):
    refused(Net(forward, head=nn.Linear(192, 5)), "logits")


def test_nothing_to_train_is_refused():
    model = around(nn.GroupNorm(2, 6)).requires_grad_(False)
    refused(model, "trainable", "requires_grad")
    refused(nn.Flatten(), "trainable")


def test_outputs_that_are_not_numbers_are_not_passed_as_examined():
    """A network that gives NaN for the trial images has shown nothing, and comparisons with NaN are all false."""

    def forward(self, x):
        x = torch.log(x).flatten(1)  # fine for images in (0, 1], NaN for the normal ones of the trial
        return self.head(x - x.mean(0))

    model = Net(forward, head=nn.Linear(192, 5))
    with suppress(PrivacyError):
        assert check_network(model, SHAPE).reason


# --- what is fine is let through --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wrn-10-1", "wrn-16-4", "convnet", "convnet-7"])
@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("standardized", [False, True])
def test_the_catalog_is_fit_for_the_fast_method(name, norm, standardized):
    for shape in ((3, 8, 8), (1, 9, 12)):
        model = build(
            name, classes=5, image_shape=shape, norm=norm, standardized=standardized, generator=torch.Generator()
        )
        assert check_network(model, shape).reason is None


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("method", ["auto", "loop"])
def test_torch_s_older_weight_norm_is_refused_by_name(method):
    model = nn.Sequential(nn.Flatten(), nn.utils.weight_norm(nn.Linear(192, 5)))
    refused(model, "weight_norm on 1", "torch.nn.utils.parametrizations.weight_norm")
    with pytest.raises(PrivacyError, match="weight_norm on 1"):
        Clipping(model, 1.0, method)


@pytest.mark.parametrize("chance", [0.3, 1e-12])
def test_random_layers_are_refused_and_pass_in_evaluation(chance):
    """Their numbers are assigned by position.  Those that hardly ever change anything draw all the same."""
    model = nn.Sequential(nn.Flatten(), nn.Dropout(chance), nn.Linear(192, 5))
    world = torch.get_rng_state()
    with pytest.raises(PrivacyError, match="random numbers"):
        check_network(model, SHAPE)
    assert torch.equal(world, torch.get_rng_state())
    assert check_network(model.eval(), SHAPE).reason is None


def test_what_draws_from_a_generator_of_its_own_is_refused():
    """Such a network is refused as random and not as one that mixes examples."""
    generator = torch.Generator().manual_seed(0)
    model = Net(lambda self, x: self.head(x.flatten(1)) + torch.rand(5, generator=generator), head=nn.Linear(192, 5))
    with pytest.raises(PrivacyError, match="random numbers"):
        check_network(model, SHAPE)


def test_a_draw_inside_a_watched_piece_is_refused():
    with pytest.raises(PrivacyError, match="random numbers"), refuse_random_layers(torch.device("cpu")):
        torch.rand(1)
    with refuse_random_layers(torch.device("cpu")):
        torch.rand(1, generator=torch.Generator())


def test_the_reason_says_which_layer_is_slow():
    """Issue 2: what has no fast rule falls back to a general exact one and says so."""
    reason = check_network(around(nn.PReLU(6)), SHAPE).reason
    assert "PReLU" in reason
    assert "\n" not in reason


def test_the_check_changes_nothing():
    """The check changes no parameter, buffer, gradient, mode or global generator."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.Dropout(0.2), nn.Flatten(), nn.Linear(216, 5)
    ).train()
    model[2].eval()
    before, world = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    check_network(model, SHAPE)
    assert torch.equal(world, torch.get_rng_state())
    assert [m.training for m in model] == [True, True, False, True, True]
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
