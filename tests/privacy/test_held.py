"""What a network or a loss keeps is seen wherever it is kept, and what cannot be looked into is refused by name."""

import collections
import contextvars
import decimal
import enum
import functools
import io
import itertools
import logging
import logging.handlers
import operator
import pathlib
import random
import re
import threading
import types
import typing
import weakref
from array import array
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trilemma.errors import PrivacyError
from trilemma.privacy import Clipping, check_network, structure
from trilemma.privacy.held import look_into
from trilemma.privacy.named import Hidden
from trilemma.privacy.unchanged import changed, refuse_changed_state, refuse_hidden, state_of

LABELS = torch.zeros(2, dtype=torch.int64)
FEW, MANY = torch.rand(2, 2, 1, 2, 2), torch.rand(2, 9, 1, 2, 2)  # the loop shows a network one example's views


class Box:
    """An object that holds one value."""

    def __init__(self, value=None):
        self.value = value


class Slotted:
    __slots__ = ("value",)


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Names(list):
    """A list with attributes."""


class ShowsNoItems(dict):
    def items(self):
        return ()


class ShowsNoOrder(collections.OrderedDict):
    def __iter__(self):
        return iter(())

    def items(self):
        return ()


class ShowsNoneOfThem(list):
    def __iter__(self):
        return iter(())


class ShowsNothing(collections.deque):
    def __iter__(self):
        return iter(())


class ShowsNoPart(functools.partial):
    args = ()


class EqualToAll(int):
    def __eq__(self, other):
        return True

    __hash__ = None


class HiddenSlot(Slotted):
    value = None


class TwoSlots(Slotted):
    __slots__ = ("value",)


class ShowsNoAttributes(Box):
    __dict__ = {}


def with_handler():
    """A logger whose handler keeps records."""
    logger = logging.getLogger(f"held {len(ALIVE)}")
    ALIVE.append(logger)
    logger.addHandler(logging.handlers.MemoryHandler(100))
    return logger


ALIVE = []


def alive(box):
    """An object that a weak reference finds."""
    ALIVE.append(box)
    return box


@functools.lru_cache
def remembered(key):
    return Box()


class Cached:
    @functools.lru_cache(maxsize=3)  # noqa: B019
    def table(self, key):
        return torch.full((3,), key)


def bound_list():
    values = []
    return {"append": values.append, "last": values.__getitem__}


def closed_over():
    values = {"mean": None}
    return types.MappingProxyType(values), lambda mean: values.update(mean=mean)


def function_with_default():
    def helper(box=Box()):  # noqa: B008
        return box.value

    return helper


def first(values):
    return next(iter(values))


def set_value(mean):
    def of(box):
        box.value = mean

    return of


def owner(values):
    """The array whose memory a view shows a part of."""
    return values if values.base is None else owner(values.base)


