"""Every command of the README, CONTRIBUTING and the docs is run, or parsed as far as it can be (``commands.toml``)."""

import argparse
import contextlib
import importlib.util
import io
import itertools
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import trilemma as tl
from documented import PAGES, ROOT, blocks, commands_in, defaults_in, mentions_in, name_of, options_in
from trilemma.cli.arguments import parser
from trilemma.cli.examples import EXAMPLES
from trilemma.cli.main import main
from trilemma.cli.required import required_by
from trilemma.cli.study import parse_data, plan
from trilemma.cli.train import recipe_of
from trilemma.data import CELEBA_ATTRIBUTES
from trilemma.data.named import with_groups
from trilemma.data.sets.celeba_names import CELEBA_PROTECTED, CELEBA_TARGET

LISTS = tomllib.loads((Path(__file__).parent / "commands.toml").read_text("utf-8"))
COMMANDS = sorted({shlex.join(words) for page in PAGES for words in commands_in(page)})
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
(COMMAND_PARSERS,) = [a.choices for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
VALUES = {"K": "4", "S": "1"}
"""What numbers in capitals stand for; other words in capitals are names, and may stay as they are."""


def entries_for(command):
    """(list, its entry) of every list that has the command; commands that are run are in no other."""
    if run := [("run", entry) for entry in LISTS["run"] if entry["command"] == command]:
        return run
    examples = [
        (kind, e) for kind in ("elsewhere", "parsed") for e in LISTS[kind] if fnmatchcase(command, e["command"])
    ]
    return examples[:1] if examples and examples[0][0] == "elsewhere" else examples


def test_help_agrees_with_the_tables_that_are_too_slow_to_import_for_it():
    text = {action.dest: action.help for action in COMMAND_PARSERS["train"]._actions}
    assert f"(default: {CELEBA_TARGET})" in text["target"]
    assert f"(default: {CELEBA_PROTECTED})" in text["protected"]
    assert f"(of {with_groups(skewed=True)})" in text["skew"]


def test_every_command_is_in_one_list_and_every_entry_is_a_command():
    assert len(COMMANDS) > 150
    used = []
    for command in COMMANDS:
        entries = entries_for(command)
        assert len(entries) == 1, (command, entries)
        used.append(entries[0][1])
    assert [entry for kind in LISTS.values() for entry in kind if entry not in used] == []


ONLY_PARSED = 62
"""How many kinds of commands are only parsed, and never run in any size: this number may only shrink."""


def kind_of(command):
    """A command but for its numbers, its folder and which of several trainings it selects: those of one kind run the
    same code."""
    words = shlex.split(command)
    for option in ("--out", "--only", "--training", "--rate"):
        if option in words:
            del words[words.index(option) : words.index(option) + 2]
    return tuple(re.sub(r"\d+(\.\d+)?", "N", word) for word in words)


def test_few_kinds_of_commands_are_only_parsed():
    """All others run in a test, or are of one kind with one that does; ``commands.toml`` says why these do not."""
    kinds = {kind: set() for kind in LISTS}
    for command in COMMANDS:
        kinds[entries_for(command)[0][0]].add(kind_of(command))
    assert len(kinds["parsed"] - kinds["run"] - kinds["elsewhere"]) == ONLY_PARSED


def test_the_other_tests_exist():
    assert all((ROOT / entry["test"]).is_file() for entry in LISTS["elsewhere"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_mentions_are_understood(page):
    for words in {tuple(words) for words in commands_in(page)}:
        understand([VALUES.get(word, word) for word in words])
    for words in mentions_in(page):
        check_mention([VALUES.get(word, word) for word in words])
    for words in options_in(page):
        check_options(words)
    for option, value in defaults_in(page):
        texts = [a.help for c in COMMAND_PARSERS.values() for a in c._actions if option in a.option_strings]
        assert any(f"default: {value}" in text for text in texts), (option, value)


def understand(words):
    """Parse a command with the program's own parser, to the recipe or study that it names."""
    program, *arguments = words
    if program == "trilemma":
        options = parser().parse_args(arguments)
        if options.command == "train":
            recipe_of(options)
        elif options.command == "study" and not options.study.endswith(".toml"):  # a file of the reader
            data = [parse_data(d) for d in options.data]
            plan(options.study, scale=options.scale, seeds=options.seeds, data=data, rank=options.rank)
        if getattr(options, "require", None):
            required_by(options, {})
    elif program == "torchrun":
        from torch.distributed.run import get_args_parser

        options = get_args_parser().parse_args(arguments)
        understand([options.training_script, *options.training_script_args])
    elif program == "python":
        with parsed_only(), contextlib.suppress(Parsed):
            script = ROOT / arguments[0]
            sys.argv = [str(script), *arguments[1:]]
            sys.path.insert(0, str(script.parent))
            runpy.run_path(str(script), run_name="__main__")
            raise AssertionError(f"{script} has not parsed its arguments")
    elif program == "make":
        assert set(arguments) <= TARGETS
    elif program == "pytest":
        assert all((ROOT / name).exists() for name in arguments)
    else:
        assert (program, arguments[0]) == ("pip", "install")


@pytest.mark.parametrize("name", COMMAND_PARSERS)
def test_examples_of_the_help_are_understood(name):
    help_text = COMMAND_PARSERS[name].format_help()
    for example in EXAMPLES[name]:
        assert example.startswith(f"trilemma {name}")
        assert f"  {example}\n" in help_text
        understand(shlex.split(example))


class Parsed(BaseException):
    """The arguments of a script were parsed; nothing else of it is to run."""


@contextlib.contextmanager
def parsed_only():
    """Within it, a script ends as soon as its arguments are parsed."""
    argv, path, modules = sys.argv, list(sys.path), set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        whole, known = argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_known_args

        def parse_args(self, *arguments, **options):
            patch.setattr(argparse.ArgumentParser, "parse_known_args", known)
            whole(self, *arguments, **options)
            raise Parsed

        def parse_known_args(self, *arguments, **options):
            known(self, *arguments, **options)
            raise Parsed

        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)
        try:
            yield
        finally:
            sys.argv, sys.path[:] = argv, path
            for name in set(sys.modules) - modules:  # modules beside a script, whose names others may share
                if (file := getattr(sys.modules[name], "__file__", None)) and Path(file).is_relative_to(ROOT / "tests"):
                    del sys.modules[name]


def check_mention(words):
    """The command and its options exist; arguments may be left out."""
    if words[:3] == ["python", "-m", "trilemma"]:
        words = words[2:]
    if words[0] == "trilemma" and len(words) > 1 and not words[1].startswith("-"):
        if words[1] == "COMMAND":
            return
        if options := [words[at:] for at, word in enumerate(words) if word.startswith("--")]:
            check_values(words[1], options[0])
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        assert words[1] == "install"
        assert set(re.findall(r"\[(\w+)\]", words[2])) <= extras.keys()
    elif words[0] not in ("trilemma", "pip"):
        understand(words)


SCRIPTS = [path for folder in ("benchmarks", "tests/faults", "docs") for path in (ROOT / folder).rglob("*.py")]
OF_SCRIPTS = {option for path in SCRIPTS for option in re.findall(r'"(--[\w-]+)"', path.read_text("utf-8"))}
ANY = re.compile(r"[A-Z|:=,.\[\]]+|module:name|FILE\..*|.*=FILE\..*")
"""What stands for any value."""


def check_options(words):
    """Options without a command are those of a script, or all of one command, with values that it takes."""
    names = {word for word in words if word.startswith("--")}
    takers = [name for name, c in COMMAND_PARSERS.items() if names <= {o for a in c._actions for o in a.option_strings}]
    assert takers or names <= OF_SCRIPTS, words
    if takers:
        check_values("train" if "train" in takers else takers[0], words)


def check_values(name, words):
    """Each option is one of the command, and takes its value; options of a training make a recipe."""
    actions = {option: action for action in COMMAND_PARSERS[name]._actions for option in action.option_strings}
    stated = []
    for option, value in zip(words, [*words[1:], "--"], strict=True):
        if not option.startswith("--"):
            continue
        assert option in actions, words
        action = actions[option]
        if action.nargs != 0 and not value.startswith("--") and not ANY.fullmatch(value):
            for one in value.split("|"):
                COMMAND_PARSERS[name]._check_value(action, COMMAND_PARSERS[name]._get_value(action, one))
            stated += [option, value] if name == "train" and option != "--out" else []
    if stated:
        understand(["trilemma", "train", "--out", "x", *stated])


def mine():
    """The study file of the page on comparing techniques, with fewer trials, images and updates."""
    (text,) = blocks(ROOT / "docs" / "tasks" / "compare-techniques.md", "toml")
    small = (
        text.replace("skew = 0.9", "skew = 0.9, limit = 150, test_limit = 150")
        .replace('["none", "gn", "gn,ws"]', '"gn"')
        .replace('["none", 8.0]', '"none"')
    )
    assert len(small) < len(text) + len(", limit = 150, test_limit = 150")
    return small + 'set = {model = "convnet-4", epochs = 1, evaluations = 1, norm_groups = 2}\n'


def noise_in_place_of_real_images(folder):
    """A few images of noise, laid out as CIFAR-10's binary archive, CelebA's Parquet files and folders of classes."""
    rng = np.random.default_rng(0)
    archive = folder / "cifar-10-batches-bin"
    archive.mkdir(parents=True)
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        labels = (np.arange(60) % 10).astype(np.uint8)[:, None]
        np.concatenate([labels, rng.integers(0, 256, (60, 3072), dtype=np.uint8)], axis=1).tofile(archive / name)
    faces = folder / "celeba" / "img_align+identity+attr"
    faces.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        attributes = {name: rng.random(40) < 0.5 for name in CELEBA_ATTRIBUTES}
        images = [{"bytes": encoded(rng, 218, 178), "path": None} for _ in range(40)]
        table = pa.table({"image": images, "celeb_id": list(range(40)), **attributes})
        pq.write_table(table, faces / f"{split}-00000-of-00001.parquet")
    for split, name, number in itertools.product(("train", "test"), ("cat", "dog"), range(20)):
        path = folder / "folder" / split / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(rng, 16, 16))


def encoded(rng, height, width):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def run_script(words):
    """A script of the project, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(ROOT / words[0]), *words[1:]])
        runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


@pytest.mark.usefixtures("warm_workers")
def test_commands_of_the_first_list_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(mine())
    images = tl.load_data("digits-s", limit=20, test_limit=20).test.images
    np.savez("images.npz", images=images)
    noise_in_place_of_real_images(tmp_path / "data")
    monkeypatch.setenv("TRILEMMA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stands_for = {"IMAGES": "images.npz", "FOLDER": "data/folder"}
    for entry in LISTS["run"]:
        if importlib.util.find_spec(entry.get("needs", "trilemma")) is None:
            continue  # an extra that is not installed here
        words = shlex.split(f"{entry['command']} {entry.get('and', '')}")
        program, *arguments = [stands_for.get(word, word) for word in words]
        status = main(arguments) if program == "trilemma" else run_script(arguments)
        assert status == entry.get("status", 0), entry["command"]
        if arguments[0] == "study":
            for name in ("techniques", "budget", "quickstart", "again"):  # stands for studies that take longer
                shutil.copytree("runs/mine-study", Path("runs") / name)
    left = [str(path) for path in Path().rglob("*") if path.is_file() and "techniques" not in path.parts]
    for name in ("predictions.csv", "runs/first/model.html", "runs/both/report.html"):
        assert name in left


def test_the_targets_of_make_are_there():
    done = subprocess.run(["make", "-n", *TARGETS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
