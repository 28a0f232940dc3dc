"""Notebooks in a real kernel: the live cell, and the first ten minutes of a data scientist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
LITTLE_FLOW = """
import threading
from flows import flow, task

gate = threading.Event()

@task
def one() -> int:
    gate.wait(60)
    return 1

@task
def two(number: int) -> int:
    raise ValueError("<b>two</b>")

@flow
def little() -> None:
    two(one())
"""


def executed(notebook: Any, folder: Path, seconds: int) -> Any:
    """The notebook with its outputs, run in a kernel of its own in `folder`."""
    client = NotebookClient(
        notebook, timeout=seconds, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    return client.execute()


def shown(cell: Any) -> str:
    """What the cell shows, as HTML or text."""
    data = [output.get("data", {}) for output in cell.outputs]
    return "".join(d.get("text/html", d.get("text/plain", "")) for d in data)


def printed(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def statuses(cell: Any) -> list[str]:
    """The runs' statuses, and their verdicts, in the pictures that the cell shows."""
    return re.findall(r"""class=["'][rc]-pill[^>]*>\W*(\w+)<""", shown(cell))


@pytest.mark.slow
def test_a_cell_shows_its_run_and_keeps_up_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path / "home"))
    cells = [
        LITTLE_FLOW + "little",
        "run = little.start()\nwhile run.status == 'queued': gate.wait(0.01)",
        "before = run._repr_html_()\ngate.set()\nrun.wait()",
        "print('running' in before)",
        "run",
        "x = 1",
        "y = 2",
        "run.wait()",
        "little.start()",
        "little.start(show=False).wait();",
    ]
    source = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    flow, start, wait, before, again, _, _, far_wait, bare, hidden = executed(
        source, tmp_path, 60
    ).cells
    assert shown(flow).startswith("<svg")
    assert statuses(start) == ["failed"]  # although it ended in a later cell
    assert "ValueError: &lt;b&gt;two&lt;/b&gt;" in shown(start)
    assert wait.outputs == []  # the picture is in sight, in the cell before
    assert printed(before) == "True\n"
    assert statuses(again) == statuses(far_wait) == ["failed"]
    assert len(statuses(bare)) == 1
    assert hidden.outputs == []


@pytest.mark.slow
@pytest.mark.ray
def test_the_first_retrain_notebook_ends_as_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RATCHET_HOME", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = executed(nbformat.read(NOTEBOOKS / "01_first_retrain.ipynb", 4), tmp_path, 600)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    runs = [cell for cell in code if "= retrain.start(*choices)" in cell.source]
    assert [statuses(cell) for cell in runs] == [["succeeded", "promote"]] * 2
    text = "".join(map(printed, code))
    assert "promote - Version 1 is the first model" in text
    assert "promote - Version 2 is better than champion version 1" in text
    assert "digits v2 is live" in text
    assert "skipped - no new data in digits" in text


@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_is_its_source_without_outputs(source: Path) -> None:
    written = nbformat.read(source.with_suffix(".ipynb"), 4)
    expected = jupytext.read(source)
    assert [(c.cell_type, c.source) for c in written.cells] == [
        (c.cell_type, c.source) for c in expected.cells
    ], f"jupytext --to ipynb {source.name}"
    assert all(not cell.get("outputs") for cell in written.cells)
    assert written.metadata.kernelspec.name == expected.metadata.kernelspec.name
