"""Small networks with every kind of layer that has a fast rule, each with one trait that a rule could get wrong."""

import torch
import torch.nn.functional as F
from torch import nn

from trilemma.standardization import StandardizedConv2d

CLASSES = 5
"""All take images (n, 3, 8, 8)."""


class Net(nn.Module):
    """Modules given by name and a forward pass given as a function of the module and its images."""

    def __init__(self, forward, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.run = forward

    def forward(self, images):
        return self.run(self, images)


def convolutional(*layers, channels):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, CLASSES))


def under_the_floor(share):
    layer = StandardizedConv2d(3, 6, 3)
    # Not far under it: what a rule without the floor gets wrong is largest just below.
    norm = (layer.weight - layer.weight.mean((1, 2, 3), keepdim=True)).flatten(1).norm(dim=1)
    with torch.no_grad():
        layer.weight[: int(6 * share)] *= (0.006 / norm)[: int(6 * share), None, None, None]
    return layer


def constant_filter():
    layer = StandardizedConv2d(3, 6, 3)
    with torch.no_grad():
        layer.weight[2] = 0.25  # its deviation is exactly 0
    return layer


def freeze(model, *names):
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


def tied_linear():
    def forward(self, x):
        hidden = torch.tanh(self.a(x.flatten(1)[:, :40]))
        return self.head(torch.tanh(self.b(hidden)))

    net = Net(forward, a=nn.Linear(40, 40), b=nn.Linear(40, 40), head=nn.Linear(40, CLASSES))
    net.b.weight = net.a.weight
    return net


def tied_convolutions():
    def forward(self, x):
        return self.head(self.a(x).mean((2, 3)) + self.b(x).tanh().mean((2, 3)))

    net = Net(forward, a=nn.Conv2d(3, 6, 3), b=nn.Conv2d(3, 6, 3, stride=2, bias=False), head=nn.Linear(6, CLASSES))
    net.b.weight = net.a.weight
    return net


def tied_plain_and_standardized():
    def forward(self, x):
        return self.head(self.a(x).tanh().mean((2, 3)) + self.b(x).tanh().mean((2, 3)))

    net = Net(forward, a=nn.Conv2d(3, 6, 3), b=StandardizedConv2d(3, 6, 3), head=nn.Linear(6, CLASSES))
    net.b.weight = net.a.weight
    return net


def called_twice():
    def forward(self, x):
        hidden = torch.tanh(self.conv(F.pad(x, (1, 1, 1, 1))))
        hidden = torch.tanh(self.conv(F.avg_pool2d(hidden, 2)))  # the second time at another size
        hidden = self.norm(self.norm(hidden))
        return self.head(hidden.mean((2, 3)))

    return Net(forward, conv=nn.Conv2d(3, 3, 3), norm=nn.GroupNorm(1, 3), head=nn.Linear(3, CLASSES))


def called_twice_standardized():
    def forward(self, x):
        hidden = torch.tanh(self.conv(F.pad(x, (1, 1, 1, 1))))
        return self.head(torch.tanh(self.conv(hidden)).mean((2, 3)))

    return Net(forward, conv=StandardizedConv2d(3, 3, 3), head=nn.Linear(3, CLASSES))


def unused():
    def forward(self, x):
        self.looked_at(x.flatten(1))  # computed, but nothing depends on it
        return self.head(x.flatten(1))

    return Net(
        forward,
        never_called=nn.Linear(7, 7),
        looked_at=nn.Linear(192, 3),
        head=nn.Linear(192, CLASSES),
    )


def positions():
    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)  # (n, 64, 3)
        return self.head(torch.tanh(self.norm(self.mix(tokens))).mean(1))

    return Net(forward, mix=nn.Linear(3, 12), norm=nn.LayerNorm(12), head=nn.Linear(12, CLASSES))


def grid():
    def forward(self, x):
        return self.head(torch.tanh(self.mix(x.permute(0, 2, 3, 1))).mean((1, 2)))

    return Net(forward, mix=nn.Linear(3, 12), head=nn.Linear(12, CLASSES))


def patches():
    """Four patches of each image as a batch of their own: those of one example side by side."""

    def forward(self, x):
        cut = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 4, 4)
        return self.head(torch.tanh(self.conv(cut)).mean((2, 3)).reshape(len(x), -1))

    return Net(forward, conv=nn.Conv2d(3, 6, 3), head=nn.Linear(24, CLASSES))


def channels_last():
    """As ``prior-conv``: strides, padding, a group norm and gradients whose channels come last."""

    def forward(self, x):
        x = torch.tanh(self.norm(self.one(x.contiguous(memory_format=torch.channels_last))))
        return self.head(torch.tanh(self.two(x)).mean((2, 3)))

    two = StandardizedConv2d(6, 8, (3, 2), stride=(2, 1), padding=(0, 1))
    return Net(forward, one=nn.Conv2d(3, 6, 3, padding=1), norm=nn.GroupNorm(2, 6), two=two, head=nn.Linear(8, CLASSES))


