"""What the terms of a page mean, and sentences in which each term opens its meaning where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from trilemma.data.named import NAMED, Named
from trilemma.measures import ATTACK_WORDS, RUN_ATTACKS, SHADOW_ATTACKS
from trilemma.networks import NETWORKS
from trilemma.paper import CITATION, URL
from trilemma.techniques import PAPER_TECHNIQUES, TECHNIQUES
from trilemma.words import capital


@dataclass(frozen=True)
class Term:
    """An entry of the glossary.

    Attributes:
      key: the id of its element on the page.
      title: how the glossary lists it.
      meaning: one or two sentences.
      spellings: regular expressions that find it in a sentence.
      link: where there is more to read, or "".
    """

    key: str
    title: str
    meaning: str
    spellings: tuple[str, ...]
    link: str = ""


def _either_case(words: str) -> str:
    """A regular expression of words that may begin a sentence."""
    return f"[{words[0].upper()}{words[0]}]{words[1:]}"


_LOSS, _ENTROPY, _MLP, _FOREST, *_ = (ATTACK_WORDS[name] for name in RUN_ATTACKS)
_SHADOW = tuple(ATTACK_WORDS[name] for name in SHADOW_ATTACKS if "-" not in name)

_GENERAL = (
    Term(
        "epsilon",
        "ε (epsilon), the budget",
        "The size of a privacy guarantee. Whether or not one image was in the training set, the probability of "
        "anything "
        "that the trained model shows changes at most by the factor e^ε, up to the small probability δ. Smaller is "
        "more "
        "private; ∞ or “no budget” means no guarantee.",
        ("ε\u00a0=\u00a0[0-9.]+", "ε", "epsilon", "no budget", "[Ww]ithout a budget", "budgets?"),
    ),
    Term("delta", "δ (delta)", "The small probability with which the guarantee of ε may fail.", ("δ", "delta")),
    Term(
        "auc",
        "AUC",
        "How well an attack tells members from non-members: the probability that it scores a random member above a "
        "random non-member. ½ is guessing, 1 is certainty; the distance from ½ is leakage.",
        ("AUCs?",),
    ),
    Term(
        "matched",
        "matched and unmatched non-members",
        "Matched non-members are test images with the members’ own mix of class and group, so that an attack can win "
        "only by memory. Unmatched ones (“naive” in file names) are the whole test set: on skewed data an attack also "
        "wins by noticing rare colors, without any memory.",
        ("unmatched", "matched", "naive"),
    ),
    Term(
        "member",
        "members and non-members",
        "Members are the images that a model was trained on; non-members are others like them.",
        ("non-members?", "members?"),
    ),
    Term(
        "attack",
        "membership-inference attack",
        "A program that guesses from a model’s outputs which images it was trained on. It measures what the model "
        "leaks.",
        ("attacks?", "attacked"),
    ),
    Term(
        "loss-threshold",
        _LOSS,
        "The simplest attack: an image on which the model’s loss is low counts as a member (Yeom et al. 2018).",
        (_either_case(_LOSS),),
    ),
    Term(
        "entropy-threshold",
        _ENTROPY,
        "The attack that counts an image as a member if the model is confident of it and correct (Song and Mittal "
        "2021).",
        (_either_case(_ENTROPY),),
    ),
    Term(
        "learned",
        f"{_MLP} and {_FOREST}, the learned attacks",
        "A small network and a forest of decision trees that learn to tell the outputs for members from those for "
        "non-members.",
        (_MLP, _either_case(_FOREST)),
    ),
    Term(
        "shadow",
        f"{' and '.join(_SHADOW)}, the attacks with shadow models",
        "They compare the model with others that were trained likewise, with and without an image (Zarifzadeh et al. "
        "2024; Carlini et al. 2022).",
        (*_SHADOW, "shadow models?"),
    ),
    Term(
        "accuracy",
        "accuracy",
        "The share of test images that a model classifies correctly. No training saw these images.",
        ("[Aa]ccuracy",),
    ),
    Term(
        "training",
        "training",
        "One run in which a network learns to classify images from examples. It leaves one model.",
        ("[Tt]rainings",),
    ),
    Term(
        "control",
        "negative control",
        "The same attack on a classifier that never saw the members. Its AUC must be ½; where it is not, an AUC of "
        "that "
        "kind does not measure memory.",
        ("negative control",),
    ),
    Term(
        "bias",
        "bias (bias amplification)",
        "How unevenly a class is given to the groups on test images that show each group equally often (Wang et al. "
        "2020). 0 is best; with two groups ½ is worst.",
        ("bias",),
    ),
    Term(
        "score",
        "harmonic score",
        "The harmonic mean of accuracy, privacy and (where there are groups) fairness. 1 is best; one bad term cannot "
        "be "
        "made up for by the others. The paper does not publish its formula; this one is ours.",
        ("harmonic score", "score"),
    ),
    Term(
        "skew",
        "skew",
        "The share of a class’s training images that lie in its dominant group, for example the share of a digit’s "
        "images that are in color. 50 % is balanced.",
        ("skew",),
    ),
    Term(
        "seed",
        "seed",
        "The number from which a training draws what is random. Trainings that differ only in their seed show how "
        "large "
        "chance is.",
        ("seeds?",),
    ),
    Term(
        "interval",
        "[low, high]: a 95 % interval",
        "Where the mean of many such trainings lies, as far as these seeds can tell (Student’s t). Few seeds make it "
        "wide.",
        ("intervals?",),
    ),
    Term(
        "noise",
        "cannot tell",
        "The difference is not larger than chance between seeds can explain, or rests on a single seed. It does not "
        "mean "
        "that there is no difference.",
        ("[Cc]annot tell", "(?:within|beyond) noise"),
    ),
    Term("bl", "BL: baseline", "The plain training, without any of the techniques.", ("BL", "baseline")),
    Term(
        "all",
        "all techniques",
        f"The paper’s techniques together: {', '.join(code.upper() for code in PAPER_TECHNIQUES)}.",
        ("[Aa]ll (?:six )?techniques", "“all”"),
    ),
    Term("paper", "the paper", CITATION, ("[Tt]he paper(?:’s|'s)?",), URL),
)


def _technique_terms() -> tuple[Term, ...]:
    return tuple(
        Term(
            technique.code,
            f"{technique.code.upper()}: {technique.name}",
            f"{capital(technique.meaning)} ({technique.source}). It changes the {technique.changes}.",
            (technique.code.upper(),),
        )
        for technique in TECHNIQUES.values()
    )


def _data_terms() -> tuple[Term, ...]:
    return tuple(_data_term(known) for known in NAMED.values())


def _data_term(known: Named) -> Term:
    sizes = f"{known.train:,} training and {known.test:,} test images"
    shown = " Most images of a class are shown in color or most in gray, as the skew says." if known.skew else ""
    meaning = f"{capital(known.what)}; {sizes}.{shown}"
    return Term(f"data-{known.name}", f"{known.name}, a data set", meaning, (re.escape(known.name),))


def _network_terms() -> tuple[Term, ...]:
    """A term for each kind of network, but for the reader's own, whose names nothing tells from other words."""
    return tuple(
        Term(f"network-{kind.head}", f"{kind.form}, a network", f"{capital(kind.what)}.", (kind.pattern,))
        for kind in NETWORKS.values()
        if kind.head
    )


