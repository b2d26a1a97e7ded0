"""``README.md`` of a run: the card of its model, which makes the folder a model repository of Hugging Face's kind.

The card is made to be released with the weights, so it holds what is computed from weights and test images alone, and
not what was measured with the training images.  The one exception is whether the canaries of a run contradict its
guarantee (:mod:`trilemma.training.canaries`).  ``.gitignore`` beside it names the files that are not for release.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trilemma.files import written
from trilemma.networks import described_network
from trilemma.trial.gate import cell_words
from trilemma.trial.run import SHADOWS, guaranteed, why_contradicted, why_not_for_release
from trilemma.trial.statement import (
    CONDITIONS,
    NOT_COVERED,
    canaries_in_words,
    ceiling_in_words,
    guarantee_in_words,
)
from trilemma.trial.title import title_of_run
from trilemma.version import __version__
from trilemma.words import capital, clean, techniques_in_words

_HEADING = "# Image classifier: "
CARD, NOT_RELEASED = "README.md", ".gitignore"
_PRIVATE = (
    *("result.json", "history.jsonl", "signals.parquet", "trained.json", "checkpoint*", "*.private.json"),
    *("model.html", "statement.json", "statement.pdf", f"{SHADOWS}/", ".lock"),
)


def write_card(folder: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Write the card, and the list of what is not for release.

    Args:
      folder: the folder of the run.
      config, result: its ``config.json`` and ``result.json``.

    Raises:
      InputError: no space or no right to write.
    """
    with written(folder / CARD) as part:
        part.write_text(card(title_of_run(folder, config), config, result), "utf-8")
    with written(folder / NOT_RELEASED) as part:
        part.write_text("# Measured with the training images, or secret.\n" + "\n".join(_PRIVATE) + "\n", "utf-8")


def retitle_card(folder: Path, before: str, title: str) -> None:
    """Rename the run in its card, if there is one; what people added to the card stays.

    Args:
      folder: the folder of the run.
      before, title: what the run was and is called.

    Raises:
      InputError: no space or no right to write.
    """
    try:
        text = (folder / CARD).read_text("utf-8")
    except (OSError, UnicodeError):  # no card, or one that is no longer ours
        return
    changed = text.replace(f"{_HEADING}{plain(before)}\n", f"{_HEADING}{plain(title)}\n", 1)
    changed = changed.replace(f'"name": {json.dumps(clean(before))}', f'"name": {json.dumps(clean(title))}', 1)
    if changed != text:
        with written(folder / CARD) as part:
            part.write_text(changed, "utf-8")


def card(title: str, config: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """The text of the card of a run that is called ``title``; see :func:`write_card`."""
    data, recipe = config["data"], config["recipe"]
    network, what = map(plain, described_network(config))
    techniques = plain(techniques_in_words(recipe["techniques"]) or "none of the package's techniques")
    stands, guarantee = guaranteed(result) or {}, guarantee_in_words(result["privacy"], result.get("canaries"))
    cautions = [words for words in (why_contradicted(result), why_not_for_release(result)) if words]
    name = str(data["request"].get("name") or "own images")
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in _metadata(title, name, result).items()),
        "---",
        "",
        f"{_HEADING}{plain(title)}",
        "",
        *(line for caution in cautions for line in (f"**{capital(caution)}**", "")),
        f"{guarantee} {ceiling_in_words(stands.get('ceiling')) or ''}".strip(),
        "",
        "## Use",
        "",
        "```python",
        "import trilemma as tl",
        "",
        'model = tl.load_model("this folder")  # reads config.json and model.safetensors',
        "model.predict(images)  # uint8 arrays, PIL images, file names or a folder",
        "```",
        "",
        f"It classifies images into {len(data['classes'])} classes: {', '.join(plain(c) for c in data['classes'][:50])}"
        f"{', …' if len(data['classes']) > 50 else ''}. It is meant for images like those that it was trained on. "
        "Nothing is known of how it does on others, and it always names one of its classes.",
        "",
        "## Data and training",
        "",
        f"{data['examples']:,} training examples and {data['test_examples']:,} test examples of {plain(name)}"
        f"{_skew(data['source'])}.",
        "",
        f"The network is {network}{f' ({what})' if what else ''}, trained in "
        f"{result['course']['updates']:,} updates with {techniques}. `config.json` has the whole recipe.",
        "",
        "## Test results",
        "",
        "| measure | value | 95 % interval |",
        "|---|---|---|",
        *(f"| {name} | {value:.3f} | {_ends(ends)} |" for name, value, ends in _measured(result)),
        "",
        "## Privacy",
        "",
        guarantee,
        *(_covered(stands) if stands else []),
        *_canaries(result.get("canaries")),
        "",
        "What attacks found, in all and by group, and what measures from outside give were measured with the training "
        "images, so they are not for release with the weights and not in this card: `trilemma report` writes them to "
        "`model.html` and `statement.json`.",
        "",
        f"Made by Trilemma {__version__}.",
        "",
    ]
    return "\n".join(lines)