PLACES = {
    "attribute of a buffer": (lambda: None, lambda layer, mean: setattr(layer.table, "note", mean)),
    "attribute of a tensor": (lambda: torch.zeros(1), lambda layer, mean: setattr(layer.kept, "note", mean)),
    "gradient of a buffer": (lambda: None, lambda layer, mean: setattr(layer.table, "grad", mean.view(1))),
    "hook of a buffer": (
        lambda: torch.zeros(1, requires_grad=True),
        lambda layer, mean: layer.kept.register_hook(lambda gradient: mean),
    ),
    "storage beside a view": (
        lambda: torch.zeros(9)[:1],
        lambda layer, mean: torch.as_strided(layer.kept, (9,), (1,))[8:].fill_(float(mean)),
    ),
    "untyped storage": (
        lambda: torch.zeros(1).untyped_storage(),
        lambda layer, mean: torch.empty(0).set_(layer.kept).fill_(float(mean)),
    ),
    "sign of zero": (lambda: torch.zeros(1), lambda layer, mean: layer.kept.fill_(-0.0)),
    "sparse tensor": (
        lambda: torch.ones(2).to_sparse(),
        lambda layer, mean: layer.kept._values().fill_(float(mean)),
    ),
    "object in a set": (lambda: {Box()}, lambda layer, mean: set_value(mean)(first(layer.kept))),
    "object in a frozenset": (lambda: frozenset({Box()}), lambda layer, mean: set_value(mean)(first(layer.kept))),
    "key of a dict": (lambda: {Box(): 0}, lambda layer, mean: set_value(mean)(first(layer.kept))),
    "order of a dict": (
        lambda: collections.OrderedDict(a=1, b=2),
        lambda layer, mean: layer.kept.move_to_end("a"),
    ),
    "read-only view": (closed_over, lambda layer, mean: layer.kept[1](mean)),
    "distribution": (
        lambda: torch.distributions.Normal(torch.zeros(1), 1.0),
        lambda layer, mean: setattr(layer.kept, "loc", mean),
    ),
    "array of objects": (
        lambda: np.array([Box(), None], dtype=object),
        lambda layer, mean: set_value(mean)(layer.kept[0]),
    ),
    "record of numpy": (
        lambda: np.zeros(1, "i4,f4")[0],
        lambda layer, mean: layer.kept.__setitem__("f1", float(mean)),
    ),
    "array beside a view": (
        lambda: np.zeros(9)[:1],
        lambda layer, mean: layer.kept.base.__setitem__(8, float(mean)),
    ),
    "cache": (
        lambda: functools.lru_cache(lambda key: Box()),
        lambda layer, mean: set_value(mean)(layer.kept(1)),
    ),
    "cache that is warm": (lambda: remembered(1), lambda layer, mean: set_value(mean)(remembered(1))),
    "bound function of a list": (bound_list, lambda layer, mean: layer.kept["append"](mean)),
    "bound method": (lambda: Box().__init__, lambda layer, mean: layer.kept(mean)),
    "method of a wrapper": (
        lambda: collections.UserDict(mean=None),
        lambda layer, mean: layer.kept.update(mean=mean),
    ),
    "member of an enumeration": (lambda: Color.RED, lambda layer, mean: setattr(Color.RED, "note", mean)),
    "member that is a number": (lambda: Level.LOW, lambda layer, mean: setattr(Level.LOW, "note", mean)),
    "attribute of a list": (lambda: Names(), lambda layer, mean: setattr(layer.kept, "mean", mean)),
    "slot": (lambda: Slotted(), lambda layer, mean: setattr(layer.kept, "value", mean)),
    "weak reference": (lambda: weakref.ref(alive(Box())), lambda layer, mean: set_value(mean)(layer.kept())),
    "keys of a weak dict": (
        lambda: weakref.WeakKeyDictionary({alive(Box()): 1}),
        lambda layer, mean: set_value(mean)(first(layer.kept)),
    ),
    "partial function": (
        lambda: functools.partial(print, Box()),
        lambda layer, mean: set_value(mean)(layer.kept.args[0]),
    ),
    "default of a function": (function_with_default, lambda layer, mean: set_value(mean)(layer.kept.__defaults__[0])),
    "code of a function": (
        lambda: lambda: 0,
        lambda layer, mean: setattr(layer.kept, "__code__", (lambda: 1).__code__),
    ),
    "default of a defaultdict": (
        lambda: collections.defaultdict(list),
        lambda layer, mean: setattr(layer.kept, "default_factory", dict),
    ),
    "queue": (lambda: collections.deque(maxlen=3), lambda layer, mean: layer.kept.append(float(mean))),
    "namespace": (lambda: types.SimpleNamespace(mean=0.0), lambda layer, mean: setattr(layer.kept, "mean", mean)),
    "memory": (lambda: memoryview(bytearray(1)), lambda layer, mean: layer.kept.__setitem__(0, 1)),
    "lock": (lambda: threading.Lock(), lambda layer, mean: layer.kept.acquire(blocking=False)),
    "event": (lambda: threading.Event(), lambda layer, mean: layer.kept.set()),
    "base of an expanded view": (
        lambda: torch.zeros(2)[:1].expand(9),
        lambda layer, mean: layer.kept._base.__setitem__(1, mean),
    ),
    "storage between the numbers of a view": (
        lambda: torch.as_strided(torch.zeros(4), (2, 2), (1, 1)).detach(),
        lambda layer, mean: torch.as_strided(layer.kept, (4,), (1,))[3:].fill_(float(mean)),
    ),
    "attribute of a view's base": (
        lambda: torch.zeros(2)[:1],
        lambda layer, mean: setattr(layer.kept._base, "note", mean),
    ),
    "array beside a strided view": (
        lambda: np.lib.stride_tricks.as_strided(np.zeros(9), (1,)),
        lambda layer, mean: layer.kept.base.base.__setitem__(8, float(mean)),
    ),
    "array beside a view of another class": (
        lambda: np.zeros((9, 9))[:1].view(np.matrix),
        lambda layer, mean: owner(layer.kept).__setitem__(8, float(mean)),
    ),
    "memory beside a view": (
        lambda: memoryview(bytearray(9))[:1],
        lambda layer, mean: layer.kept.obj.__setitem__(8, 1),
    ),
    "dict that shows no items": (ShowsNoItems, lambda layer, mean: layer.kept.__setitem__("mean", mean)),
    "read-only view of one": (
        lambda: types.MappingProxyType(ShowsNoItems(mean=Box())),
        lambda layer, mean: set_value(mean)(layer.kept["mean"]),
    ),
    "order of a dict that shows none": (
        lambda: ShowsNoOrder(a=1, b=2),
        lambda layer, mean: layer.kept.move_to_end("a"),
    ),
    "item that an ordered dict does not list": (
        lambda: collections.OrderedDict(a=1),
        lambda layer, mean: dict.__setitem__(layer.kept, "mean", mean),
    ),
    "list that shows nothing": (ShowsNoneOfThem, lambda layer, mean: layer.kept.append(mean)),
    "queue that shows nothing": (ShowsNothing, lambda layer, mean: layer.kept.append(mean)),
    "partial function that shows nothing": (
        lambda: ShowsNoPart(print, Box()),
        lambda layer, mean: set_value(mean)(functools.partial.args.__get__(layer.kept)[0]),
    ),
    "number that equals all": (
        lambda: EqualToAll(0),
        lambda layer, mean: setattr(layer, "kept", EqualToAll(1e6 * mean)),
    ),
    "sign of a zero of numpy": (
        lambda: np.float32(0),
        lambda layer, mean: setattr(layer, "kept", np.float32(-0.0)),
    ),
    "slot that a class attribute hides": (
        HiddenSlot,
        lambda layer, mean: Slotted.value.__set__(layer.kept, mean),
    ),
    "slot that another slot hides": (TwoSlots, lambda layer, mean: Slotted.value.__set__(layer.kept, mean)),
    "attributes that a class hides": (
        ShowsNoAttributes,
        lambda layer, mean: setattr(layer.kept, "value", mean),
    ),
    "attribute of a logger": (
        lambda: logging.getLogger("held, with an attribute"),
        lambda layer, mean: setattr(layer.kept, "mean", mean),
    ),
    "level of a logger": (
        lambda: logging.getLogger("held, with a level"),
        lambda layer, mean: layer.kept.setLevel(int(1000 * mean)),
    ),
    "records of a handler": (with_handler, lambda layer, mean: layer.kept.handlers[0].buffer.append(mean)),
    "function of numpy made of one's own": (
        lambda: np.frompyfunc([].append, 1, 1),
        lambda layer, mean: layer.kept(float(mean)),
    ),
    "argument of a generic type": (
        lambda: types.GenericAlias(list, (Box(),)),
        lambda layer, mean: set_value(mean)(layer.kept.__args__[0]),
    ),
    "note of an annotation": (
        lambda: typing.Annotated[int, Box()],
        lambda layer, mean: set_value(mean)(layer.kept.__metadata__[0]),
    ),
    "metadata of a type of numpy": (
        lambda: np.dtype("f4", metadata={"mean": Box()}),
        lambda layer, mean: set_value(mean)(layer.kept.metadata["mean"]),
    ),
    "metadata of a field": (
        lambda: np.zeros(1, np.dtype([("a", np.dtype("f4", metadata={"mean": Box()}))])),
        lambda layer, mean: set_value(mean)(layer.kept.dtype.fields["a"][0].metadata["mean"]),
    ),
    "cache of a method": (lambda: Cached(), lambda layer, mean: layer.kept.table(float(mean))),
}


