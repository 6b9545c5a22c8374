"""The notebook runs from its first cell to its last, in a kernel as a reader's would."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers.runs import ROOT


@pytest.mark.slow
def test_the_quick_start_runs_and_learns(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []  # what is kept there must not pass for what comes
    client = NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()  # raises at the first cell that fails
    shown = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    metrics = numbers_of(next(text for text in shown if text.startswith("{")))
    assert metrics["hr@10"] > 0.8  # chance is 10 of some 60
    assert any("volume" in text for text in shown)
    assert "(1, 64)" in shown[-1]
    assert not [text for text in shown if "--config" in text or "Warning" in text]
    assert any("<iframe" in output["data"]["text/html"] for output in frames_of(notebook))


def frames_of(notebook):
    """The outputs with HTML."""
    outputs = (o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs)
    return [output for output in outputs if "text/html" in output.get("data", {})]


def numbers_of(text):
    """The numbers of a printed dict."""
    pairs = (part.split(":") for part in text.strip("{}\n ").split(","))
    return {name.strip(" '"): float(value) for name, value in pairs}
