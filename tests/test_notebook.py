"""The notebook of `examples/` runs from the first cell to the last, and shows what it promises."""

import shutil
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parent.parent / "examples" / "notebook"


def test_the_notebook_runs_and_shows_tables_and_figures(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    path = shutil.copy(NOTEBOOKS / "first_evaluation.ipynb", tmp_path)
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "a notebook is kept without outputs"
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.data.get("text/html", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("mean AUROC" in html for html in shown) == 3  # of one detector, of the folder, and of a module
    assert sum("data:image/svg+xml" in html for html in shown) == 3
    assert sum("dataframe" in html for html in shown) == 1
    assert len(list((tmp_path / "runs").glob("cells/*/*"))) == 2 * 3
