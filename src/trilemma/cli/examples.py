"""Examples of each command, which ``--help`` and the reference show.  No slow module is imported here."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "quickstart": ("trilemma quickstart", "trilemma quickstart --short --out runs/check"),
    "train": (
        "trilemma train --data digits-s --techniques all --epsilon 8 --out runs/first",
        "trilemma train --recipe cifar10-eps8 --out runs/eps8",
        "trilemma train --data FOLDER --techniques gn,pa --epsilon 3 --out runs/mine --require 'accuracy>=0.7'",
        "trilemma train --data cifar10s --skew 0.9 --limit 5000 --set momentum=0.9 --seed 1 --minutes 30 --out runs/1",
        "trilemma train --data digits --epsilon 8 --batch-size 256 --epochs 20 --canaries 1000 --out runs/canaries",
    ),
    "study": (
        "trilemma study techniques --out runs/techniques",
        "trilemma study budget --data cifar10s,skew=0.75 --seeds 5 --out runs/budget",
        "trilemma study outliers --scale small --rank lira --workers 2 --out runs/outliers",
    ),
    "studies": ("trilemma studies", "trilemma studies techniques --seeds 5"),
    "report": (
        "trilemma report runs/techniques",
        "trilemma report runs/first --require 'epsilon<=8, auc<=0.55'",
        "trilemma report runs/first --pdf --out pages",
        "trilemma report runs/techniques runs/budget --out runs/both",
    ),
    "audit": (
        "trilemma audit runs/first --shadows 4 --out audits/first",
        "trilemma audit runs/first --attacks threshold,rf --match class --resamples 2000 --out audits/two-attacks",
        "trilemma audit predictions.csv --columns label=species --out audits/theirs",
        "trilemma audit --weights weights.safetensors --model mine:build --data digits --out audits/weights",
    ),
    "predict": (
        "trilemma predict runs/first FOLDER --out predictions.csv",
        "trilemma predict runs/first images.npz --resize --out predictions.npz",
    ),
    "export": ("trilemma export runs/first --onnx model.onnx",),
    "calibrate": (
        "trilemma calibrate --epsilon 8 --batch-size 4096 --updates 2500 --examples 50000",
        "trilemma calibrate --epsilon 8 --delta 1e-6 --batch-size 512 --updates 2500 --examples 50000 --accountant rdp",
    ),
    "epsilon": ("trilemma epsilon --noise-multiplier 1 --batch-size 64 --updates 2000 --examples 50000",),
    "data": ("trilemma data", "trilemma data --data-dir FOLDER"),
}
"""By command, the most usual first."""

VALUES: dict[str, str] = {
    "--data": "cifar10",
    "--data-dir": "FOLDER",
    "--skew": "0.9",
    "--target": "Smiling",
    "--protected": "Male",
    "--columns": "label=species",
    "--size": "64",
    "--limit": "5000",
    "--test-limit": "1000",
    "--data-seed": "1",
    "--device": "cuda",
    "--compute": "bfloat16",
    "--memory": "4GB",
    "--physical-batch": "64",
    "--require": "epsilon<=8, auc<=0.55",
    "--workers": "2",
    "--ray": "auto",
    "--seeds": "5",
    "--seed": "1",
    "--delta": "1e-6",
    "--epsilon": "8",
    "--batch-size": "4096",
    "--updates": "2500",
    "--examples": "50000",
    "--accountant": "rdp",
    "--network": "mine:build",
    "--noise-multiplier": "1",
    "--recipe": "cifar10-eps8",
    "--techniques": "gn,ws",
    "--pretrain": "synthetic",
    "--clipping-norm": "1",
    "--epochs": "20",
    "--learning-rate": "0.5",
    "--views": "8",
    "--set": "momentum=0.9",
    "--minutes": "30",
    "--track": "12",
    "--listen": "tensorboard",
    "--canaries": "1000",
    "--canary": "blank",
    "--scale": "medium",
    "--rank": "lira",
    "--weights": "weights.safetensors",
    "--shadows": "4",
    "--audited": "1000",
    "--match": "class,group",
    "--attacks": "threshold,rf",
    "--resamples": "2000",
    "--onnx": "model.onnx",
    "quickstart --out": "runs/check",
    "train --out": "runs/mine",
    "train --model": "wrn-16-4",
    "study --out": "runs/techniques",
    "study --data": "cifar10s,skew=0.75",
    "study study": "techniques",
    "studies study": "techniques",
    "report --out": "pages",
    "report folders": "runs/techniques",
    "audit --out": "audits/first",
    "audit --model": "mine:build",
    "audit source": "runs/first",
    "predict --out": "predictions.csv",
    "predict run": "runs/first",
    "predict images": "FOLDER",
    "export run": "runs/first",
}
"""A value of each option that takes one, and of each argument; after the name of a command, for that command alone."""


def with_examples(name: str, epilog: str | None) -> str:
    """The end of a command's help: its examples, and then ``epilog``."""
    lines = ["examples:", *(f"  {example}" for example in EXAMPLES[name])]
    return "\n".join([*lines, "", epilog] if epilog else lines)
