"""The notebook of `examples/` runs from the first cell to the last, and shows what it promises."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import bench

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


def pivot_of(results):
    """What the notebook's own lines make of results."""
    notebook = json.loads((NOTEBOOKS / "first_evaluation.ipynb").read_text())
    (source,) = (text for cell in notebook["cells"] if ".pivot(" in (text := "".join(cell["source"])))
    *lines, last = source.splitlines()
    names = {"results": results}
    exec("\n".join(lines), names)
    return eval(last, names)


def test_the_notebook_averages_no_unlike_cells(tmp_path):
    settings = {"eps": 1, "steps": 2, "restarts": 1, "store": tmp_path}
    found = [bench.evaluate("msp", "pgd-l2", limit=limit, **settings) for limit in (4, 6)]
    shown = pivot_of(bench.load_results(tmp_path))
    assert list(shown.index.names) == ["limit", "eps"]
    expected = {(one.metas[1].limit, 1.0): one.metas[1].mean.auroc for one in found}
    assert dict(shown["msp"]) == expected


def test_the_notebook_refuses_two_states_of_one_cell_in_one_place(tmp_path):
    found = bench.evaluate("msp", "pgd-l2", eps=1, steps=2, restarts=1, limit=4)
    again = found.metas[1].model_copy(update={"key": "0" * 64, "weights_sha256": ("1" * 64,)})
    with pytest.raises(ValueError, match="duplicate"):
        pivot_of(dataclasses.replace(found, metas=(*found.metas, again)))
