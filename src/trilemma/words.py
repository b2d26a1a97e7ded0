"""User-facing names: of budgets, techniques, trials, numbers, and of things that come from outside."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, get_args

from trilemma.hints import listed
from trilemma.techniques import PAPER_TECHNIQUES, TECHNIQUES

SEEDED_NOISE = (
    "Not for release: sampling and noise were drawn from the seed, and whoever knows the seed can subtract the noise."
)
"""What a run with seeded noise and its page say in their first lines."""

SEEDED_NOISE_OF_STUDY = (
    "No model here that has a budget is for release: its noise is drawn from its seed, and whoever knows the seed can "
    "subtract it."
)
"""What a study with seeded noise says in the first lines of the terminal and of its page."""


def clean(text: object) -> str:
    """Text from outside, fit to be shown: without glyphless characters, or ones that reverse the direction of writing.

    Each of these becomes �.  The text is not escaped: whoever writes it into a page does that.

    >>> clean("<b>\\x1b[31mred\\u202e")
    '<b>�[31mred�'
    """
    return "".join("�" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") else c for c in str(text))


def encodable(text: str) -> str:
    """The text with � for what UTF-8 cannot hold, such as bytes of a file's name that are not UTF-8.

    >>> encodable("caf\\udce9")
    'caf�'
    """
    return "".join("�" if unicodedata.category(c) == "Cs" else c for c in text)


def clean_lines(text: str) -> str:
    """As :func:`clean`, with line ends kept."""
    return "\n".join(clean(line) for line in text.split("\n"))


def shortened(text: str, longest: int = 40) -> str:
    """The text, with its middle left out if it is too long.

    >>> shortened("abcdefghij", 7)
    'abc…hij'
    """
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[: longest - 1 - head]}…{text[len(text) - head :]}"


BEGUN_EARLIER = (
    "an earlier version began this run, and this version cannot continue its random numbers: "
    "start again with another --out"
)
"""The refusal to go on with a run of version 0.1.0."""

DELTA = 1e-5
"""The delta of a budget that names none."""

RESAMPLES = 1000
"""Bootstrap samples for an interval, unless another number is given."""

AUDITED = 2000
"""Audited examples, members and non-members together, unless another number is given or the data have fewer."""

DELTA_RANGE = "delta must lie in (0, 1), not {}; 1e-5 is usual"
"""The refusal of a delta that is not a probability, wherever one comes in."""

CLIPPING_NORMS = (1e-30, 1e30)
"""The smallest and the largest clipping norm: sums of float32 numbers could not hold to others."""

CLIPPING_NORM_RANGE = f"the clipping norm must be between {CLIPPING_NORMS[0]:g} and {CLIPPING_NORMS[1]:g}, not {{}}"
"""The refusal of another one, wherever one comes in."""


def exact(value: float) -> str:
    """A number that somebody chose, such as a budget or a skew: as few digits as read back as the same number, so that
    different numbers never look alike.

    >>> exact(8.0), exact(0.1), exact(8.0000001), exact(1e-05)
    ('8', '0.1', '8.0000001', '1e-5')
    """
    return repr(float(value)).removesuffix(".0").replace("e-0", "e-")


def exact_percent(share: float) -> str:
    """A share that somebody chose, as a percentage with all of its digits.

    >>> exact_percent(0.95), exact_percent(0.975), exact_percent(0.90000001)
    ('95 %', '97.5 %', '90.000001 %')
    """
    text = f"{Decimal(repr(float(share))) * 100:f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def budget(epsilon: float | None) -> str:
    """A budget in words.

    >>> budget(8.0), budget(None)
    ('ε = 8', 'no budget')
    """
    return "no budget" if epsilon is None else f"ε = {exact(epsilon)}"


def epsilon_tick(epsilon: float | None) -> str:
    """A budget as the label of a tick on an axis.

    >>> epsilon_tick(8.0), epsilon_tick(None)
    ('8', '∞')
    """
    return "∞" if epsilon is None else exact(epsilon)


def budget_order(epsilon: float | None) -> float:
    """A key that sorts budgets from the tightest to none.

    >>> sorted([8.0, None, 1.0], key=budget_order)
    [1.0, 8.0, None]
    """
    return math.inf if epsilon is None else epsilon


def skew_words(skew: float | None) -> str:
    """A skew in words.

    >>> skew_words(0.95), skew_words(None)
    ('skew 95 %', 'no skew')
    """
    return "no skew" if skew is None else f"skew {exact_percent(skew)}"


def percent(share: float) -> str:
    """A share that was measured, as a percentage with up to four digits.

    >>> percent(0.95), percent(0.975)
    ('95 %', '97.5 %')
    """
    return f"{100 * share:.4g} %"


def mix(techniques: Sequence[str]) -> str:
    """A combination of techniques in the paper's codes.

    >>> mix([]), mix(["gn", "ws"]), mix(["obs", "gn", "ws", "am", "pa"]), mix(["obs", "gn", "ws", "am", "pa", "sat"])
    ('BL', 'GN+WS', 'all−SAT', 'all')
    """
    if not techniques:
        return "BL"
    lacking = [code for code in PAPER_TECHNIQUES if code not in techniques]
    if len(lacking) < 2 and set(techniques) <= set(PAPER_TECHNIQUES):
        return "−".join(["all", *(code.upper() for code in lacking)])
    return "+".join(clean(code) if ":" in code else clean(code).upper() for code in techniques)


def techniques_in_words(codes: Sequence[str]) -> str:
    """Techniques by their full names, those from outside by their own; "" for none.

    >>> techniques_in_words(["gn", "ws", "mine:part"])
    'group normalization, weight standardization and mine:part'
    """
    names = [TECHNIQUES[code].name if code in TECHNIQUES else clean(code) for code in codes]
    return listed(names, most=None) if names else ""


def number(value: float, digits: int = 3) -> str:
    """A number with a fixed number of digits, commas between thousands, and a real minus sign.

    >>> number(0.98765), number(float("nan")), number(12345.6, 0), number(-0.0004)
    ('0.988', '–', '12,346', '0.000')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:z,.{digits}f}"  # z: a value that rounds to zero has no sign
    return text.replace("-", "−")