class Holds(nn.Module):
    """Linear, and changes what it holds where it sees more than eight rows at once."""

    def __init__(self, kept=None, change=None):
        super().__init__()
        self.linear, self.kept = nn.Linear(4, 3), kept
        self.register_buffer("table", torch.zeros(1))
        self.change = change or (lambda layer, mean: None)

    def forward(self, images):
        if len(images) > 8:
            self.change(self, images.detach().mean())
        return self.linear(images.flatten(1))


class Loss:
    """Cross-entropy, of a class of one's own, that holds something."""

    def __init__(self, kept=None):
        self.kept = kept

    def __call__(self, logits, labels):
        return F.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize("place", PLACES)
def test_what_changes_in_any_place_is_refused(place):
    """Guards: what one image leaves behind, in a place that nobody thought of, reaches the gradients of others."""
    make, change = PLACES[place]
    network = Holds(make(), change)
    clipping = Clipping(network, 1.0, "loop")
    clipping(FEW, LABELS)
    with pytest.raises(PrivacyError, match=r"changed its \S+ .*while it saw private images"):
        clipping(MANY, LABELS)


@pytest.mark.parametrize("place", ["object in a set", "distribution", "bound function of a list", "cache"])
def test_what_changes_is_refused_however_sums_are_computed(place):
    """As above by a layerwise pass, in a loss, and in the check of a network."""
    make, change = PLACES[place]
    network = Holds(make(), change)
    check_network(network, (1, 2, 2))
    clipping = Clipping(network, 1.0)
    clipping(FEW, LABELS)
    with pytest.raises(PrivacyError, match="changed its"):
        clipping(MANY, LABELS)
    loss = Loss(make())
    with pytest.raises(PrivacyError, match="the loss changed"), refuse_changed_state(nn.Linear(1, 1), loss):
        change(loss, torch.ones(1))
    with pytest.raises(PrivacyError, match="changes the"):
        check_network(Always(make(), change), (1, 2, 2))


