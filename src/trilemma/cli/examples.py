"""Examples of each command, which ``--help`` and the reference show.  No slow module is imported here."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "quickstart": ("trilemma quickstart", "trilemma quickstart --short --out runs/check"),
    "train": (
        "trilemma train --data digits-s --techniques all --epsilon 8 --out runs/first",
        "trilemma train --recipe cifar10-eps8 --out runs/eps8",
        "trilemma train --data FOLDER --techniques gn,pa --epsilon 3 --out runs/mine --require 'accuracy>=0.7'",
    ),
    "study": (
        "trilemma study techniques --out runs/techniques",
        "trilemma study budget --data cifar10s,skew=0.75 --seeds 5 --out runs/budget",
    ),
    "studies": ("trilemma studies",),
    "report": (
        "trilemma report runs/techniques",
        "trilemma report runs/first --require 'epsilon<=8, auc<=0.55'",
        "trilemma report runs/techniques runs/budget --out runs/both",
    ),
    "audit": (
        "trilemma audit runs/first --shadows 4 --out audits/first",
        "trilemma audit predictions.csv --columns label=species --out audits/theirs",
        "trilemma audit --weights weights.safetensors --model mine:build --data digits --out audits/weights",
    ),
    "predict": (
        "trilemma predict runs/first FOLDER --out predictions.csv",
        "trilemma predict runs/first images.npz --resize --out predictions.npz",
    ),
    "export": ("trilemma export runs/first --onnx model.onnx",),
    "calibrate": ("trilemma calibrate --epsilon 8 --batch-size 4096 --updates 2500 --examples 50000",),
    "epsilon": ("trilemma epsilon --noise-multiplier 1 --batch-size 64 --updates 2000 --examples 50000",),
    "data": ("trilemma data", "trilemma data --data-dir FOLDER"),
}
"""By command, the most usual first."""


def with_examples(name: str, epilog: str | None) -> str:
    """The end of a command's help: its examples, and then ``epilog``."""
    lines = ["examples:", *(f"  {example}" for example in EXAMPLES[name])]
    return "\n".join([*lines, "", epilog] if epilog else lines)
