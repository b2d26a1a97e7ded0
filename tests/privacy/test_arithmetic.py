"""No setting of the caller rounds a sum: a setting either changes nothing or is refused."""

import contextlib
import inspect
import itertools
import math
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from trilemma.errors import PrivacyError
from trilemma.privacy import Clipping, check_network, clipped_gradient_sum
from trilemma.privacy.gradients import contributions, layerwise, linear, rules, sums
from trilemma.privacy.gradients.sums import Objective
from trilemma.standardization import StandardizedConv2d

SHAPE = (3, 8, 8)
METHODS = ("layerwise", "loop", "linear")


def network(method):
    torch.manual_seed(3)
    if method == "linear":
        return nn.Linear(192, 5)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Tanh(), StandardizedConv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 5)
    )


def batch(method, examples=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(examples, 2, *SHAPE, generator=generator, dtype=torch.float32) * 3
    labels = torch.randint(0, 5, (examples,), generator=generator)
    return (images.flatten(2) if method == "linear" else images).to(dtype), labels


def clipped(model, method, images, labels, clip=0.5, autocast=None):
    total = Clipping(model, clip, method, autocast=autocast)(images, labels)
    return [*total.sums.values(), total.norms, total.losses]


def same(some, others):
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.fixture(params=[1, 2])
def threads(request):
    """One of torch's, or two, for methods that give each thread a part; the loop has only the caller's."""
    if (
        request.param > 1
        and getattr(request.node, "callspec", None)
        and "loop" in request.node.callspec.params.values()
    ):
        pytest.skip("the loop computes in the calling thread")
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# --- modes of a thread and defaults: they change nothing --------------------------------------------------------------


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def flush_denormal():
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormal numbers")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def matmul_flag(name, value):
    """What products of half-precision numbers may do; sums of gradients have none."""
    before = getattr(torch.backends.cuda.matmul, name)
    setattr(torch.backends.cuda.matmul, name, value)
    try:
        yield
    finally:
        setattr(torch.backends.cuda.matmul, name, before)


SURROUNDINGS = {
    **{
        f"autocast-{kind}-{str(dtype).removeprefix('torch.')}": lambda kind=kind, dtype=dtype: torch.autocast(
            kind, dtype=dtype
        )
        for kind, dtype in itertools.product(("cpu", "cuda", "mps", "xpu"), (torch.bfloat16, torch.float16))
    },
    **{
        f"default-{str(dtype).removeprefix('torch.')}": lambda dtype=dtype: default_dtype(dtype)
        for dtype in (torch.float64, torch.float16, torch.bfloat16)
    },
    "default-device": lambda: torch.device("meta"),
    "no-grad": torch.no_grad,
    "inference-mode": torch.inference_mode,
    "flush-denormal": flush_denormal,
    "deterministic": deterministic,
    "float16-accumulation": lambda: matmul_flag("allow_fp16_accumulation", True),
    "bfloat16-reduction": lambda: matmul_flag("allow_bf16_reduced_precision_reduction", True),
    "float16-reduction": lambda: matmul_flag("allow_fp16_reduced_precision_reduction", True),
}


@pytest.mark.filterwarnings("ignore:.*autocast.*:UserWarning", "ignore:.*accumulation.*:UserWarning")
@pytest.mark.parametrize("name", SURROUNDINGS)
@pytest.mark.parametrize("method", METHODS)
def test_surroundings_change_no_bit(method, name, threads):
    """Guards: sums rounded after the clip.  In the calling thread and in others, which have modes of their own."""
    model = network(method)
    dtype = torch.float16 if method == "linear" else torch.float32
    images, labels = batch(method, dtype=dtype)
    expected = clipped(model, method, images, labels)
    by_function = clipped_gradient_sum(model, *batch(method), clipping_norm=0.5, method=method)
    with SURROUNDINGS[name]():
        sums = clipped(model, method, images, labels)
        found_by_function = clipped_gradient_sum(model, *batch_outside(method), clipping_norm=0.5, method=method)
    assert same(sums, expected)
    assert same([*found_by_function[0].values(), found_by_function[1]], [*by_function[0].values(), by_function[1]])


def batch_outside(method):
    with torch.inference_mode(False), torch.device("cpu"):
        return batch(method)


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_compute_type_of_its_own_is_the_network_s_alone(method, threads):
    """Under a caller's autocast of another type, too."""
    model, (images, labels) = network(method), batch(method)
    expected = clipped(model, method, images, labels, autocast=torch.bfloat16)
    assert not same(expected, clipped(model, method, images, labels))
    with torch.autocast("cpu", dtype=torch.float16):
        assert same(clipped(model, method, images, labels, autocast=torch.bfloat16), expected)


@pytest.mark.parametrize("method", ["layerwise", "linear"])
def test_neighbors_under_a_caller_s_autocast_differ_by_no_more_than_the_clipping_norm(method, threads):
    """The sums were made in bfloat16: where gradients point the same way, neighbors differed by several C."""
    model, (images, labels) = network(method), batch(method, 1500)
    images, labels = images[:1] + 0.1 * images, labels[:1].expand(1500).contiguous()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        some = clipped(model, method, images, labels, 0.1)[:-2]
        others = clipped(model, method, images[1:], labels[1:], 0.1)[:-2]
    square = sum(float((a.double() - b.double()).square().sum()) for a, b in zip(some, others, strict=True))
    assert math.sqrt(square) <= 0.1 * (1 + 1e-2)  # float32 sums of 1,500 numbers, in another order


@pytest.mark.parametrize("method", METHODS)
def test_images_made_in_inference_mode_are_as_good_as_others(method, threads):
    model, (images, labels) = network(method), batch(method)
    with torch.inference_mode():
        made_here = images.clone(), labels.clone()
    assert made_here[0].is_inference()
    assert same(clipped(model, method, *made_here), clipped(model, method, images, labels))


@pytest.mark.parametrize("mode", [lambda: torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode])
def test_the_caller_s_modes_are_put_back(mode):
    model, (images, labels) = network("loop"), batch("loop")
    product = torch.randn(4, 4)
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), (product @ product).dtype
        cached = torch.is_autocast_cache_enabled()
        clipped_gradient_sum(model, images, labels)
        check_network(model, SHAPE)
        after = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), (product @ product).dtype
        assert before == after
        assert torch.is_autocast_cache_enabled() == cached


