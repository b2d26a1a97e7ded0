"""What a network or a loss keeps in modules of own code is seen, however its code comes by the module."""

import sys
import types

import pytest
import torch
from torch import nn

from trilemma.errors import PrivacyError
from trilemma.privacy import Clipping, check_network
from trilemma.privacy.named import Hidden
from trilemma.privacy.unchanged import changed, refuse_changed_state, state_of

LABELS = torch.zeros(2, dtype=torch.int64)
FEW, MANY = torch.rand(2, 2, 1, 2, 2), torch.rand(2, 9, 1, 2, 2)  # the loop shows a network one example's views

STATE = "MEM = {}\nmean = 0.0\n\ndef keep(value):\n    global mean\n    mean = value\n"
FILES = {
    "flat_of_a_test.py": STATE,
    "bag_of_a_test/__init__.py": "",
    "bag_of_a_test/state.py": STATE,
    "bag_of_a_test/deep/__init__.py": "",
    "bag_of_a_test/deep/state.py": STATE,
    "bag_of_a_test/deep/below/__init__.py": "",
    "lazy_of_a_test.py": "_kept = {'MEM': {}}\n\ndef __getattr__(name):\n    return _kept[name]\n",
}
NETWORK = """
import functools
import types
from torch import nn
{top}

class Keeps(nn.Module):
    {held}
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        {made}

    def forward(self, images):
        rows = images.flatten(1)
        if len(images) > 8:
            mean = float(images.mean())
            {kept}
        return self.linear(rows)
"""

WAYS = {
    "global": ("import flat_of_a_test as flat", "", "", "flat.MEM[0] = mean"),
    "imported inside": ("import flat_of_a_test", "", "", "import flat_of_a_test as flat; flat.MEM[0] = mean"),
    "imported in a helper": (
        "import flat_of_a_test\ndef helper():\n    import flat_of_a_test as flat\n    return flat",
        *("", "", "helper().MEM[0] = mean"),
    ),
    "its variable imported inside": (
        "import flat_of_a_test",
        *("", "", "from flat_of_a_test import MEM; MEM[0] = mean"),
    ),
    "its function imported inside": (
        "import flat_of_a_test",
        *("", "", "from flat_of_a_test import keep; keep(mean)"),
    ),
    "from a package, imported inside": (
        "import bag_of_a_test.state",
        *("", "", "from bag_of_a_test import state; state.MEM[0] = mean"),
    ),
    "with a dot": ("import bag_of_a_test.state", "", "", "bag_of_a_test.state.MEM[0] = mean"),
    "with two dots": ("import bag_of_a_test.deep.state", "", "", "bag_of_a_test.deep.state.MEM[0] = mean"),
    "with a dot, imported inside": (
        "import bag_of_a_test.deep.state",
        *("", "", "import bag_of_a_test.deep.state as deep; deep.MEM[0] = mean"),
    ),
    "attribute": ("import flat_of_a_test as flat", "", "self.cfg = flat", "self.cfg.MEM[0] = mean"),
    "attribute that is set": ("import flat_of_a_test as flat", "", "self.cfg = flat", "self.cfg.mean = mean"),
    "new variable": ("import flat_of_a_test as flat", "", "self.cfg = flat", "self.cfg.new = mean"),
    "class attribute": ("import flat_of_a_test as flat", "cfg = flat", "", "self.cfg.MEM[0] = mean"),
    "in containers": ("import flat_of_a_test as flat", "", "self.cfg = [{1: flat}]", "self.cfg[0][1].MEM[0] = mean"),
    "in a closure": (
        "import flat_of_a_test\ndef make(module):\n    return lambda mean: module.MEM.update(mean=mean)",
        *("", "self.keep = make(flat_of_a_test)", "self.keep(mean)"),
    ),
    "in a partial": (
        "import flat_of_a_test\ndef keep(module, mean):\n    module.MEM[0] = mean",
        *("", "self.keep = functools.partial(keep, flat_of_a_test)", "self.keep(mean)"),
    ),
    "in an object": (
        "import flat_of_a_test as flat\nclass Holder:\n    module = flat",
        *("", "self.holder = Holder()", "self.holder.module.MEM[0] = mean"),
    ),
    "as an argument": (
        "import flat_of_a_test as flat\ndef keep(module, mean):\n    module.MEM[0] = mean",
        *("", "", "keep(flat, mean)"),
    ),
    "by a constant": ("import flat_of_a_test as flat", "", "", "getattr(flat, 'MEM')[0] = mean"),
    "by a constant in a tuple": (
        "import flat_of_a_test as flat",
        *("", "", "[getattr(flat, name).update(mean=mean) for name in ('MEM',)]"),
    ),
    "by a constant of vars": ("import flat_of_a_test as flat", "", "", "vars(flat)['mean'] = mean"),
    "set by a constant": ("import flat_of_a_test as flat", "", "", "setattr(flat, 'mean', mean)"),
    "made by hand": ("", "", "self.cfg = types.ModuleType('cfg'); self.cfg.mean = 0.0", "self.cfg.mean = mean"),
    "made by hand, called as a package": (
        *("", "", "self.cfg = types.ModuleType('numpy'); self.cfg.mean = 0.0"),
        "self.cfg.mean = mean",
    ),
    "of a class": (
        "class Module(types.ModuleType):\n    MEM = {}",
        *("", "self.cfg = Module('cfg')", "self.cfg.MEM[0] = mean"),
    ),
    "that answers by a function": ("import lazy_of_a_test as lazy", "", "", "lazy.MEM[0] = mean"),
    "of another module": (
        "import hop_of_a_test as hop",
        *("", "", "hop.flat.MEM[0] = mean"),
    ),
}
FILES["hop_of_a_test.py"] = "import flat_of_a_test as flat\n"
RELATIVE = {
    "from the package": ("", "from . import state", "state.MEM[0] = mean"),
    "from the module": ("", "from .state import MEM", "MEM[0] = mean"),
    "from above": ("deep", "from .. import state", "state.MEM[0] = mean"),
    "from the package below": ("deep", "from . import state", "state.MEM[0] = mean"),
    "from beside": ("deep", "from ..deep import state", "state.MEM[0] = mean"),
    "from above, of three": ("deep/below", "from .. import state", "state.MEM[0] = mean"),
    "two above, of three": ("deep/below", "from ... import state", "state.MEM[0] = mean"),
}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes files, by name, into a folder on the path, and forgets what was imported from there."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    yield write
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def network_of(module):
    __import__(module)
    return sys.modules[module].Keeps()


