"""Runs the kernels for a GPU in Triton's interpreter (``TRITON_INTERPRET=1``) and prints, as JSON, how far each result
is from torch's, and which kernels ran.

The interpreter cannot multiply matrices of bfloat16, so that half precision is float16 here.
"""

import json
from collections import Counter

import torch
from torch import nn

from trilemma.privacy import Clipping
from trilemma.privacy.gradients import contributions, kernels, layerwise, linear, rules, sums
from trilemma.standardization import StandardizedConv2d

CONVOLUTIONS = {
    "three channels": (nn.Conv2d(3, 16, 3, padding=1), 8),
    "stride": (nn.Conv2d(16, 24, 3, stride=2), 9),
    "one pixel": (nn.Conv2d(5, 7, 1, stride=2), 6),
    "dilation": (nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)), 7),
    "several tiles": (nn.Conv2d(130, 144, 3, padding=1), 4),
}


def relative(value, exact):
    value, exact = value.detach().double(), exact.detach().double()
    return float((value - exact).norm() / exact.norm())


def weight_gradients(layer, size, examples=3, views=2):
    images = torch.randn(examples * views, layer.in_channels, size, size).half()
    outputs = layer(images.float())
    gradients = torch.randn(outputs.shape).half()
    exact = []
    for x, g in zip(images.split(views), gradients.split(views), strict=True):
        exact.append(torch.autograd.grad(layer(x.float()), layer.weight, g.float())[0])
    return relative(kernels.weight_gradients(layer, images, gradients, examples), torch.stack(exact))


def group_norm(channels, groups, kind):
    layer = nn.GroupNorm(groups, channels)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    images = (torch.randn(4, channels, 5, 6) + 3).to(kind).requires_grad_()
    recorded = []
    result = kernels.GroupNorm.apply(images, layer, lambda *of_parameters: recorded.extend(of_parameters))
    gradients = torch.randn(result.shape).to(kind)
    (of_images,) = torch.autograd.grad(result, images, gradients)
    layer.double()
    errors = []
    for view in range(4):
        x = images[view : view + 1].detach().double().requires_grad_()
        y = layer(x)
        exact = torch.autograd.grad(y, (x, layer.weight, layer.bias), gradients[view : view + 1].double())
        mine = (of_images[view : view + 1], recorded[0][view], recorded[1][view])
        errors += [relative(result[view : view + 1], y.detach()), *map(relative, mine, exact)]
    return max(errors)


class Twice(nn.Module):
    """A group norm that is used in two places, one whose channels no kernel takes, and one of vectors."""

    def __init__(self):
        super().__init__()
        self.first = StandardizedConv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(4, 8)
        self.second = nn.Conv2d(8, 12, 3, stride=2, bias=False)
        self.odd = nn.GroupNorm(3, 12)
        self.flat = nn.GroupNorm(2, 4)
        self.middle, self.head = nn.Linear(12, 4), nn.Linear(4, 3)

    def forward(self, images):
        maps = self.norm(torch.tanh(self.norm(self.first(images))))
        maps = self.odd(torch.tanh(self.second(maps)))
        return self.head(self.flat(self.middle(maps.mean(dim=(2, 3)))))


ON_CPU = rules.on_cpu


def choose(on_cpu):
    """Take the choices of a CPU or of a GPU."""
    for module in (rules, contributions, layerwise, linear, sums):
        module.on_cpu = on_cpu


def network(autocast=None):
    model = Twice()
    images, labels = torch.randn(3, 2, 3, 6, 6), torch.tensor([0, 2, 1])
    exact = Clipping(model, 0.5, "loop")(images, labels)
    choose(ON_CPU)
    Clipping(model, 0.5, "layerwise")(images, labels)  # the network is checked here, without the kernels
    choose(lambda tensor: False)
    fast = Clipping(model, 0.5, "layerwise", autocast=autocast)(images, labels)
    return relative(*(torch.cat([total.sums[name].flatten() for name in exact.sums]) for total in (fast, exact)))


class Counted:
    def __init__(self, name):
        self.name, self.kernel = name, getattr(kernels, name)
        setattr(kernels, name, self)

    def __getitem__(self, programs):
        ran[self.name] += 1
        return self.kernel[programs]


if __name__ == "__main__":
    torch.manual_seed(0)
    ran = Counter()
    for kernel in ("_weight_gradient", "_normalize", "_normalize_backward"):
        Counted(kernel)
    errors = {f"weight gradients, {name}": weight_gradients(*case) for name, case in CONVOLUTIONS.items()}
    for kind in (torch.float32, torch.float16):
        errors |= {f"group norm {case}, {kind}": group_norm(*case, kind) for case in ((8, 2), (16, 16), (4, 1))}
    before = dict(ran)
    errors["network"] = network()
    errors["network, torch.float16"] = network(torch.float16)
    of_network = {name: count - before[name] for name, count in ran.items()}
    print(json.dumps({"errors": errors, "in the network": of_network}))