class Always(Holds):
    """As ``Holds``, but in every pass."""

    def forward(self, images):
        self.change(self, images.detach().mean())
        return self.linear(images.flatten(1))


HIDDEN = {
    "iterator": lambda: iter([1, 2]),
    "counter": lambda: itertools.count(),
    "generator": lambda: (value for value in (1, 2)),
    "file": lambda: io.BytesIO(),
    "match": lambda: re.match("a", "a"),
    "thread's own": threading.local,
    "variable of a context": lambda: contextvars.ContextVar("mean"),
    "getter": lambda: operator.itemgetter(0),
    "exception": lambda: ValueError("mean"),
    "proxy": lambda: weakref.proxy(alive(Box())),
    "random numbers of the system": lambda: random.SystemRandom(),
    "module of compiled code": lambda: torch.jit.script(nn.ReLU()),
    "tensor with a graph": lambda: torch.ones(1, requires_grad=True) * 2,
    "quantized tensor": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "object of a class of these": lambda: type("Own", (io.BytesIO,), {})(),
}


@pytest.mark.filterwarnings("ignore")  # some of these are on their way out of torch
@pytest.mark.parametrize("kind", HIDDEN)
def test_what_cannot_be_looked_into_is_refused_by_name(kind):
    """Guards: the next place that nobody thought of."""
    for kept in (HIDDEN[kind](), [HIDDEN[kind]()], Box(HIDDEN[kind]())):
        with pytest.raises(
            PrivacyError, match=r"the attribute kept.* is of type \S+, which does not show what it keeps"
        ):
            Clipping(Holds(kept), 1.0, "loop")(FEW, LABELS)
    with pytest.raises(PrivacyError, match=r"the attribute kept.* is of type"):
        refuse_hidden(state_of(Holds(kept)))


