"""The command-line parser: an error is one line that says how to fix it, with exit status 2.

No slow module is imported here, so that ``--help`` is fast.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, NoReturn

from trilemma.cli.canaries import add_canary_options
from trilemma.cli.examples import with_examples
from trilemma.cli.terminal import show_error
from trilemma.hints import did_you_mean
from trilemma.measures import ATTACK_WORDS, SHADOW_ATTACKS
from trilemma.networks import NETWORKS
from trilemma.techniques import TECHNIQUES
from trilemma.words import AUDITED, DELTA, RANKS, RESAMPLES, power


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest name for a mistyped option or command."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        fail(f"{message}{self._nearest(message)}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def _nearest(self, message: str) -> str:
        if wrong := re.search(r"unrecognized arguments: (\S+)", message):
            return did_you_mean(wrong[1].split("=")[0], self._options())
        if wrong := re.search(r"invalid choice: '([^']*)' \(choose from ([^)]*)\)", message):
            return did_you_mean(wrong[1], re.findall(r"[\w,-]*[\w-]", wrong[2]))
        return ""

    def _options(self) -> list[str]:
        """The options of the command on the command line."""
        options = [option for action in self._actions for option in action.option_strings]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word in self._words:
                    if word in action.choices:
                        return [o for a in action.choices[word]._actions for o in a.option_strings]
        return options


LONGEST = 1200
"""The maximum length of a message, which may quote anything from an untrusted file."""


def fail(message: str) -> NoReturn:
    """Print one line to standard error, and exit with status 2."""
    text = " ".join(message.split())
    show_error(f"trilemma: {text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'}")
    raise SystemExit(2)


def parser() -> Parser:
    top = Parser(
        prog="trilemma",
        description="Train image classifiers with differential privacy, "
        "measure what they leak and which groups they fail.",
        epilog="exit status: 0 done, 1 an internal error or a run that failed, 2 unusable arguments or input, "
        "3 a condition of --require is not met, 130 stopped (Ctrl-C, --minutes)",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    _quickstart(commands)
    _train(commands)
    _study(commands)
    _studies(commands)
    _report(commands)
    _audit(commands)
    _predict(commands)
    _export(commands)
    _calibrate(commands)
    _epsilon(commands)
    _data(commands)
    for name, command in commands.choices.items():
        command.epilog = with_examples(name, command.epilog)
    return top


def add_data_options(command: argparse.ArgumentParser, data: str = "default: the recipe's data, or digits") -> None:
    """Add the options that select the training and test data; ``data`` says what holds without them."""
    group = command.add_argument_group("data")
    group.add_argument(
        "--data",
        metavar="DATA",
        help=f"a name (see trilemma data), folder, file or hub name ({data})",
    )
    group.add_argument("--data-dir", metavar="DIR", help="first place to look for CIFAR and CelebA")
    skew = "share of a class in its dominant group, 0.5 to 1 (of digits-s, cifar10s, cifar100s)"
    group.add_argument("--skew", type=float, metavar="P", help=skew)
    group.add_argument(
        "--target", metavar="ATTRIBUTE", help="CelebA: the attribute to predict (default: Smiling); CIFAR-100: coarse"
    )
    group.add_argument("--protected", metavar="ATTRIBUTE", help="CelebA: the protected attribute (default: Male)")
    group.add_argument(
        "--columns",
        metavar="label=X,...",
        help="names of columns or arrays that are not recognized; prob=p_: how outputs begin",
    )
    group.add_argument("--size", type=int, metavar="PIXELS", help="crop to the center square and resize it")
    group.add_argument("--limit", type=int, metavar="N", help="train on N examples, drawn by class (0: on all)")
    group.add_argument("--test-limit", type=int, metavar="N", help="test on N examples, drawn by class (0: on all)")
    group.add_argument(
        "--data-seed",
        type=int,
        metavar="S",
        help="seed of skew, limits and test split (default: 0); --seed affects the training alone",
    )


def _add_execution_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("execution (affects speed, not what is learned)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda")
    group.add_argument("--compute", default="auto", help="auto, float32 or bfloat16")
    group.add_argument(
        "--memory", metavar="SIZE", help="for a physical batch, as 4GB (default: half of what is free, 80 %% on a GPU)"
    )
    group.add_argument(
        "--physical-batch", type=int, metavar="N", help="examples computed at once (default: chosen by memory)"
    )


def _quickstart(commands: Any) -> None:
    command = commands.add_parser(
        "quickstart",
        help="run a small study on the embedded digits, in minutes",
        description="The study quickstart: baseline and all techniques on color-skewed digits, with and without a\n"
        "budget, three seeds each.  Its result is a page to open in a browser.",
    )
    command.add_argument(
        "--out", default="runs/quickstart", metavar="DIR", help="folder of the study (default: runs/quickstart)"
    )
    command.add_argument(
        "--short", action="store_true", help="make a tenth of the updates, to check that everything works"
    )


def _study(commands: Any) -> None:
    command = commands.add_parser(
        "study",
        help="run many trials and draw one page, for a study of the paper or your own",
        description="Run the missing trials of a study and draw its page.  Writes study.json, runs/, results.csv,\n"
        "results.parquet, figures/ and report.html to --out.  The same command resumes a stopped study.",
        epilog="exit status: 0 done, 1 some trials failed (they are listed), 2 unusable input, 130 stopped",
    )
    command.add_argument("study", metavar="NAME|FILE", help="see trilemma studies, or a TOML file")
    command.add_argument("--out", required=True, metavar="DIR", help="folder of the study, new or of the same study")
    command.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME[,OPTION=VALUE]",
        help="replace the study's data, for example cifar10s,skew=0.75; may be repeated",
    )
    command.add_argument("--data-dir", metavar="DIR", help="first place to look for CIFAR and CelebA")
    command.add_argument("--scale", metavar="NAME", help="small, medium (two CPU cores), paper (a GPU); default: small")
    command.add_argument("--seeds", type=int, metavar="N", help="number of seeds of every trial (default: the study's)")
    command.add_argument(
        "--rank",
        choices=RANKS,
        help="rank the examples to remove by an attack with four shadow models for each trial and block (rmia), or by "
        "the loss histogram, as in the paper (default: the study's, else rmia)",
    )
    command.add_argument("--workers", type=int, metavar="N", help="trials at once (default: one per core)")
    command.add_argument("--ray", metavar="ADDRESS", help="run the trials on a Ray cluster: HOST:PORT or auto")
    command.add_argument("--retry", action="store_true", help="run failed trials again")
    command.add_argument("--yes", action="store_true", help="confirm a study with very many trials")
    _add_execution_options(command)


def _studies(commands: Any) -> None:
    command = commands.add_parser(
        "studies",
        help="list the studies, and about how long they take here",
        description="List the studies with their numbers of trials and estimates of the time on this machine.",
    )
    command.add_argument("study", nargs="?", metavar="NAME|FILE", help="list this study alone")
    command.add_argument("--seeds", type=int, metavar="N", help="number of seeds (default: the studies' own)")


def _report(commands: Any) -> None:
    command = commands.add_parser(
        "report",
        help="draw the page of one model, or of studies",
        description="For a run or an audit, write one page on the model, with a verdict, and statement.json.\n"
        "For studies, collect the results and draw the figures and the page again, without training.",
    )
    command.add_argument("folders", nargs="+", metavar="DIR", help="a run, an audit, or studies, also unfinished ones")
    command.add_argument("--out", metavar="DIR", help="folder of the page (default: DIR)")
    _add_no_pictures(command, "leave the images of the most exposed examples out of the page of an audit")
    command.add_argument("--pdf", action="store_true", help="for one model, also write statement.pdf (extra pdf)")
    _add_require(command)


def _add_require(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--require",
        metavar="CONDITIONS",
        help='exit with status 3 unless all hold, such as "epsilon<=8, auc<=0.55, worst_cell_accuracy>=0.7"',
    )


def _train(commands: Any) -> None:
    command = commands.add_parser(
        "train",
        help="train one classifier, attack it and measure it",
        description="Train one classifier and write a run: config.json, result.json, history.jsonl, signals.parquet,\n"
        "model.safetensors.  The same command resumes an unfinished run.",
    )
    command.add_argument("--out", required=True, metavar="DIR", help="folder of the run, new or of the same recipe")
    add_data_options(command)
    group = command.add_argument_group("recipe (these options override the recipe's values)")
    recipe = "a TOML file or a name (digits, cifar-small, cifar10-eps8, cifar-paper, ...); default: by the data"
    group.add_argument("--recipe", metavar="FILE|NAME", help=recipe)
    group.add_argument("--techniques", metavar="CODES", help=f"any of {','.join(TECHNIQUES)}, or all, or none")
    group.add_argument("--model", metavar="NAME", help=f"one of {', '.join(NETWORKS)}")
    group.add_argument("--pretrain", choices=["synthetic"], help="start from a backbone trained on synthetic images")
    group.add_argument(
        "--epsilon", type=float, metavar="E", help="the privacy budget; without it the training is not private"
    )
    group.add_argument("--delta", type=float, metavar="D", help=f"delta of the budget (default: {power(DELTA)})")
    group.add_argument("--allow-large-delta", action="store_true", default=None, help="accept a delta of 1/N or more")
    group.add_argument("--clipping-norm", type=float, metavar="C", help="the largest norm of a per-example gradient")
    group.add_argument("--batch-size", type=int, metavar="B", help="size of the logical batch; 0: all examples")
    group.add_argument(
        "--epochs", type=float, metavar="E", help="number of examples to process, in units of the training set"
    )
    group.add_argument("--learning-rate", type=float, metavar="R", help="size of a step per gradient")
    group.add_argument("--views", type=int, metavar="K", help="views per example under am")
    seed = "seed of the training; with a budget, sampling and noise take it only if --reproducible"
    group.add_argument("--seed", type=int, metavar="S", help=seed)
    group.add_argument(
        "--reproducible",
        dest="secret_noise",
        action="store_false",
        default=None,
        help="draw sampling and noise from the seed, for research: the model is then not for release",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other key of a recipe; may be repeated",
    )
    _add_execution_options(command)
    _add_require(command)
    _add_course_options(command)
    add_canary_options(command)


def _add_course_options(command: argparse.ArgumentParser) -> None:
    """How long a training goes on, and who follows it."""
    command.add_argument(
        "--minutes", type=float, metavar="M", help="stop the training after M minutes; the same command resumes it"
    )
    track = "record this training example's membership probability; may be repeated"
    command.add_argument("--track", action="append", type=int, default=[], metavar="INDEX", help=track)
    listen = "tell tensorboard, mlflow or MODULE:NAME of every evaluation; may be repeated"
    command.add_argument("--listen", action="append", default=[], metavar="NAME", help=listen)


def _audit(commands: Any) -> None:
    command = commands.add_parser(
        "audit",
        help="attack a run, or a file of predictions",
        description="Membership inference on the folder of a run or on a file of predictions.  A .npz file holds\n"
        "logits (or probs), labels and member [, group, reference_logits, reference_member]; a table (CSV, Parquet,\n"
        "Arrow) holds logit_CLASS or prob_CLASS, label and member [, group].  Writes audit.json, attacks.csv and\n"
        "signals.parquet to --out.",
    )
    command.add_argument(
        "source", nargs="?", metavar="RUN|PREDICTIONS", help="a run's folder, or a file of predictions"
    )
    stranger = command.add_argument_group("instead of a run: a model that was trained elsewhere, on --data")
    stranger.add_argument("--weights", metavar="FILE", help="its weights, a .safetensors file")
    stranger.add_argument("--model", metavar="MODULE:NAME", help="a function of classes and image_shape that builds it")
    command.add_argument("--out", required=True, metavar="DIR", help="folder of the audit, new or of the same source")
    shadows = command.add_argument_group("shadows (of a run: models trained as it was, for RMIA and LiRA)")
    shadows.add_argument(
        "--shadows",
        type=int,
        nargs="?",
        const=4,
        metavar="K",
        help="train K shadow models by the run's recipe, or reuse those in its folder (even; 4 without a number)",
    )
    audited = f"number of members and non-members to compare (even; default: {AUDITED}, or as many as there are)"
    shadows.add_argument("--audited", type=int, metavar="A", help=audited)
    network = "import this network (and other parts, separated by commas), if the run was trained with your own"
    shadows.add_argument("--network", metavar="MODULE:NAME", help=network)
    shadows.add_argument("--workers", type=int, metavar="N", help="shadows trained at once (default: one per core)")
    shadows.add_argument("--ray", metavar="ADDRESS", help="train the shadows on a Ray cluster")
    add_data_options(command, "required with --weights: what the model was trained on")
    _add_execution_options(command)
    mix = "reweight non-members to the members' mix of class, or of class,group"
    command.add_argument("--match", choices=("class", "class,group"), metavar="MIX", help=mix)
    command.add_argument(
        "--attacks",
        metavar="NAMES",
        help=f"from {','.join(name for name in ATTACK_WORDS if name not in SHADOW_ATTACKS)} and, with reference "
        f"models, {','.join(SHADOW_ATTACKS)}",
    )
    command.add_argument("--seed", type=int, default=0, help="seed of learned attacks and bootstrap (default: 0)")
    _add_require(command)
    _add_no_pictures(command, "leave the images of the most exposed examples out of the audit's folder")
    resamples = f"bootstrap samples for each interval, at least 100 (default: {RESAMPLES})"
    command.add_argument("--resamples", type=int, default=RESAMPLES, help=resamples)


def _add_no_pictures(command: argparse.ArgumentParser, without: str) -> None:
    command.add_argument("--no-pictures", action="store_false", dest="images", help=without)


def _predict(commands: Any) -> None:
    command = commands.add_parser(
        "predict",
        help="classify images with the model of a run",
        description="Write a table with each image's predicted class, and the probability and logit of each class.\n"
        "Needs only the run's config.json and model.safetensors.",
    )
    command.add_argument("run", metavar="RUN", help="folder of a run")
    command.add_argument(
        "images",
        metavar="IMAGES",
        help="a folder, an image, or a .npz with images [, labels, member, groups, which are copied]",
    )
    command.add_argument("--out", required=True, metavar="FILE", help="ends in .csv, .parquet or .npz")
    command.add_argument(
        "--resize", action="store_true", help="crop images of another size to the center square, and resize them"
    )
    _add_network(command)


def _export(commands: Any) -> None:
    command = commands.add_parser(
        "export",
        help="write the model of a run as an ONNX file",
        description="Write an ONNX file that takes uint8 images (n, C, H, W), normalizes them, and returns logits.\n"
        "The file is checked with onnxruntime.  Needs the extra onnx.",
    )
    command.add_argument("run", metavar="RUN", help="folder of a run")
    command.add_argument("--onnx", required=True, metavar="FILE", help="the file to write")
    _add_network(command)


def _add_network(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--network", metavar="MODULE:NAME", help="import this network, if the run was trained with one of your own"
    )


def _mechanism(command: argparse.ArgumentParser) -> None:
    command.add_argument("--delta", type=float, default=DELTA, help=f"delta of the budget (default: {power(DELTA)})")
    command.add_argument("--batch-size", type=int, required=True, metavar="B", help="expected logical batch size")
    command.add_argument("--updates", type=int, required=True, metavar="T", help="number of updates")
    command.add_argument("--examples", type=int, required=True, metavar="N", help="size of the training set")
    command.add_argument("--accountant", choices=("pld", "rdp"), default="pld", help="rdp is looser (default: pld)")


def _calibrate(commands: Any) -> None:
    command = commands.add_parser(
        "calibrate",
        help="compute the noise multiplier for a budget",
        description="Print the smallest noise multiplier that satisfies (epsilon, delta) under Poisson sampling.",
    )
    command.add_argument("--epsilon", type=float, required=True, metavar="E", help="the privacy budget")
    _mechanism(command)


def _epsilon(commands: Any) -> None:
    command = commands.add_parser(
        "epsilon",
        help="compute the budget that a noise multiplier spends",
        description="Print epsilon of T Poisson-sampled Gaussian updates (add-or-remove-one neighbors).",
    )
    noise = "std of the noise, in units of the clipping norm"
    command.add_argument("--noise-multiplier", type=float, required=True, metavar="S", help=noise)
    _mechanism(command)


def _data(commands: Any) -> None:
    command = commands.add_parser(
        "data", help="list the data sets, and where they were found", description="List the named data sets."
    )
    command.add_argument("--data-dir", metavar="DIR", help="first place to look")
