"""The notebooks run from top to bottom, and are committed with outputs that a reader can see.

Running them takes minutes: `make test-notebooks` does, `make test` does not.
"""

import ast
import runpy
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
executed = runpy.run_path(str(ROOT / "scripts" / "run_notebooks.py"))["executed"]


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum(
        any(kind.startswith("image/") for kind in output.get("data", {}))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def test_all_are_there():
    assert [path.name[0] for path in NOTEBOOKS] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_imported_from_the_package_is_there(path):
    """Read from the sources, so that nothing has to be imported."""
    for cell in nbformat.read(path, as_version=4).cells:
        lines = [line for line in cell.source.splitlines() if not line.startswith(("%", "!"))]
        if cell.cell_type != "code":
            continue
        for node in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(node, ast.ImportFrom) or not str(node.module).startswith("qdnet_ker"):
                continue
            names = {alias.name for alias in node.names}
            assert names <= defined(ROOT / str(node.module).replace(".", "/")), node.module


def defined(module: Path) -> set[str]:
    """Names that a module or package defines, imports or holds as modules."""
    found = {path.stem for path in module.glob("*")}
    for source in (module.with_suffix(".py"), module / "__init__.py", module / "__init__.pyi"):
        for node in ast.walk(ast.parse(source.read_text())) if source.is_file() else ():
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = executed(path)
    committed = nbformat.read(path, as_version=4)
    assert pictures(notebook) == pictures(committed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_with_its_outputs(path):
    """All cells were run in order, say nothing of the machine, and the whole stays small."""
    assert path.stat().st_size < 1_000_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert pictures(notebook) >= 1
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.get("text")
            text = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
            assert str(Path.home()) not in text
            assert "/tmp" not in text
