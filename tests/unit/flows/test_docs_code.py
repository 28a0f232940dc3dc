"""The Python in the documents is Python that works."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from flows.core.flow import Flow

CONCEPTS = Path(__file__).parents[3] / "docs" / "concepts.md"


def test_the_flow_in_the_concepts_is_a_flow(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(from dataclasses.*?)```", CONCEPTS.read_text(), re.DOTALL)
    (tmp_path / "nightly_in_the_docs.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("nightly_in_the_docs")
    monkeypatch.delitem(sys.modules, "nightly_in_the_docs")
    assert isinstance(module.nightly, Flow)
    assert [node.key for node in module.nightly.graph.nodes] == ["measure", "decide", "ship"]
    assert module.decide(0.7, 0.5)
