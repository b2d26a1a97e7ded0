"""What ordinary networks hold and use is accepted, and is the same after a pass: nobody writes code for the check."""

import abc
import collections
import dataclasses
import enum
import fractions
import functools
import logging
import math
import operator
import pathlib
import re
import types
import typing
import uuid
import zoneinfo
from datetime import UTC, datetime

import numpy as np
import pytest
import scipy.special
import sklearn
import torch
import torch.nn.functional as F
from torch import nn

from trilemma.privacy import Clipping, check_network
from trilemma.privacy.named import Hidden
from trilemma.privacy.unchanged import changed, state_of

__all__ = ["Ordinary"]

IMAGES, LABELS = torch.rand(2, 9, 1, 2, 2), torch.zeros(2, dtype=torch.int64)
T = typing.TypeVar("T")
Point = collections.namedtuple("Point", "x y")
LOGGER = logging.getLogger(__name__)
LOGGER.addHandler(logging.StreamHandler())


class Size(typing.NamedTuple):
    width: int = 2
    names: tuple[str, ...] = ("a",)


class Kind(enum.Enum):
    RED = enum.auto()


class Flags(enum.Flag):
    A = 1
    B = 2


class Word(enum.StrEnum):
    A = "a"


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def area(self):
        return 1


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    width: int = 3
    names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Options:
    settings: Settings = dataclasses.field(default_factory=Settings)
    extra: dict[str, float] | None = None


class Box(typing.Generic[T]):
    def __init__(self, value: T):
        self.value = value


class Called(typing.Protocol):
    def __call__(self, images): ...


class Entry(typing.TypedDict):
    a: int


class Rearrange(nn.Module):
    """As the layers of einops: a pattern, and a recipe that is found once for each."""

    def __init__(self, pattern):
        super().__init__()
        self.pattern, self.recipe = pattern, self.parsed(pattern)

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def parsed(pattern):
        return tuple(re.findall(r"\w+", pattern))

    def forward(self, images):
        return images.flatten(1) if self.parsed(self.pattern) else images


class Cached(nn.Module):
    """Holds a cache on a method, one of a property, and one of a function."""

    @functools.cache  # noqa: B019
    def table(self, length):
        return torch.linspace(0, 1, length)

    @functools.cached_property
    def scale(self):
        return math.pi

    def forward(self, images):
        return images + self.table(images.shape[-1]) * self.scale


class Logs(nn.Module):
    def forward(self, images):
        LOGGER.warning("a pass of %d images", len(images))
        return images


HELD = {
    "namedtuple": lambda: Point(1, torch.zeros(1)),
    "class of a namedtuple": lambda: Point,
    "typed namedtuple": Size,
    "type of numpy": lambda: np.dtype("f4"),
    "structured type of numpy": lambda: np.dtype([("a", "f4"), ("b", "i4", (2,))]),
    "limits": lambda: (np.finfo("f4"), np.iinfo("i4"), torch.finfo(torch.float32)),
    "numbers of numpy": lambda: [np.float32(1), np.float64("nan"), np.bool_(True), np.str_("a"), np.datetime64("NaT")],
    "masked array": lambda: np.ma.array([1.0, 2.0], mask=[True, False]),
    "records": lambda: np.rec.array([(1, 2.0)], dtype="i4,f4"),
    "polynomial": lambda: np.poly1d([1, 2]),
    "functions of numpy": lambda: [np.add, np.linspace, np.mean, np.linalg.norm, np.vectorize(math.sin)],
    "functions of scipy": lambda: [scipy.special.expit, scipy.special.softmax],
    "generator": lambda: (np.random.default_rng(0), np.random.SeedSequence(1), torch.Generator()),
    "dataclass": Options,
    "class of a dataclass": lambda: Settings,
    "enumeration": lambda: (Kind.RED, Flags.A | Flags.B, Word.A, Kind),
    "abstract class": lambda: (Square(), Shape),
    "generic class": lambda: (Box[int], Box[int](1), Box),
    "annotations": lambda: [list[int], int | None, typing.Callable[[int], int], T, typing.Any],
    "more annotations": lambda: [
        typing.Annotated[int, "a"],
        typing.Literal["a"],
        typing.NewType("A", int),
        Called,
        Entry,
    ],
    "paths": lambda: [pathlib.Path("a").resolve(), pathlib.PurePosixPath("a")],
    "patterns": lambda: re.compile("a+"),
    "times": lambda: [datetime.now(UTC), datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))],
    "other values": lambda: [fractions.Fraction(1, 2), uuid.uuid4(), range(3), slice(1), ..., b"a", 1j],
    "functions": lambda: {"relu": F.relu, "gelu": functools.partial(F.gelu, approximate="tanh"), "add": operator.add},
    "method": lambda: nn.ReLU().forward,
    "lambda": lambda: lambda images: images * math.pi,
    "layers in a list": lambda: [nn.Linear(2, 2), nn.LSTM(2, 2), nn.MultiheadAttention(4, 2)],
    "classes of layers": lambda: {"relu": nn.ReLU, "norm": functools.partial(nn.GroupNorm, 2)},
    "loss": nn.CrossEntropyLoss,
    "logger": lambda: LOGGER,
    "adapter of a logger": lambda: logging.LoggerAdapter(LOGGER, {"a": 1}),
    "packages": lambda: (np, math, torch, F, nn, scipy.special, sklearn, logging),
    "containers": lambda: [
        collections.ChainMap({}),
        collections.UserDict(a=1),
        collections.Counter("ab"),
        frozenset("a"),
    ],
    "namespaces": lambda: [types.SimpleNamespace(a=1), types.MappingProxyType({"a": 1})],
    "weights apart": lambda: nn.ParameterDict({"a": torch.zeros(1)}),
    "normed layer": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
    "autograd": lambda: (torch.autograd.Function, torch.no_grad(), torch.autocast("cpu"), torch.func.vmap(torch.sin)),
    "distribution": lambda: torch.distributions.Normal(0.0, 1.0),
    "views of tensors": lambda: [torch.zeros(4)[1:], torch.zeros(2, 3).t(), torch.zeros(1).expand(3)],
    "channels last": lambda: torch.zeros(1, 2, 3, 3).to(memory_format=torch.channels_last),
}
LAYERS = {"rearranging": lambda: Rearrange("b c h w"), "caches": Cached, "logging": Logs}


class Ordinary(nn.Module):
    def __init__(self, held=None, layer=None):
        super().__init__()
        self.held, self.layer, self.linear = held, layer or nn.Identity(), nn.Linear(4, 3)

    def forward(self, images):
        return self.linear(self.layer(images).flatten(1))


def accepted_and_the_same(network):
    check_network(network, (1, 2, 2))
    Clipping(network, 1.0)(IMAGES, LABELS)
    before = state_of(network)
    assert not [(name, value) for name, value in before.items() if isinstance(value, Hidden)]
    for method in ("auto", "loop"):
        Clipping(network, 1.0, method)(IMAGES, LABELS)
    assert changed(before, state_of(network, copied=False)) == []


@pytest.mark.parametrize("kind", HELD)
def test_what_ordinary_networks_hold_is_accepted(kind):
    """In an attribute of the network, and in one of its class."""
    accepted_and_the_same(Ordinary(HELD[kind]()))
    accepted_and_the_same(type("Own", (Ordinary,), {"kept": HELD[kind]()})())


@pytest.mark.parametrize("kind", LAYERS)
def test_what_ordinary_layers_do_is_accepted(kind):
    """Records that a logger writes, and caches that the first pass of all fills, are no change."""
    accepted_and_the_same(Ordinary(layer=LAYERS[kind]()))