def test_the_check_of_a_network_refuses_what_cannot_be_looked_into():
    with pytest.raises(PrivacyError, match="the attribute kept is of type list_iterator"):
        check_network(Holds(iter([1])), (1, 2, 2))


@pytest.mark.parametrize("kind", ["iterator", "generator", "file"])
def test_a_loss_that_holds_what_cannot_be_looked_into_is_refused(kind):
    with pytest.raises(PrivacyError, match=r"the loss.* is of type"):
        Clipping(Holds(), 1.0, "loop", Loss(HIDDEN[kind]()))(FEW, LABELS)


@dataclass(slots=True)
class Settings:
    width: int = 3
    names: tuple[str, ...] = ("a", "b")


def plain_things():
    return {
        "numbers": [None, True, 1, 1.5, 1j, float("nan"), np.float32(1), np.int64(2), decimal.Decimal(1), range(3)],
        "texts": ["a", b"a", pathlib.Path("a"), re.compile("a"), ...],
        "times": (datetime.now(UTC), timedelta(1)),
        "of torch": (torch.float32, torch.device("cpu"), torch.Size([1]), torch.strided, torch.contiguous_format),
        "functions": [torch.relu, F.relu, F.gelu, F.max_pool2d, nn.functional.interpolate, torch.sigmoid, len, np.exp],
        "bound": [functools.partial(F.relu, inplace=True), Box().__init__, nn.ReLU().forward, dict.fromkeys],
        "tensors": (torch.zeros(3)[:1], torch.empty(2, device="meta"), torch.ones(2).to_sparse(), nn.Parameter(FEW)),
        "arrays": (np.zeros(2), np.zeros((4, 4))[1:], np.array(["a"]), array("d", [1.0]), bytearray(2)),
        "types": (int, nn.ReLU, np.ndarray, Box, list[int], int | None, slice(0, 2)),
        "objects": [
            Settings(),
            Color.RED,
            Level.LOW,
            Names("ab"),
            types.SimpleNamespace(a=1),
            collections.Counter("ab"),
        ],
        "modules": [nn.LSTM(2, 2), nn.TransformerEncoderLayer(4, 2, 8), nn.utils.parametrizations.spectral_norm],
        "others": (torch.distributions.Normal(0.0, 1.0), logging.getLogger("a test"), threading.Event(), np, object()),
    }


@pytest.mark.parametrize("kind", plain_things())
def test_what_networks_hold_is_accepted_and_stays_the_same(kind):
    """Guards: refusals of networks that keep nothing."""
    things = plain_things()[kind]
    network = Holds(things)
    before = state_of(network)
    hidden = [name for name, value in before.items() if isinstance(value, Hidden)]
    assert not hidden
    assert changed(before, state_of(network, copied=False)) == []
    assert check_network(network, (1, 2, 2)).reason is None
    Clipping(network, 1.0)(MANY, LABELS)


@pytest.mark.parametrize(
    ("kind", "add"),
    [(ShowsNoItems, {"a": 1}), (ShowsNoOrder, {"a": 1}), (ShowsNoneOfThem, [1]), (ShowsNothing, [1])],
    ids=["dict", "ordered dict", "list", "queue"],
)
def test_a_subclass_shows_what_it_holds_whatever_it_says(kind, add):
    assert 1 in look_into(kind(add))[1].values()