GLOSSARY: dict[str, Term] = {
    term.key: term for term in (*_GENERAL, *_technique_terms(), *_data_terms(), *_network_terms())
}
"""All terms by key: those of measuring first, then the techniques by their codes, data sets, and networks."""

_GROUPS = [(term.key, spelling) for term in GLOSSARY.values() for spelling in term.spellings]
_PATTERN = re.compile(
    "|".join(
        rf"(?P<t{number}>(?<![\w-]){spelling}(?![\w-]))"
        for number, (_, spelling) in enumerate(sorted(_GROUPS, key=lambda group: -len(group[1])))
    )
)
_KEYS = [key for key, _ in sorted(_GROUPS, key=lambda group: -len(group[1]))]


_BUTTON = '<button type="button" class="term" popovertarget="term-{}">{}</button>'
_CLOSING = tuple(",.;:)")


def explained(text: object) -> Markup:
    """A sentence as HTML, escaped, in which the first mention of each term is a button that opens its meaning.

    >>> print(explained("GN & GN"))
    <button type="button" class="term" popovertarget="term-gn">GN</button> &amp; GN
    """
    parts: list[Markup] = []
    done: set[str] = set()
    # What is read as one thing stands on one line.
    words, end = str(text).replace("ε = ", "ε\u00a0=\u00a0"), 0
    for match in _PATTERN.finditer(words):
        key = _KEYS[int(str(match.lastgroup)[1:])]
        if key in done:
            continue
        done.add(key)
        # A browser would break the line between a button and the parenthesis before it or the comma after it.
        start = match.start() - (words[match.start() - 1 : match.start()] == "(")
        parts.append(escape(words[end:start]))
        end = match.end() + (words[match.end() : match.end() + 1] in _CLOSING)
        around = words[start : match.start()], words[match.end() : end]
        term = Markup(_BUTTON).format(key, match.group())
        parts.append(
            Markup('<span class="unbroken">{}{}{}</span>').format(around[0], term, around[1]) if any(around) else term
        )
    parts.append(escape(words[end:]))
    return Markup("").join(parts)
