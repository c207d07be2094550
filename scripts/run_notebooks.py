"""Run the notebooks from top to bottom and keep their outputs: `make notebooks`.

    python scripts/run_notebooks.py [notebooks/1_quickstart.ipynb ...]

Do this after a new preset or a change of what they show. Needs the extra `notebooks`.
"""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbclient import NotebookClient

from qdnet_keras.cli.output import run_script
from qdnet_keras.files import write_text

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
MAX_BYTES = 1_000_000


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs, without what libraries say on stderr.

    Raises nbclient's `CellExecutionError`.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=900,  # seconds a cell
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


def main(
    paths: Annotated[list[Path] | None, typer.Argument(exists=True, help="Default: all.")] = None,
) -> None:
    """Prints for each notebook how long it took and how large it is."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    for path in paths or sorted(FOLDER.glob("*.ipynb")):
        start = time.perf_counter()
        text = nbformat.writes(executed(path))
        if len(text.encode()) > MAX_BYTES:
            sys.exit(f"{path} is {len(text.encode())} bytes with its outputs, over {MAX_BYTES}.")
        write_text(path, text + "\n")
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {len(text) / 1e6:.2f} MB")


if __name__ == "__main__":
    run_script(main)