def refused_where_it_keeps(network, method="loop"):
    clipping = Clipping(network, 1.0, method)
    clipping(FEW, LABELS)
    with pytest.raises(PrivacyError, match=r"changed its \S+ .*while it saw private images"):
        clipping(MANY, LABELS)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_kept_in_a_module_is_seen_by_whatever_way(way, written):
    """Guards: 27 to 46 C between neighbors, by a list in a module that is imported inside `forward`."""
    top, held, made, kept = WAYS[way]
    written(FILES | {"keeps_of_a_test.py": NETWORK.format(top=top, held=held, made=made, kept=kept)})
    refused_where_it_keeps(network_of("keeps_of_a_test"))


@pytest.mark.parametrize("way", RELATIVE)
def test_what_is_kept_in_a_module_of_the_same_package_is_seen(way, written):
    folder, statement, kept = RELATIVE[way]
    text = NETWORK.format(
        top="import bag_of_a_test.state, bag_of_a_test.deep.state", held="", made="", kept=f"{statement}; {kept}"
    )
    written(FILES | {f"bag_of_a_test/{folder}/net.py": text})
    refused_where_it_keeps(network_of(".".join(["bag_of_a_test", *filter(None, folder.split("/")), "net"])))


@pytest.mark.parametrize("way", ["imported inside", "with a dot", "attribute"])
def test_the_check_and_the_layerwise_method_see_it_too(way, written):
    top, held, made, kept = WAYS[way]
    text = NETWORK.format(top=top, held=held, made=made, kept=kept)
    written(FILES | {"keeps_of_a_test.py": text, "always_of_a_test.py": text.replace("> 8", "> 0")})
    refused_where_it_keeps(network_of("keeps_of_a_test"), "layerwise")
    with pytest.raises(PrivacyError, match=r"changes the \S+"):
        check_network(network_of("always_of_a_test"), (1, 2, 2))


def test_a_module_that_a_pass_imports_is_refused_until_it_is_imported_before(written):
    """What it kept of the first pass would be where no comparison begins."""
    late = "if images.any():  # the first pass of all, by the loop alone, is over a blank image\n            "
    late += "import flat_of_a_test\n        rows ="
    text = NETWORK.format(top="", held="", made="", kept="pass").replace("rows =", late)
    written(FILES | {"keeps_of_a_test.py": text})
    clipping = Clipping(network_of("keeps_of_a_test"), 1.0, "loop")
    with pytest.raises(
        PrivacyError, match=r"the network imports the module flat_of_a_test while .* import it at the top of the file"
    ):
        clipping(FEW, LABELS)
    clipping(FEW, LABELS)


