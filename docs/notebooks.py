"""The notebooks of the site: run in one process, without Jupyter, and turned into pages that show their output.

    python docs/notebooks.py        # runs both and rewrites their output, which a test compares with what it gets

A cell's output is what it prints and the value of its last expression: an image as PNG, a table as HTML, anything else
as text.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "notebooks"
TOLERANCE = 0.1
"""How far a number with a decimal point may be from the one that is shown: rounding differs between machines, and short
trainings amplify it."""
_NUMBER = re.compile(r"(?<![\w.])[-−+]?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w])")


def read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return notebook


def run(notebook: dict[str, Any], folder: Path) -> list[list[dict[str, Any]]]:
    """Run every cell of code in the folder.  Returns the outputs of each, as a notebook holds them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        return [_run("".join(cell["source"]), names) for cell in code_of(notebook)]


def code_of(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _run(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    body = ast.parse(source).body
    shows = body and isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";")
    last = body.pop() if shows else None
    stdout, value = io.StringIO(), None
    with contextlib.redirect_stdout(stdout):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if stdout.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(stdout.getvalue())})
    if value is not None:
        outputs.append({"output_type": "execute_result", "data": shown(value), "execution_count": None, "metadata": {}})
    return outputs


def shown(value: Any) -> dict[str, Any]:
    """A value by MIME type, as Jupyter asks for it."""
    if hasattr(value, "_repr_png_"):
        return {"image/png": base64.b64encode(value._repr_png_()).decode(), "text/plain": [type(value).__name__]}
    data: dict[str, Any] = {"text/plain": _lines(repr(value))}
    if hasattr(value, "_repr_html_"):
        data["text/html"] = _lines(value._repr_html_())
    return data


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def text_of(outputs: list[dict[str, Any]]) -> str:
    """What a reader of the outputs reads, without images."""
    parts = [output["text"] if "text" in output else output["data"]["text/plain"] for output in outputs]
    return "\n".join("".join(part) for part in parts)


def differences(kept: str, found: str) -> Iterator[str]:
    """How a text differs from the one that was kept, numbers with a decimal point beyond ``TOLERANCE`` alone.

    >>> list(differences("AUC 0.51, 300 rows", "AUC 0.52, 300 rows"))
    []
    >>> list(differences("AUC 0.51, 300 rows", "AUC 0.71, 301 rows"))
    ['0.51 has become 0.71', '300 has become 301']
    """
    words = [" ".join(_NUMBER.sub(" # ", text).split()) for text in (kept, found)]
    if words[0] != words[1]:
        yield f"{words[0]!r} has become {words[1]!r}"
        return
    for old, new in zip(_NUMBER.findall(kept), _NUMBER.findall(found), strict=True):
        exact = "." not in old and "." not in new
        if old != new and (exact or abs(_value(old) - _value(new)) > TOLERANCE):
            yield f"{old} has become {new}"


def _value(number: str) -> float:
    return float(number.replace("−", "-"))


def page_of(path: Path) -> str:
    """The notebook as a page in Markdown, with its output."""
    parts = []
    for number, cell in enumerate(read(path)["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            if not number:
                parts.append(f"[The notebook]({path.name}) runs in Jupyter; this page shows what it gave.")
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [_shown_on_page(output) for output in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def _shown_on_page(output: dict[str, Any]) -> str:
    if "text" in output:
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    data = output["data"]
    if "image/png" in data:
        return f'<img alt="The figure that the cell above draws" src="data:image/png;base64,{data["image/png"]}">'
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL).replace("\n", " ")
        return table.replace("<th></th>", "<td></td>")  # a corner without words heads nothing
    return f"```text\n{''.join(data['text/plain'])}\n```"


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = read(path)
        with tempfile.TemporaryDirectory() as folder:
            for cell, outputs in zip(code_of(notebook), run(notebook, Path(folder)), strict=True):
                cell["outputs"] = outputs
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(path.name, file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