def test_the_check_leaves_no_moved_weights_in_autocast_s_cache():
    """The check moves weights; a copy of them in the caller's cache would be used by the caller's own passes."""
    model = network("linear")
    images = torch.randn(2, 192)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check_network(model, (192,))
        assert torch.equal(model(images), expected)


@pytest.mark.parametrize("method", METHODS[:2])
def test_flushed_numbers_do_not_loosen_a_tiny_clip(method):
    """A gradient so small that parts of it vanish is held to C all the same."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5, bias=False))
    nn.init.zeros_(model[1].weight)
    images = torch.full((1, 1, *SHAPE), 1e-24)
    with flush_denormal():
        total = Clipping(model, 1e-25, method)(images, torch.tensor([1]))
    assert float(total.sums["1.weight"].double().norm()) <= 1e-25 * (1 + 1e-6)


@pytest.mark.parametrize("length", [255, 256, 1_000, 150_528, 1_000_000])
def test_the_norm_of_a_long_row_is_exact_to_a_millionth(length):
    """Equal numbers are the worst case: each addition to a float32 sum of their squares rounds the same way."""
    constants = torch.linspace(1, 4, max(2, 2_000_000 // length))
    rows = constants[:, None].expand(-1, length)
    exact = rows.double().square().sum(1)
    for laid_out in (rows.contiguous(), rows, rows.t().contiguous().t()):
        errors = (rules.row_squares(laid_out) / exact).sqrt() - 1
        assert float(errors.abs().max()) <= 5e-7


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("color", [0.37, 1.1])
def test_one_long_gradient_is_held_to_the_clipping_norm(method, color):
    """The gradient of a linear layer on a large image of one color."""
    length = 500_000
    layer = nn.Linear(length, 2)
    model = layer if method == "linear" else nn.Sequential(nn.Flatten(), layer)
    images = torch.full((1, 1, length), color)
    total = Clipping(model, 1e-3, method)(images, torch.tensor([0]))
    norm = torch.stack([gradient.double().square().sum() for gradient in total.sums.values()]).sum().sqrt()
    assert float(norm) <= 1e-3 * (1 + 1e-6)


# --- settings of the process: they are refused ------------------------------------------------------------------------

DEFAULT_ROUNDS = {
    "torch.backends.cudnn.conv.fp32_precision",
    "torch.backends.cudnn.rnn.fp32_precision",
    "torch.backends.cudnn.allow_tf32",
}
"""Torch's own defaults: what they round is examples' gradients (``test_no_convolution_makes_a_sum_on_a_gpu``)."""


def discovered():
    """Every place in ``torch.backends`` that has a switch, by path, found in torch itself."""
    modules = {n: m for n, m in sys.modules.items() if n == "torch.backends" or n.startswith("torch.backends.")}
    places = {}
    for path, module in modules.items():
        candidates = {path: module}
        for name in {*dir(module), *dir(type(module))}:
            member = inspect.getattr_static(module, name, None)
            if not isinstance(member, type) and type(member).__module__.startswith("torch.backends"):
                candidates[f"{path}.{name}"] = member
        for place, owner in candidates.items():
            for switch in ("fp32_precision", "allow_tf32"):
                with contextlib.suppress(Exception):  # others start a GPU when they are asked for a name
                    getattr(owner, switch)
                    places[f"{place}.{switch}"] = owner
    return places


PLACES = discovered()
VALUES = {"fp32_precision": ("tf32", "bf16", "fp16", "tf32x3"), "allow_tf32": (True,)}
CASES = [
    pytest.param(path, value, id=f"{path.removeprefix('torch.backends.')}={value}")
    for path in sorted(PLACES)
    for value in VALUES[path.rpartition(".")[2]]
]


def test_the_walk_finds_what_the_source_of_torch_names():
    """Otherwise a switch could be added that neither the walk nor the refusal knows."""
    named = set()
    for file in Path(torch.backends.__path__[0]).rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "fp32_precision" in text or "allow_tf32" in text:
            parts = file.relative_to(Path(torch.backends.__path__[0])).with_suffix("").parts
            named.add(".".join(["torch.backends", *(p for p in parts if p != "__init__")]))
    assert named <= {
        n for path in PLACES for n in (path.rpartition(".")[0], path.rpartition(".")[0].rpartition(".")[0])
    }
    assert len(PLACES) >= 12


@pytest.fixture
def settings_put_back():
    """A switch is seen by torch's internal names and by the old ones, which have their own state."""
    yield
    pairs = [("generic", "all"), *itertools.product(("cuda", "mkldnn"), ("all", "matmul", "conv", "rnn"))]
    for backend, operation in pairs:
        torch._C._set_fp32_precision_setter(backend, operation, "none")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for backend in ("cuda", "mkldnn"):
        torch._C._set_fp32_precision_setter(backend, "matmul", "none")
    assert torch.backends.cuda.matmul.allow_tf32 is False
    assert torch.backends.cudnn.conv.fp32_precision == torch.backends.cudnn.rnn.fp32_precision == "tf32"
    assert torch.backends.fp32_precision == torch.backends.mkldnn.conv.fp32_precision == "none"


