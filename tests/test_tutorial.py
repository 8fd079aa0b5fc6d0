"""The notebook of the docs, executed as a reader would."""

import base64
import io
import re

import nbformat
from conftest import ROOT
from nbclient import NotebookClient
from PIL import Image


def test_the_notebook_is_stored_with_its_outputs():
    text = (ROOT / "docs" / "tutorial.ipynb").read_text()
    assert not re.search(r"/(home|tmp|root|Users)/|Traceback", text)
    cells = [cell for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert "image/png" in text and all(cell.outputs for cell in cells[1:])


# The images of every folder that the test keeps, since training on all takes long.
SOME = """
for folder in Path("tutorial/images").glob("*/*"):
    for path in sorted(folder.iterdir())[40 if "train" in folder.parts else 10 :]:
        path.unlink()
"""


def test_the_notebook_runs_from_images_to_predictions(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
    written = next(n for n, cell in enumerate(notebook.cells) if "write_images(" in cell.source)
    notebook.cells.insert(written + 1, nbformat.v4.new_code_cell(SOME))
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert Image.open(io.BytesIO(base64.b64decode(pictures[-1]))).size == (1000, 1000)
    assert (tmp_path / "tutorial" / "run" / "model-0003.params").exists()
    last = next(cell for cell in reversed(notebook.cells) if cell.cell_type == "code")
    assert "bag/0800.png [('" in last.outputs[0]["text"]