def signed_number(value: float, digits: int = 3) -> str:
    """A difference, or an end of its interval, as :func:`number` with its sign.

    >>> signed_number(0.0123), signed_number(-0.5), signed_number(float("nan"))
    ('+0.012', '−0.500', '–')
    """
    text = number(value, digits)
    return text if text.startswith("−") or math.isnan(value) else f"+{text}"


def power(value: float) -> str:
    """A small number, such as delta, without a leading zero in its exponent.

    >>> power(1e-5), power(0.05), power(float("nan"))
    ('1e-5', '0.05', '–')
    """
    return "–" if math.isnan(value) else f"{value:g}".replace("e-0", "e-")


def clock(seconds: float) -> str:
    """A duration in words, rounded to its leading units.

    >>> clock(42), clock(125), clock(7300), clock(1e6)
    ('42 s', '2 min', '2 h 1 min', '12 days')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 96 else f"{round(hours / 24):,} days"


def spelled(group: object) -> str:
    """A group's name for people; the skewed sets' own ``colour``, a key of every result, is spelled as the rest is.

    >>> spelled("colour"), spelled("gray")
    ('color', 'gray')
    """
    return "color" if group == "colour" else clean(group)


def capital(words: str) -> str:
    """Words with a capital first letter, unless the first letter is a symbol.

    >>> capital("no budget"), capital("ε = 8")
    ('No budget', 'ε = 8')
    """
    return words[:1].upper() + words[1:] if words[:1].isascii() else words


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """A number with its interval in brackets, if it has one.

    >>> with_interval(0.5, 0.4, 0.6), with_interval(0.5, float("nan"), float("nan"))
    ('0.500 [0.400, 0.600]', '0.500')
    """
    if math.isnan(low) or math.isnan(high):
        return number(value, digits)
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def guessing(stranger: bool) -> str:
    """What an accuracy near chance means.

    Args:
      stranger: whether the model was trained by other code, which may order labels or normalize images otherwise.
    """
    check = "check that examples, updates and budget suffice to learn"
    if stranger:
        check += (
            ", that labels and classes are in the same order, and that the images are normalized as the model expects"
        )
    return f"this may be no better than guessing; {check}"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A count with its noun in the singular or plural.

    >>> counted(1, "trial"), counted(1200, "trial")
    ('1 trial', '1,200 trials')
    """
    return f"{number(count, 0)} {singular if count == 1 else plural or singular + 's'}"