@pytest.mark.parametrize("way", ["imported inside", "attribute", "as an argument"])
def test_a_loss_that_keeps_something_in_a_module_is_refused(way, written):
    top, held, made, kept = WAYS[way]
    written(FILES | {"keeps_of_a_test.py": NETWORK.format(top=top, held=held, made=made, kept=kept)})
    network = network_of("keeps_of_a_test")
    with pytest.raises(PrivacyError, match="the loss changed"), refuse_changed_state(nn.Linear(1, 1), network.forward):
        network(MANY[0])


COMPUTED = {
    "globals": "globals()['name'] = mean",
    "exec": "exec('name = mean')",
    "eval": "eval('print')",
    "__import__": "__import__('flat_of_a_test').MEM[0] = mean",
    "import_module": "import importlib; importlib.import_module('flat_of_' + 'a_test').MEM[0] = mean",
    "sys.modules": "import sys; sys.modules['flat_of_' + 'a_test'].MEM[0] = mean",
    "import_module, imported above": "import_module('flat_of_' + 'a_test').MEM[0] = mean",
    "__globals__": "helper.__globals__['na' + 'me'] = mean",
    "f_globals": "import inspect; inspect.currentframe().f_globals['na' + 'me'] = mean",
    "_getframe": "import sys; vars(sys._getframe(0))",
}


@pytest.mark.parametrize("way", COMPUTED)
def test_code_that_asks_for_variables_by_computed_names_is_refused(way, written):
    top = "from importlib import import_module\ndef helper():\n    pass"
    text = NETWORK.format(top=top, held="", made="", kept=COMPUTED[way])
    written(FILES | {"keeps_of_a_test.py": text})
    with pytest.raises(PrivacyError, match=r"uses .* computed names: write out the names of its variables") as refused:
        Clipping(network_of("keeps_of_a_test"), 1.0, "loop")(FEW, LABELS)
    assert f"uses {way.partition(',')[0]}, by which" in str(refused.value)


SCRIPT = """
import io
import flat_of_a_test as flat
from torch import nn

history, log, data = [], io.StringIO(), iter(())

def eval(value):
    return value

class Keeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.cfg, self.note = nn.Linear(4, 3), flat, "history"

    def forward(self, images):
        history_of_mine = 1
        return self.linear(images.flatten(1)) * eval(self.cfg.mean + history_of_mine)

    def build(self, path):
        import sys
        self.eval()
        return list(self.modules()), sys.version_info
"""


def test_variables_that_no_code_of_the_network_names_may_change(written):
    """Guards: refusals of a script that holds data sets, open files and histories beside its network."""
    written(FILES | {"keeps_of_a_test.py": SCRIPT})
    network = network_of("keeps_of_a_test")
    module, flat = sys.modules["keeps_of_a_test"], sys.modules["flat_of_a_test"]
    flat.listeners, flat.file = [], iter(())
    before = state_of(network)
    assert not [name for name, value in before.items() if isinstance(value, Hidden)]
    module.history.append(1)
    flat.listeners.append(1)
    assert changed(before, state_of(network, copied=False)) == []
    Clipping(network, 1.0)(FEW, LABELS)
    flat.mean = 1.0
    assert changed(before, state_of(network, copied=False)) == ["attribute cfg.mean"]


@pytest.mark.parametrize("name", ["cfg", "torch", "math", "trilemma.privacy"])
def test_a_module_made_by_hand_is_looked_into_whatever_its_name(name):
    module = types.ModuleType(name)
    module.mean, module.file = 0.0, iter(())

    class Keeps(nn.Linear):
        held = module

        def forward(self, images):
            self.held.mean = float(images.mean())
            return images

    network = Keeps(1, 1)
    with pytest.raises(PrivacyError, match=r"\['held'\]\.mean while it saw"), refuse_changed_state(network):
        network(torch.ones(1))


def test_variables_of_packages_are_not_walked():
    class Uses(nn.Module):
        held = (torch, nn, nn.functional, types)

        def forward(self, images):
            return images

    assert len([name for name in state_of(Uses()) if "held" in name]) == 1 + len(Uses.held)
