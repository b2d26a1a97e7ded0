"""The table of networks, and everything that takes its words from it."""

import importlib

import pytest
import torch

from trilemma.cli.arguments import parser
from trilemma.errors import InputError
from trilemma.models import build
from trilemma.networks import NETWORKS, NetworkKind, described_network, network_in_words, networks_in_words
from trilemma.report import glossary

HEX = NetworkKind("hexnet-SIDES", "a network of hexagons", "hexnet-6", "a network of hexagons with {0} sides")


@pytest.fixture
def hexagons():
    """A made-up network before the last kind, which fits every name with a colon."""
    last = NETWORKS.popitem()
    NETWORKS[HEX.form] = HEX
    NETWORKS.update([last])
    yield
    del NETWORKS[HEX.form]


@pytest.fixture
def glossary_with_hexagons(hexagons):
    yield importlib.reload(glossary)
    NETWORKS.pop(HEX.form)
    importlib.reload(glossary)
    NETWORKS[HEX.form] = HEX


@pytest.mark.parametrize("kind", NETWORKS.values(), ids=NETWORKS)
def test_a_kind_fits_its_example_and_describes_it(kind):
    name = kind.example or kind.form.replace("MODULE", "mine").replace("NAME", "hf-hub:timm/resnet18.a1_in1k")
    words = network_in_words(name)
    assert words == (kind.one.format(16, 4) or kind.what)
    assert "{" not in words
    assert network_in_words(f"{name} ") == ""


def test_two_kinds_are_not_described_alike():
    for words in ([kind.what for kind in NETWORKS.values()], [kind.one or kind.what for kind in NETWORKS.values()]):
        assert len(set(words)) == len(words)


@pytest.mark.usefixtures("hexagons")
def test_a_made_up_network_is_in_messages_and_on_its_page(capsys):
    assert "hexnet-SIDES (a network of hexagons), " in networks_in_words()
    config = {"recipe": {"model": "hexnet-8"}, "network": "recipe"}
    assert described_network(config) == ("hexnet-8", "a network of hexagons with 8 sides")
    with pytest.raises(InputError, match=r"'hexnt-6' \(did you mean 'hexnet-6'\?\): .*hexnet-SIDES \(a network"):
        build("hexnt-6", classes=2, image_shape=(3, 8, 8), generator=torch.Generator())
    with pytest.raises(SystemExit):
        parser().parse_args(["train", "--help"])
    assert "hexnet-SIDES" in capsys.readouterr().out


def test_a_made_up_network_has_a_term(glossary_with_hexagons):
    term = glossary_with_hexagons.GLOSSARY["network-hexnet"]
    assert (term.title, term.meaning) == ("hexnet-SIDES, a network", "A network of hexagons.")
    assert glossary_with_hexagons.explained("It trained hexnet-8.").count("term-network-hexnet") == 1
    assert "popovertarget" not in glossary_with_hexagons.explained("It is no hexnet-eight.")


def test_terms_of_networks_open_where_a_name_is():
    for name, key in (("wrn-16-4", "wrn"), ("prior-conv-32", "prior-conv"), ("timm:resnet18.a1_in1k", "timm")):
        assert f'popovertarget="term-network-{key}">{name}</button>' in glossary.explained(f"with {name}, which")
