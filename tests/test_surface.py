"""The public surface, and what importing it does not cost."""

import ast
import subprocess
import sys
from pathlib import Path

import trilemma as tl

SOURCE = Path(tl.__file__).parent


def imported(code):
    script = f"import sys; {code}; print(sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(ast.literal_eval(subprocess.check_output([sys.executable, "-c", script], text=True)))


def test_importing_trilemma_imports_nothing_slow():
    assert not {"torch", "numpy", "sklearn", "pyarrow", "scipy"} & imported("import trilemma")


def test_help_imports_nothing_slow():
    code = (
        "import io, contextlib, trilemma.cli.main as m\ntry:\n with contextlib.redirect_stdout(io.StringIO()):\n"
        "  m.main(['train', '--help'])\nexcept SystemExit: pass\nimport sys"
    )
    script = f"{code}\nprint(sorted({{m.split('.')[0] for m in sys.modules}}))"
    found = set(ast.literal_eval(subprocess.check_output([sys.executable, "-c", script], text=True)))
    assert not {"torch", "numpy", "sklearn", "pyarrow", "rich"} & found


def test_accounting_does_not_wait_for_torch():
    assert "torch" not in imported("from trilemma.privacy import noise_multiplier")


def test_every_public_name_is_there():
    for name in tl.__all__:
        assert getattr(tl, name) is not None
    for name in tl.privacy.__all__:
        assert getattr(tl.privacy, name) is not None


FLOOR = ["errors", "hints", "files", "machine", "threads", "seeds", "techniques", "measures", "words"]
ROOMS = [
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
    "report",
    "cli",
]


def test_the_ground_floor_imports_nothing_above_it():
    for name in FLOOR:
        path = SOURCE / f"{name}.py"
        if path.exists():
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("trilemma"):
                    assert node.module.removeprefix("trilemma.") in FLOOR[: FLOOR.index(name)], f"{path}: {node.module}"


def test_rooms_import_only_from_rooms_above():
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room not in ROOMS:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] == "trilemma" and len(parts) > 1 and parts[1] in ROOMS:
                    assert ROOMS.index(parts[1]) <= ROOMS.index(room), f"{path} imports {name}"
                    if room == "privacy":
                        assert parts[1] in ("models", "privacy"), f"{path} imports {name}"
                    if room in ("attacks", "fairness"):
                        assert parts[1] not in ("models", "privacy", "training"), f"{path} imports {name}"


def test_nothing_in_the_tree_can_run_a_strangers_code():
    """Guards: pickle, and "safe" loaders that fall back to it."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("torch.load", "pickle.load", "pickle.loads", "eval", "exec", "yaml.load"), path
                for keyword in node.keywords:
                    if keyword.arg == "allow_pickle":
                        assert isinstance(keyword.value, ast.Constant), path
                        assert keyword.value.value is False, path
