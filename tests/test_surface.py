"""The public surface, and what importing it does not cost."""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import trilemma as tl

SOURCE = Path(tl.__file__).parent


def imported(code):
    script = f"import sys; {code}; print(sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(ast.literal_eval(subprocess.check_output([sys.executable, "-c", script], text=True)))


def test_importing_trilemma_imports_nothing_slow():
    assert not {"torch", "numpy", "sklearn", "pyarrow", "scipy"} & imported("import trilemma")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tl.audit("predictions.npz"), "predictions is an object of type str: give trilemma.Predictions"),
        (lambda: tl.load_data(None), "the name of the data is an object of type NoneType: give a name"),
        (lambda: tl.load_model(None), "the folder of a run is an object of type NoneType: give its path"),
        (lambda: tl.Predictions.load(None), "the file of predictions is an object of type NoneType: give its path"),
        (
            lambda: tl.train(tl.Recipe(), tl.load_data("digits", limit=20), None),
            "the folder of the run is an object of ",
        ),
        (lambda: tl.train("digits-s", None, "x"), "recipe is an object of type str: give trilemma.Recipe"),
        (lambda: tl.train(tl.Recipe(), "digits-s", "x"), "data is an object of type str: give trilemma.Dataset"),
    ],
)
def test_an_argument_of_another_type_is_refused_in_one_line(call, message):
    with pytest.raises(tl.InputError, match=message):
        call()


def test_help_imports_nothing_slow():
    code = (
        "import io, contextlib, trilemma.cli.main as m\ntry:\n with contextlib.redirect_stdout(io.StringIO()):\n"
        "  m.main(['train', '--help'])\nexcept SystemExit: pass\nimport sys"
    )
    script = f"{code}\nprint(sorted({{m.split('.')[0] for m in sys.modules}}))"
    modules = set(ast.literal_eval(subprocess.check_output([sys.executable, "-c", script], text=True)))
    assert not {"torch", "numpy", "sklearn", "pyarrow", "rich"} & modules


def test_accounting_does_not_wait_for_torch():
    assert "torch" not in imported("from trilemma.privacy import noise_multiplier")


def test_every_public_name_is_there():
    for name in tl.__all__:
        assert getattr(tl, name) is not None
    for name in tl.privacy.__all__:
        assert getattr(tl.privacy, name) is not None


LAYERS = [
    # The ground floor: modules that know nothing of training or data, each of which imports only those before it.
    "errors",
    "version",
    "hints",
    "outside",
    "weight_norm",
    "files",
    "checksums",
    "machine",
    "threads",
    "progress",
    "seeds",
    "rounding",
    "standardization",
    "techniques",
    "networks",
    "paper",
    "words",
    "titles",
    "spreadsheet",
    "measures",
    # Packages (and two modules), from what knows least to what knows most.
    "statistics",
    "data",
    "models",
    "privacy",
    "training",
    "attacks",
    "fairness",
    "harmonic",
    "trial",
    "study",
    "analysis",
    "analysis.claims",
    "report",
    "cli",
    "__main__",
]
"""Everything in the package but its root, from the bottom up: nothing imports what stands above it."""
GROUND_FLOOR = LAYERS[: LAYERS.index("statistics")]
ALONE = {
    # The guarantee must not depend on what is trained or on how.
    "privacy": {*GROUND_FLOOR, "privacy"},
    # Predictions of any model, however it was trained.
    "attacks": {*GROUND_FLOOR, "statistics", "data", "attacks"},
    "fairness": {*GROUND_FLOOR, "statistics", "fairness"},
    "harmonic": {*GROUND_FLOOR, "statistics", "harmonic"},
    "statistics": {*GROUND_FLOOR, "statistics"},
}
"""Packages that may import nothing but these."""


def module_name(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("trilemma", *(parts[:-1] if parts[-1] == "__init__" else parts)))


OPEN_FILES = ("resources.files", "jinja2.PackageLoader")
"""Calls that are told a package in order to read its files."""


def imports_of(source, modules, *, processes=True):
    """Modules of the package that this source imports, also inside functions and for type checking alone; or names in
    a text, by which it can import them, unless that is to find a file of its package.

    ``import trilemma.x`` also imports the root: it binds the name ``trilemma``, by which all of the package is found.

    ``processes``: also those that it starts as a process (``-m``), which are none of its own imports.
    """
    imports = set()
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    other = {id(part) for call in calls if ast.unparse(call.func) in OPEN_FILES for part in call.args}
    lists = [node.elts for node in ast.walk(tree) if isinstance(node, ast.List | ast.Tuple)]
    started = [part for parts in lists for option, part in pairwise(parts) if ast.unparse(option) == "'-m'"]
    if not processes:
        other |= {id(part) for part in started}
    elif any(ast.unparse(part) == "'trilemma'" for part in started):
        imports.add("trilemma.__main__")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in other:
            named = re.fullmatch(r"(trilemma(?:\.\w+)+)(?::[\w.]+)?", str(node.value))
            imports |= {named[1]} if named and named[1] in modules else set()
        elif isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
            imports |= {alias.name.partition(".")[0] for alias in node.names if not alias.asname}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            imports |= {name if name in modules else str(node.module) for name in names}
    return {name for name in imports if name.partition(".")[0] == "trilemma"}