def examples_words(count: int) -> str:
    """A number of training examples, where it tells settings apart.

    >>> examples_words(2000)
    '2,000 examples'
    """
    return counted(count, "example")


Rank = Literal["rmia", "lira", "histogram"]
RANKS: tuple[Rank, ...] = get_args(Rank)
"""What can rank training examples for a removal: two attacks with shadow models, of which the first is the default, or
the loss histogram."""

RANK_WORDS = {
    "rmia": "RMIA with shadow models",
    "lira": "LiRA with shadow models",
    "histogram": "the loss histogram",
}
"""What ranks the examples of a removal."""

RANK_OF_EARLIER: Rank = "histogram"
"""What ranked the examples of a removal that does not say so: earlier versions knew no other ranking."""

CONTROL = "class"
"""What the random arm of a removal keeps equal to the exposed one, unless a study says otherwise."""


def ranking_words(rank: str) -> str:
    """What ranked the examples of a removal, where that tells it from another.

    >>> ranking_words("lira")
    'ranking by LiRA with shadow models'
    """
    return f"ranking by {RANK_WORDS.get(rank, clean(rank))}"


def removed_words(arm: str, rank: str = "") -> str:
    """Which training examples were left out.

    Args:
      arm: "exposed" or "random".
      rank: what ranked them: "histogram", or an attack with shadow models; only the latter measures exposure.

    >>> removed_words("exposed", "rmia"), removed_words("exposed", "histogram"), removed_words("random", "rmia")
    ('the most exposed', 'the highest by the loss histogram', 'at random')
    """
    if arm == "exposed":
        return f"the highest by {RANK_WORDS[rank]}" if rank == "histogram" else "the most exposed"
    return "at random" if arm == "random" else clean(arm)


def removal_words(share: float, arm: str, rank: str = "") -> str:
    """What was left out of the training examples.

    >>> removal_words(0.1, "exposed", "rmia"), removal_words(0.1, "random"), removal_words(0.0, "")
    ('removal of the 10 % most exposed', 'removal of 10 % at random', 'no removal')
    >>> removal_words(0.1, "exposed", "histogram")
    'removal of the 10 % highest by the loss histogram'
    """
    if not arm:
        return "no removal"
    words = removed_words(arm, rank)
    return (
        f"removal of the {exact_percent(share)} {words.removeprefix('the ')}"
        if arm == "exposed"
        else (f"removal of {exact_percent(share)} {words}")
    )


def condition_title(
    *,
    data: str,
    skew: float | None,
    target: str,
    protected: str,
    techniques: Sequence[str],
    epsilon: float | None,
    removed: float = 0.0,
    removal: str = "",
    rank: str = "",
    distinction: str = "",
) -> str:
    """What the trials of all seeds share, in a few words; the one form in which it is named anywhere.

    Args:
      data: name of the data set; target, protected: CelebA's attributes, or "".
      skew: share of a class in its dominant group, or None.
      techniques: codes; empty for the baseline.
      epsilon: the budget, or None without one.
      removed: share of the training examples left out; removal: which, "exposed", "random" or "" for none.
      rank: what ranked them, or "".
      distinction: what else tells it from others (:func:`trilemma.titles.told_apart`), or "".

    >>> condition_title(data="cifar10s", skew=0.95, target="", protected="", techniques=["gn"], epsilon=8.0)
    'cifar10s, skew 95 %, GN, ε = 8'
    """
    parts = [setting_words(data, skew, target, protected), mix(techniques), budget(epsilon)]
    parts += [removal_words(removed, removal, rank)] if removal else []
    parts += [clean(distinction)] if distinction else []
    return ", ".join(parts)


def setting_words(data: str, skew: float | None, target: str, protected: str) -> str:
    """What was learned from.

    >>> setting_words("cifar10s", 0.95, "", ""), setting_words("celeba", None, "Smiling", "Male")
    ('cifar10s, skew 95 %', 'celeba, Smiling by Male')
    """
    words = [shortened(clean(data), 32)]
    if target or protected:
        words.append(" by ".join(shortened(clean(word), 24) for word in (target, protected) if word))
    if skew is not None:
        words.append(skew_words(skew))
    return ", ".join(words)