def _skew(source: str) -> str:
    """How the classes are mixed with the groups, out of what is said of where the images came from.

    >>> _skew("images of mine; skew 0.9, odd classes mostly in color, seed 0"), _skew("images of mine")
    (' (skew 0.9, odd classes mostly in color, seed 0)', '')
    """
    skew = next((part for part in source.split("; ") if part.startswith("skew ")), "")
    return f" ({plain(skew)})" if skew else ""


def plain(text: object) -> str:
    """Text from outside for the middle of a line of Markdown, where it stays text: no emphasis, link, address, tag,
    entity, formula or cell of a table begins in it.

    >>> print(plain("<b>*[x](y), ε = 8"), plain("https://a.b www.c.d"))
    \\<b\\>\\*\\[x\\](y), ε = 8 https\\://a.b www\\.c.d
    """
    return re.sub(r"([\\`*_\[\]<>#|~&$@]|:(?=//)|(?<=www)\.)", r"\\\1", clean(text))


def _metadata(title: str, name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """The card's YAML, each value as JSON, which YAML contains."""
    results = [{"type": "accuracy", "name": "test accuracy", "value": round(result["accuracy"], 4)}]
    fairness = result.get("fairness")
    if fairness:
        results.append({"type": "bias", "name": "bias amplification", "value": round(fairness["bias"], 4)})
    return {
        "library_name": "trilemma",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", *(["differential-privacy"] if guaranteed(result) else [])],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": clean(title),
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": clean(name), "type": "image"},
                        "metrics": results,
                    }
                ],
            }
        ],
    }


def _measured(result: Mapping[str, Any]) -> list[tuple[str, float, Sequence[float] | None]]:
    """Name (as Markdown), value and interval."""
    rows = [("test accuracy", result["accuracy"], result["accuracy_interval"])]
    fairness = result.get("fairness")
    if fairness:
        intervals = fairness["interval"]
        rows.append(("bias amplification", fairness["bias"], intervals.get("bias")))
        rows.append(("worst group accuracy", fairness["worst_group_accuracy"], intervals.get("worst_group_accuracy")))
        if "worst_cell_interval" in fairness:
            cell = plain(cell_words(fairness["worst_cell"]))
            ends = fairness["worst_cell_interval"]
            rows.append((f"worst accuracy by class and group ({cell})", fairness["worst_cell_accuracy"], ends))
    return rows


def _covered(privacy: Mapping[str, Any]) -> list[str]:
    return [
        "",
        f"{privacy['updates']:,} updates of DP-SGD with noise multiplier {privacy['noise_multiplier']:g}, clipping "
        f"norm {privacy['clipping_norm']:g} and batches of {privacy['batch_size']:,} of {privacy['examples']:,} "
        "examples, accounted by privacy loss distributions. The guarantee rests on this:",
        "",
        *(f"- {condition}" for condition in CONDITIONS),
        "",
        "Not covered:",
        "",
        *(f"- {limit}" for limit in NOT_COVERED),
    ]


def _canaries(record: Mapping[str, Any] | None) -> list[str]:
    """Numbers of gradient canaries are computed from the noise, so of these the card has the verdict alone."""
    if not record:
        return []
    if record["kind"] != "gradient":
        return ["", f"The training was audited. {canaries_in_words(record)}"]
    verdict = "contradict" if record["contradicted_by"] else "do not contradict"
    return ["", f"The training was audited with {record['count']:,} gradient canaries, which {verdict} the guarantee."]


def _ends(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