@functools.cache
def imports_read(processes):
    modules = {module_name(path): path for path in SOURCE.rglob("*.py")}
    graph = {name: imports_of(path.read_text("utf-8"), modules, processes=processes) for name, path in modules.items()}
    assert len(graph) > 100
    return graph


def import_graph(*, processes=True):
    """What each module imports; a copy, which a test may change."""
    return {name: set(imports) for name, imports in imports_read(processes).items()}


def layer(module):
    """The layer that a module belongs to; None for the root, which is above all."""
    name = module.removeprefix("trilemma").removeprefix(".")
    if not name:
        return None
    return max((layer for layer in LAYERS if f"{name}.".startswith(f"{layer}.")), key=len, default=name)


def wrong_imports(graph):
    """(module, what it imports, why that is wrong) of all imports that the layers forbid."""
    for module, imported_modules in graph.items():
        own = layer(module)
        if own is None:
            continue
        for other in imported_modules:
            theirs = layer(other)
            if theirs is None:
                yield module, other, "the root is for users of the package"
            elif own not in LAYERS or theirs not in LAYERS:
                yield module, other, "LAYERS does not have it"
            elif LAYERS.index(theirs) > LAYERS.index(own):
                yield module, other, "it stands above"
            elif theirs not in ALONE.get(own, LAYERS):
                yield module, other, f"{own} stands alone"


def test_nothing_imports_what_stands_above_it():
    assert not list(wrong_imports(import_graph()))


def test_nothing_imports_in_circles():
    """Modules, not only packages; an import inside a function is one too, since it only hides the circle."""
    graphlib.TopologicalSorter(import_graph(processes=False)).prepare()


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("trilemma.privacy.plan", "from trilemma.training import recipe"),
        ("trilemma.privacy.plan", "from trilemma.models.layers import norm_layer"),
        ("trilemma.privacy.plan", "def f():\n    import trilemma.data.load"),
        ("trilemma.attacks.roc", "from trilemma.models.catalog import build"),
        ("trilemma.analysis.conditions", "from trilemma.analysis.claims.claim import Claim"),
        ("trilemma.words", "from trilemma.statistics import intervals"),
        ("trilemma.trial.environment", "from trilemma import __version__"),
        ("trilemma.errors", "from trilemma.seeds import rng_for"),
        ("trilemma.privacy.plan", "import importlib\nimportlib.import_module('trilemma.training.recipe')"),
        ("trilemma.attacks.roc", "from importlib import import_module as load\nload(name='trilemma.models.catalog')"),
        ("trilemma.attacks.roc", "network = resolve('trilemma.models.catalog:build', 'models')"),
        ("trilemma.privacy.plan", "run([executable, '-m', 'trilemma.study.worker'])"),
        ("trilemma.privacy.plan", "run((executable, '-m', 'trilemma', 'train'))"),
        ("trilemma.privacy.plan", "import trilemma.errors\ndef f():\n    return trilemma.Recipe()"),
        ("trilemma.privacy.plan", "import trilemma.errors\ndef f():\n    return trilemma.training.loop"),
        ("trilemma.somewhere", "from trilemma.errors import InputError"),
    ],
)
def test_the_layers_are_not_a_rule_on_paper(module, line):
    graph = import_graph()
    graph[module] = graph.get(module, set()) | imports_of(line, graph)
    assert {wrong[0] for wrong in wrong_imports(graph)} == {module}


def imports_by_name(node):
    """Whether a called thing imports or runs code by its name: then what it imports cannot be read."""
    by_name = r"\b(import_module|__import__|resolve_name|run_module|run_path)$|^(exec|eval)$"
    return re.search(by_name, ast.unparse(node)) is not None


def computed_imports(source):
    """Calls that import a module whose name is not written out, so that its layer cannot be read; and other names for
    the function that imports, by which such a call would not be seen.  Beside calls, the beginning of such a name,
    whatever function is told the whole of it."""
    nodes = list(ast.walk(ast.parse(source)))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    called = {id(node.func) for node in calls}
    inside = {id(part) for call in calls if imports_by_name(call.func) for part in ast.walk(call)}
    for node in nodes:
        text = str(node.value) if isinstance(node, ast.Constant) and id(node) not in inside else ""
        if re.fullmatch(r"trilemma(\.\w+)*\.|import_module|__import__", text):
            yield repr(text)
        if isinstance(node, ast.alias) and node.name == "import_module" and node.asname:
            yield ast.unparse(node)
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in called and imports_by_name(node):
            yield ast.unparse(node)
        if isinstance(node, ast.Call) and imports_by_name(node.func):
            name = ast.unparse(node.args[0]) if node.args else ""
            if len(node.args) != 1 or node.keywords or not re.fullmatch(r"'[A-Za-z]\w*(\.\w+)*'", name):
                yield ast.unparse(node)


