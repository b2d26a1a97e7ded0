"""Names of CelebA's attributes, in the order of its own list."""

from __future__ import annotations

from trilemma.errors import InputError
from trilemma.hints import did_you_mean

_FORTY = """
    5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair
    Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup
    High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose
    Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat
    Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
"""
CELEBA_ATTRIBUTES = tuple(_FORTY.split())

CELEBA_TARGET, CELEBA_PROTECTED = "Smiling", "Male"
"""What gives label and group where nothing else is asked for."""


def attribute(name: str) -> str:
    """The official spelling of an attribute; case, hyphens, blanks and underscores do not matter.

    >>> attribute("blond-hair")
    'Blond_Hair'

    Raises:
      InputError: CelebA has no such attribute.
    """
    plain = {plain_name(name): name for name in CELEBA_ATTRIBUTES}
    if plain_name(name) not in plain:
        raise InputError(
            f"CelebA has no attribute {name!r}{did_you_mean(name, CELEBA_ATTRIBUTES)}; "
            f"it has {', '.join(CELEBA_ATTRIBUTES)}"
        )
    return plain[plain_name(name)]


def plain_name(name: str) -> str:
    """A name's letters and digits in lower case, by which spellings are compared.

    >>> plain_name("Blond_Hair")
    'blondhair'
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())