def put(path, value):
    """Set a switch; None if torch does not take this value there."""
    owner, name = PLACES[path], path.rpartition(".")[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            setattr(owner, name, value)
        except RuntimeError:
            return None
        return value


@pytest.mark.parametrize("path", ["torch.backends.mkldnn.matmul", "torch.backends.cuda.matmul"])
def test_an_update_is_refused_with_rounded_products(settings_put_back, path):
    """A whole update of a training, with the newer names."""
    import trilemma as tl
    from trilemma.training.execution import Execution
    from trilemma.training.loop import Training

    recipe = tl.Recipe(model="convnet-4", epsilon=8.0, batch_size=10, epochs=1.0, norm_groups=2)
    training = Training(recipe, tl.load_data("digits-s", limit=40, test_limit=40), Execution("cpu", None, "float32"))
    put(f"{path}.fp32_precision", "bf16" if "mkldnn" in path else "tf32")
    with pytest.raises(PrivacyError, match="rounded"):
        training.step()


@pytest.mark.parametrize(("path", "value"), CASES)
def test_every_switch_for_rounding_is_refused_by_its_name(settings_put_back, path, value):
    """Guards: sums rounded after the clip.  What the message says to set ends the refusal."""
    model, (images, labels) = network("linear"), batch("linear")
    before = getattr(PLACES[path], path.rpartition(".")[2])
    if put(path, value) is None:
        pytest.skip("torch has no such value here")
    if path in DEFAULT_ROUNDS:
        clipped(model, "linear", images, labels)
        return
    if path == "torch.backends.mkldnn.allow_tf32" and torch.backends.mkldnn.allow_tf32 is before:
        pytest.skip("without an Intel GPU torch ignores it")
    with pytest.raises(PrivacyError, match="rounded before the noise") as refused:
        clipped(model, "linear", images, labels)
    for method in METHODS:
        for call in (lambda m=method: clipped(network(m), m, *batch(m)), lambda m=method: function(m)):
            with pytest.raises(PrivacyError):
                call()
    line = str(refused.value)
    assert "\n" not in line
    exec(line.rpartition(": ")[2].removeprefix("set ").removeprefix("call "), {"torch": torch})
    clipped(model, "linear", images, labels)


def function(method):
    return clipped_gradient_sum(network(method), *batch(method), method=method)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_the_old_way_to_round_is_refused(settings_put_back, precision):
    torch.set_float32_matmul_precision(precision)
    for method in METHODS:
        with pytest.raises(PrivacyError, match=r"call torch.set_float32_matmul_precision\('highest'\)"):
            clipped(network(method), method, *batch(method))


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"), ("DNNL_DEFAULT_FPMATH_MODE", "any"), ("NVIDIA_TF32_OVERRIDE", "1")],
)
def test_variables_for_the_libraries_below_are_refused(monkeypatch, variable, value):
    """Torch does not know of these environment variables."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(PrivacyError, match=variable):
        clipped(network("linear"), "linear", *batch("linear"))
    monkeypatch.setenv(variable, "0" if variable.startswith("NVIDIA") else "STRICT")
    clipped(network("linear"), "linear", *batch("linear"))


class Operations(TorchDispatchMode):
    """Names of the operations of torch that run."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", METHODS)
def test_no_convolution_makes_a_sum_on_a_gpu(monkeypatch, method):
    """Torch rounds cuDNN's convolutions by default: they may make an example's gradient, not what follows the clip."""
    for module in (rules, contributions, layerwise, linear, sums):
        monkeypatch.setattr(module, "on_cpu", lambda tensor: False)
    model, (images, labels) = network(method), batch(method, 1)  # one example: its clip is followed by its sum alone
    clipped(model, method, images, labels)  # the network is checked here
    operations, factor, marks = Operations(), Objective.factor, []
    monkeypatch.setattr(Objective, "factor", lambda *a: marks.append(len(operations.seen)) or factor(*a))
    with operations:
        clipped(model, method, images, labels)
    (mark,) = marks
    if method != "linear":
        assert any("convolution" in name for name in operations.seen[:mark])
    after = operations.seen[mark:]
    assert any("mul" in name for name in after)
    assert not any("convolution" in name or "lstm" in name or "gru" in name for name in after)