MAY_COMPUTE = {
    "__init__.py": [
        "importlib.import_module(f'trilemma.{name}')",
        "importlib.import_module(f'trilemma.{_HOME[name]}')",
    ],
    "outside.py": ["importlib.import_module(module_name)"],
    "privacy/__init__.py": ["importlib.import_module(f'{__name__}.{_HOME[name]}')"],
    "privacy/gradients/kernels.py": ["importlib.import_module(name)"],
    "privacy/named.py": ["'__import__'", "'import_module'"],
}
"""The computed imports that there are: of names of the package itself, of parts from outside, and of Triton; and the
names of functions that code of one's own may not use."""


def test_no_other_import_is_computed():
    computed = {
        path.relative_to(SOURCE).as_posix(): calls
        for path in SOURCE.rglob("*.py")
        if (calls := list(computed_imports(path.read_text("utf-8"))))
    }
    assert computed == MAY_COMPUTE


@pytest.mark.parametrize(
    "line",
    [
        "import_module('.training.recipe', 'trilemma')",
        "importlib.import_module('..training.recipe', __package__)",
        "importlib.import_module(f'trilemma.{name}')",
        "__import__('trilemma' + '.training')",
        "from importlib import import_module as load\nload(name)",
        "load = importlib.import_module\nload(name)",
        "runpy.run_module('trilemma' + '.training.recipe')",
        "exec(source)",
        "resolve(f'trilemma.{name}:build', 'models')",
        "pkgutil.resolve_name(f'trilemma.{name}')",
        "pkgutil.resolve_name(name)",
        "importlib.util.find_spec('trilemma.training.' + name)",
        "getattr(importlib, 'import_module')(name)",
    ],
)
def test_a_computed_import_is_seen(line):
    assert list(computed_imports(line))


def test_a_circle_is_seen():
    graph = import_graph(processes=False)
    graphlib.TopologicalSorter(graph).prepare()
    graph["trilemma.study.trials"].add("trilemma.study.runner")
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph).prepare()


def test_the_layout_for_contributors_names_every_part():
    """Guards: a picture of the layout that the code has left behind."""
    layout = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text("utf-8").split("```")[3]
    parts = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert not {part for part in parts if not part.startswith("__") and not re.search(rf"\b{part}\b", layout)}


RUN_CODE = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml")
"""Modules whose files can hold code; none is imported."""
CALLS = (
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
)


def dangers(text: str) -> list[str]:
    """What in a module could run code out of a file, under whatever name it was imported."""
    tree = ast.parse(text)
    names: dict[str, str] = {}
    seen = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                full = origin + alias.name
                whole = full if alias.asname or origin else full.split(".")[0]
                names[alias.asname or (alias.name if origin else whole)] = whole
                seen += [full] * (full.split(".")[0] in RUN_CODE)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        first, *more = ast.unparse(node).split(".")
        full = ".".join([names.get(first, first), *more])
        seen += [full] * (full in CALLS or full.endswith(".read_pickle"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, *more = ast.unparse(node.func).split(".")
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            loads = ".".join([names.get(first, first), *more]) in ("numpy.load", "numpy.lib.format.read_array")
            seen += ["allow_pickle"] * (keywords.get("allow_pickle", "None" if loads else "False") != "False")
            seen += ["shell"] * (keywords.get("shell", "False") != "False")
    return seen


def test_nothing_in_the_tree_can_run_a_strangers_code():
    """Guards: pickle, and "safe" loaders that fall back to it."""
    seen = {str(path): names for path in SOURCE.rglob("*.py") if (names := dangers(path.read_text("utf-8")))}
    assert not seen


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads as read",
        "def f():\n    import joblib",
        "import yaml as words",
        "import shelve",
        "from marshal import load",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=True)",
        "from torch import load\nload(path)",
        "from torch import load as read\nfor path in paths: read(path)",
        "import torch\nread = torch.load",
        "import torch\ntorch.jit.load(path)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=trusted)",
        "from numpy.lib.format import read_array\nread_array(stream, allow_pickle=1)",
        "import pandas as pd\npd.read_pickle(path)",
        "eval(text)",
        "exec(text)",
        "import os\nos.system(text)",
        "import subprocess\nsubprocess.run(text, shell=True)",
    ],
)
def test_ways_to_run_code_are_seen(text):
    assert dangers(text)