def in_place():
    def forward(self, x):
        out = F.relu(self.norm(F.relu(self.one(x), inplace=True)), inplace=True)
        more = self.two(out)
        more += out
        return self.head(more.mean((2, 3)))

    return Net(
        forward,
        one=nn.Conv2d(3, 6, 3),
        norm=nn.GroupNorm(2, 6),
        two=nn.Conv2d(6, 6, 3, padding=1),
        head=nn.Linear(6, CLASSES),
    )


def flat_norms():
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(192, 12),
        nn.GroupNorm(3, 12),
        nn.Tanh(),
        nn.Linear(12, 12),
        nn.LayerNorm(12, bias=False),
        nn.Linear(12, CLASSES, bias=False),
    )


def standardized_network(layer):
    return convolutional(layer, nn.Tanh(), channels=6)


def cut_off():
    """Nothing that is trained depends differentiably on the images."""

    def forward(self, x):
        with torch.no_grad():
            features = torch.tanh(self.body(x.flatten(1)))
        return self.head(features)

    return freeze(Net(forward, body=nn.Linear(192, 12), head=nn.Linear(12, CLASSES)), "body.weight", "body.bias")


FAST = {
    "grouped": lambda: convolutional(nn.Conv2d(3, 6, 3, groups=3), nn.Tanh(), channels=6),
    "grouped-deep": lambda: convolutional(
        nn.Conv2d(3, 8, 1), nn.Tanh(), nn.Conv2d(8, 4, 3, groups=2), nn.Tanh(), channels=4
    ),
    "dilated": lambda: convolutional(nn.Conv2d(3, 6, 3, dilation=2), nn.Tanh(), channels=6),
    "dilated-unevenly": lambda: convolutional(nn.Conv2d(3, 6, 3, dilation=(1, 2), padding=1), nn.Tanh(), channels=6),
    "strided": lambda: convolutional(nn.Conv2d(3, 6, 3, stride=(2, 1), padding=(2, 1)), nn.Tanh(), channels=6),
    "stride-with-rest": lambda: convolutional(nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), channels=6),
    "all-at-once": lambda: convolutional(
        nn.Conv2d(3, 6, (3, 2), stride=2, padding=3, dilation=(1, 2), groups=3, bias=False),
        nn.Tanh(),
        channels=6,
    ),
    "unbiased": lambda: convolutional(nn.Conv2d(3, 6, 3, bias=False), nn.Tanh(), channels=6),
    "linear-over-positions": positions,
    "linear-over-a-grid": grid,
    "patches": patches,
    "group-norm": lambda: convolutional(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.Tanh(), channels=6),
    "group-norm-no-affine": lambda: convolutional(
        nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6, affine=False), nn.Tanh(), channels=6
    ),
    "group-norm-large-eps": lambda: convolutional(nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6, eps=0.5), channels=6),
    "layer-norm-whole-map": lambda: convolutional(nn.Conv2d(3, 6, 3), nn.LayerNorm([6, 6, 6]), nn.Tanh(), channels=6),
    "layer-norm-no-affine": lambda: convolutional(
        nn.Conv2d(3, 6, 3), nn.LayerNorm(6, elementwise_affine=False, eps=0.1), nn.Tanh(), channels=6
    ),
    "norms-of-vectors": flat_norms,
    "instance-norm-no-statistics": lambda: convolutional(
        nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6), nn.Tanh(), channels=6
    ),
    "standardized": lambda: standardized_network(StandardizedConv2d(3, 6, 3)),
    "standardized-strided": lambda: standardized_network(StandardizedConv2d(3, 6, 3, stride=2)),
    "standardized-under-the-floor": lambda: standardized_network(under_the_floor(1)),
    "standardized-partly-under-the-floor": lambda: standardized_network(under_the_floor(0.5)),
    "standardized-constant-filter": lambda: standardized_network(constant_filter()),
    "called-twice": called_twice,
    "called-twice-standardized": called_twice_standardized,
    "tied-linear": tied_linear,
    "tied-convolutions": tied_convolutions,
    "tied-plain-and-standardized": tied_plain_and_standardized,
    "frozen-layer": lambda: freeze(convolutional(nn.Conv2d(3, 6, 3), nn.Tanh(), channels=6), "0.weight", "0.bias"),
    "frozen-last-layer": lambda: freeze(convolutional(nn.Conv2d(3, 6, 3), nn.Tanh(), channels=6), "4.weight", "4.bias"),
    "frozen-weight": lambda: freeze(convolutional(nn.Conv2d(3, 6, 3), nn.Tanh(), channels=6), "0.weight"),
    "frozen-bias": lambda: freeze(convolutional(nn.Conv2d(3, 6, 3), nn.Tanh(), channels=6), "0.bias", "4.bias"),
    "frozen-gain": lambda: freeze(standardized_network(StandardizedConv2d(3, 6, 3)), "0.gain"),
    "frozen-standardized-weight": lambda: freeze(standardized_network(StandardizedConv2d(3, 6, 3)), "0.weight"),
    "frozen-norm-weight": lambda: freeze(
        convolutional(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.Tanh(), channels=6), "1.weight"
    ),
    "unused": unused,
    "cut-off-from-the-images": cut_off,
    "in-place": in_place,
    "channels-last": channels_last,
    "in-place-module": lambda: convolutional(
        nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3), nn.ReLU(inplace=True), channels=6
    ),
}