def test_the_whole_storage_of_a_view_is_compared():
    overlapping = torch.as_strided(torch.zeros(4), (2, 2), (1, 1))
    for view in (torch.zeros(2)[:1].expand(9), overlapping, torch.zeros(3)[::2]):
        view = view.detach()
        assert look_into(view)[1]["storage"].nbytes() == view.untyped_storage().nbytes()
    for whole in (torch.zeros(2, 3), torch.zeros(1, 2, 3, 3).to(memory_format=torch.channels_last)):
        assert "storage" not in look_into(whole)[1]


def test_the_base_of_a_view_is_looked_into():
    tensor = torch.zeros(3)
    assert look_into(tensor[1:])[1]["'_base'"] is tensor


def test_a_function_of_numpy_shows_what_it_was_made_of():
    assert max in look_into(np.frompyfunc(max, 2, 1))[1].values()


def test_an_object_shows_all_if_its_memory_is_accounted_for():
    """What compiled code keeps in an object makes it larger, whatever Python adds to its class."""

    class Counts(itertools.count):
        __slots__ = ("note",)

    class Weak:
        __slots__ = ("__weakref__", "value")

    class Both(Slotted, Box):
        __slots__ = ("more",)

    for value in (Slotted(), Weak(), Both(), Settings(), Color.RED, Level.LOW, object(), Names()):
        assert not isinstance(look_into(value)[0], Hidden), value
    for value in (Counts(), itertools.cycle([1]), iter(""), zip(), torch.autograd.graph.Node):
        assert isinstance(look_into(value)[0], Hidden) is not isinstance(value, type), value


def test_numbers_are_compared_to_the_bit():
    """Zeros of either sign, and what is not a number, tell images apart as well as other numbers do."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128):
        zero = torch.zeros(3, 2, dtype=dtype).t()
        assert changed({"a": zero}, {"a": zero.clone()}) == []
        assert changed({"a": zero}, {"a": -zero}) == ["a"]
        missing = zero / 0
        assert changed({"a": missing}, {"a": missing.clone()}) == []
    assert changed({"a": 0.0, "b": float("nan")}, {"a": -0.0, "b": float("nan")}) == ["a"]
    assert changed({"a": 1}, {"a": True}) == ["a"]


def test_two_names_of_one_tensor_that_become_names_of_two_are_a_change():
    """Guards: a copy of a weight that stays behind and does not follow the updates, as in an LSTM."""
    network = Holds()
    network.kept = [network.linear.weight]
    before = state_of(network)
    assert changed(before, state_of(network, copied=False)) == []
    network.kept = [network.linear.weight.detach().clone()]
    assert changed(before, state_of(network, copied=False)) == ["attribute kept[0]"]


MODULE = """
import torch
from torch import nn
import {settings} as settings

class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, images):
        if len(images) > 8:
            settings.mean = float(images.mean())
        return self.linear(images.flatten(1)) + settings.mean