def test_what_runs_no_code_is_let_be():
    assert not dangers(
        "import numpy as np\nmodel.eval()\nnp.load(path, allow_pickle=False)\nre.compile(text)\nload(path)"
    )


LONGEST_FUNCTION = 60
"""Lines of a function from ``def`` to its end, its docstring not counted."""
LONGEST_FILE = 400
LONGER_FILES = {}
"""Files that do one job which would not be easier to follow in two files, each with a limit of its own."""


def lines_of_functions(source):
    """(name, lines without the docstring) of every function, also of methods and of functions inside others."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            yield node.name, lines


def test_every_function_fits_on_a_screen():
    for path in SOURCE.rglob("*.py"):
        for name, lines in lines_of_functions(path.read_text("utf-8")):
            assert lines <= LONGEST_FUNCTION, f"{path}: {name} has {lines} lines"


def test_the_lines_of_a_function_are_counted_without_its_docstring():
    source = 'class A:\n  def f(self):\n    """One.\n\n    Two."""\n    def g():\n      return 1\n    return g\n'
    assert list(lines_of_functions(source)) == [("f", 4), ("g", 2)]


def test_no_text_names_a_document_that_users_do_not_have():
    """A method's source is a paper, a library or a page of the docs."""
    inside = re.compile(r"METHODS \d|\b(?:DESIGN|PITFALLS)\b(?!\s*[=\]:,)])")
    named = [path.name for path in SOURCE.rglob("*.py") if inside.search(path.read_text("utf-8"))]
    named += [path.name for path in SOURCE.rglob("*.toml") if inside.search(path.read_text("utf-8"))]
    assert named == []
    assert inside.search("computed from the loss (METHODS 5.2)")


def test_few_files_are_long():
    for path in SOURCE.rglob("*.py"):
        lines = len(path.read_text("utf-8").splitlines())
        name = path.relative_to(SOURCE).as_posix()
        assert lines <= LONGER_FILES.get(name, LONGEST_FILE), f"{name} has {lines} lines"
    for name in LONGER_FILES:
        lines = len((SOURCE / name).read_text("utf-8").splitlines())
        assert lines > LONGEST_FILE, f"{name} has {lines} lines: LONGER_FILES need not name it"


NUMBERS = dict(enumerate(("eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"), 8))
NUMBERS |= {17: "seventeen", 18: "eighteen"}


def test_the_guarantee_counts_the_modules_that_it_rests_on():
    """Every module of ``privacy`` that the argument imports, directly or not, is named or counted on its page."""
    text = (SOURCE.parents[1] / "docs" / "guarantee.md").read_text("utf-8")
    argument, rest = text.split("The argument is in", 1)[1].split("It rests on code in", 1)
    argued = {f"trilemma.{name.replace('/', '.')}" for name in re.findall(r"`((?:privacy|data)/\w+)\.py`", argument)}
    graph, reached, new = import_graph(), set(), argued
    while new:
        reached |= new
        imported = set().union(*(graph[name] for name in new)) - reached
        new = {name for name in imported if name.startswith("trilemma.privacy.")}
    rests_on = reached - argued
    computing = {name for name in rests_on if name.startswith("trilemma.privacy.gradients.")}
    assert rest.startswith(f" {NUMBERS[len(rests_on)]} more modules of `privacy/`."), sorted(rests_on)
    assert f"he {NUMBERS[len(computing)]} modules of `privacy/gradients/`" in rest
    for name in rests_on - computing:
        assert f"`privacy/{name.rpartition('.')[2]}.py`" in rest, name
    assert f"It rests on {NUMBERS[len(rests_on)]} more modules" in (SOURCE.parents[1] / "README.md").read_text("utf-8")


def own_raises(function):
    """What a function raises in its own body, by name."""
    raised, rest = set(), list(function.body)
    while rest:
        node = rest.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised.add(ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc))
        rest += ast.iter_child_nodes(node)
    return raised & {"InputError", "PrivacyError", "ValueError", "KeyError", "Stopped"}


def public_functions(body):
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield from [node] if isinstance(node, ast.FunctionDef) else public_functions(node.body)


def undocumented(source):
    """Public functions with a docstring that does not say that they raise."""
    functions = [(f, ast.get_docstring(f)) for f in public_functions(ast.parse(source).body)]
    return {f.name for f, text in functions if text and own_raises(f) and not re.search("Raises|Refuse", text)}


def test_public_functions_say_what_they_raise():
    for path in SOURCE.rglob("*.py"):
        assert not undocumented(path.read_text("utf-8")), path
    silent = 'def f(x):\n    """Half."""\n    if x:\n        raise InputError("no")\n'
    assert undocumented(silent) == {"f"}
    assert not undocumented(silent.replace("Half.", "Half.  Raises InputError."))
