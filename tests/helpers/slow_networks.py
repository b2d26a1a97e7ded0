"""Small networks that have no fast rule, or on which one would be wrong: they are left to the loop over examples."""

from types import MethodType

import torch
import torch.nn.functional as F
from torch import nn

from fast_networks import CLASSES, Net, convolutional, freeze


class ScaledConv(nn.Conv2d):
    def forward(self, input):
        return 3 * F.conv2d(input, self.weight.tanh(), self.bias)


class SubclassLinear(nn.Linear):
    def forward(self, input):
        return super().forward(input.square())


class RawParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, 1.0, -2.0]))
        self.shifts = nn.ParameterList([nn.Parameter(torch.tensor(0.1))])
        self.head = nn.Linear(192, CLASSES)

    def forward(self, x):
        return self.head((x * self.scale[:, None, None] + self.shifts[0]).tanh().flatten(1))


def weight_elsewhere():
    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)[..., :3]
        hidden = torch.tanh(self.a(tokens))
        return self.head(torch.tanh(F.linear(hidden, self.a.weight)).mean(1))  # a's weight, not through a

    return Net(forward, a=nn.Linear(3, 3), head=nn.Linear(3, CLASSES))


def convolution_elsewhere():
    def forward(self, x):
        hidden = torch.tanh(self.a(F.pad(x, (1, 1, 1, 1))))
        return self.head(F.conv2d(hidden, self.a.weight, stride=2).mean((2, 3)))

    return Net(forward, a=nn.Conv2d(3, 3, 3), head=nn.Linear(3, CLASSES))


def penalized():
    """The weight enters the logits as a number, beside its layer."""

    def forward(self, x):
        return self.head(torch.tanh(self.a(x.flatten(1)))) * self.a.weight.square().mean()

    return Net(forward, a=nn.Linear(192, 6), head=nn.Linear(6, CLASSES))


def position_first(zero_head=False):
    """Positions before examples, as recurrent and attention layers like it: no example mixes with another."""

    def forward(self, x):
        tokens = x.flatten(2).permute(2, 0, 1)  # (64, n, 3)
        return self.head(torch.tanh(self.a(tokens)).square().mean(0))

    net = Net(forward, a=nn.Linear(3, 12), head=nn.Linear(12, CLASSES))
    if zero_head:
        nn.init.zeros_(net.head.weight)
    return net


def hooked():
    model = convolutional(nn.Conv2d(3, 6, 3), nn.Tanh(), channels=6)
    model[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def hooked_before():
    model = convolutional(nn.Conv2d(3, 6, 3), nn.Tanh(), channels=6)
    model[0].register_forward_pre_hook(lambda module, inputs: (inputs[0].tanh(),))
    return model


def overridden():
    model = convolutional(nn.Conv2d(3, 6, 3), nn.Tanh(), channels=6)
    model[0].forward = MethodType(lambda layer, x: F.conv2d(x, layer.weight, layer.bias, stride=2), model[0])
    return model


def parametrized(bias):
    layer = nn.Conv2d(3, 6, 3, bias=bias)
    return convolutional(nn.utils.parametrizations.weight_norm(layer), nn.Tanh(), channels=6)


def pruned():
    from torch.nn.utils import prune

    model = convolutional(nn.Conv2d(3, 6, 3), nn.Tanh(), channels=6)
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


def attention():
    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))

    return Net(forward, attention=nn.MultiheadAttention(3, 1, batch_first=True), head=nn.Linear(3, CLASSES))


def named_argument():
    return Net(lambda self, x: self.head(input=x.flatten(1)), head=nn.Linear(192, CLASSES))


def bias_only_in_place():
    """The input of a layer whose weight is frozen may be overwritten: its gradient needs it no more."""

    def forward(self, x):
        features = torch.tanh(self.body(x.flatten(1))) * 1.0
        more = self.a(features)
        features.mul_(0.5)
        return self.head(torch.tanh(more) + features)

    model = Net(forward, body=nn.Linear(192, 12), a=nn.Linear(12, 12), head=nn.Linear(12, CLASSES))
    return freeze(model, "a.weight")


SLOW = {
    "subclass": lambda: convolutional(ScaledConv(3, 6, 3), nn.Tanh(), channels=6),
    "subclass-of-linear": lambda: nn.Sequential(nn.Flatten(), SubclassLinear(192, CLASSES)),
    "forward-overridden": overridden,
    "forward-hook": hooked,
    "forward-pre-hook": hooked_before,
    "weight-norm": lambda: parametrized(True),
    "weight-norm-unbiased": lambda: parametrized(False),
    "raw-parameters": RawParameter,
    "weight-used-elsewhere": weight_elsewhere,
    "convolution-used-elsewhere": convolution_elsewhere,
    "weight-as-a-number": penalized,
    "position-first": position_first,
    "same-padding": lambda: convolutional(nn.Conv2d(3, 6, 3, padding="same"), nn.Tanh(), channels=6),
    "circular-padding": lambda: convolutional(
        nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular"), nn.Tanh(), channels=6
    ),
    "transposed": lambda: convolutional(nn.ConvTranspose2d(3, 6, 3), nn.Tanh(), channels=6),
    "conv1d": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(3, 4, 5, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(60, CLASSES)
    ),
    "rms-norm": lambda: nn.Sequential(nn.Flatten(), nn.RMSNorm(192), nn.Linear(192, CLASSES)),
    "prelu": lambda: convolutional(nn.Conv2d(3, 6, 3), nn.PReLU(6), channels=6),
    "attention": attention,
    "named-argument": named_argument,
    "bias-only-with-overwritten-input": bias_only_in_place,
}
