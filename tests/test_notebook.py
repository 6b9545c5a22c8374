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
    metrics = numbers_of(next(text for text in shown if "ndcg@10" in text and "{" in text))
    assert metrics["hr@10"] > 0.8  # chance is 10 of some 60
    assert any("volume" in text for text in shown)
    assert "(1, 50)" in shown[-1]


def numbers_of(text):
    """The numbers of a printed dict."""
    pairs = (part.split(":") for part in text.strip("{}\n ").split(","))
    return {name.strip(" '"): float(value) for name, value in pairs}