"""


def test_what_is_reached_through_a_module_of_own_code_is_compared(tmp_path, monkeypatch):
    (tmp_path / "settings_of_a_test.py").write_text("mean = 0.0\nwidth = 3\n")
    (tmp_path / "reads_settings.py").write_text(MODULE.format(settings="settings_of_a_test"))
    monkeypatch.syspath_prepend(tmp_path)
    import reads_settings

    clipping = Clipping(reads_settings.Reads(), 1.0, "loop")
    clipping(FEW, LABELS)
    with pytest.raises(PrivacyError, match=r"\['global settings'\]\.mean"):
        clipping(MANY, LABELS)


def test_hooks_of_all_modules_are_looked_into():
    seen = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    try:
        with pytest.raises(PrivacyError, match=r"hooks of all modules"):
            Clipping(Holds(), 1.0, "loop")(FEW, LABELS)
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", sorted(structure._STATE_HOOKS))
def test_what_a_hook_of_the_state_keeps_is_seen(kind):
    network, values = Holds(), []
    getattr(network, kind)[0] = lambda *arguments: values
    with pytest.raises(PrivacyError, match=f"changed its attribute {kind}"), refuse_changed_state(network):
        values.append(1)


DRAWS = {
    "torch": lambda held, rows: torch.rand(rows, 1),
    "numpy": lambda held, rows: torch.tensor(np.random.rand(rows, 1)),  # noqa: NPY002
    "random": lambda held, rows: torch.tensor([[random.random()] for _ in range(rows)]),
    "torch, held": lambda held, rows: torch.rand(rows, 1, generator=held[0]),
    "numpy, held": lambda held, rows: torch.tensor(held[1].random((rows, 1))),
    "older numpy, held": lambda held, rows: torch.tensor(held[2].rand(rows, 1)),
    "bits of numpy, held": lambda held, rows: torch.tensor(held[3].random_raw(rows) % 2).view(rows, 1),
    "random, held": lambda held, rows: torch.full((rows, 1), held[4].random()),
    "child of numpy's, held": lambda held, rows: torch.tensor(held[1].spawn(1)[0].random((rows, 1))),
    "child of older numpy's, held": lambda held, rows: torch.tensor(
        np.random.Generator(held[2]._bit_generator.spawn(1)[0]).random((rows, 1))
    ),
    "child of a seed, held": lambda held, rows: torch.tensor(
        np.random.default_rng(held[5].spawn(1)[0]).random((rows, 1))
    ),
}


def forked(rows):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.rand(rows, 1)


def put_back(rows):
    state = torch.get_rng_state()
    try:
        return torch.rand(rows, 1)
    finally:
        torch.set_rng_state(state)


def put_back_numpy(rows):
    state = np.random.get_state()  # noqa: NPY002
    try:
        return torch.tensor(np.random.rand(rows, 1))  # noqa: NPY002
    finally:
        np.random.set_state(state)  # noqa: NPY002


def put_back_random(rows):
    state = random.getstate()
    try:
        return torch.tensor([[random.random()] for _ in range(rows)])
    finally:
        random.setstate(state)


@pytest.mark.parametrize("draw", [forked, put_back, put_back_numpy, put_back_random])
@pytest.mark.parametrize("method", ["loop", "layerwise"])
def test_random_numbers_whose_generator_is_put_back_are_refused(draw, method):
    """Guards: masks by position that no state of a generator shows."""
    network = Holds(None, None)
    network.change = lambda layer, mean: draw(9)
    with pytest.raises(PrivacyError, match="random numbers that no generator shows: remove what is random"):
        Clipping(network, 1.0, method)(FEW, LABELS)


class Masks(Holds):
    """Multiplies large batches by random numbers, which are assigned by position."""

    def __init__(self, kind):
        older = np.random.MT19937(np.random.SeedSequence(0))
        generators = (torch.Generator(), np.random.default_rng(0), np.random.RandomState(older), np.random.PCG64(0))
        super().__init__((*generators, random.Random(0), np.random.SeedSequence(0)))
        self.mask = DRAWS[kind]

    def forward(self, images):
        rows = images.flatten(1)
        return self.linear(rows * self.mask(self.kept, len(rows)).float() if len(rows) > 8 else rows)


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("method", ["loop", "layerwise"])
def test_random_numbers_of_any_generator_are_refused(kind, method):
    """Guards: masks that one more example moves on for all after it."""
    clipping = Clipping(Masks(kind), 1.0, method)
    clipping(FEW, LABELS)
    with pytest.raises(PrivacyError, match="network draws random numbers"):  # which no comparison of gradients says
        clipping(MANY, LABELS)


class MasksAll(Masks):
    def forward(self, images):
        rows = images.flatten(1)
        return self.linear(rows * self.mask(self.kept, len(rows)).float())


@pytest.mark.parametrize("kind", DRAWS)
def test_the_check_refuses_random_numbers_and_leaves_shared_generators_as_they_were(kind):
    network = MasksAll(kind)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with pytest.raises(PrivacyError, match=r"random numbers|changes the attribute kept"):
        check_network(network, (1, 2, 2))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002
