"""Ratchet in a notebook: start a flow from a cell, watch it there, and ask what came of it.

    run = retrain.start("trainer=xgboost")   # returns at once; the cell shows its progress
    run.wait()                               # until it has ended, however
    run.verdict, run.logs("train"), run.result("extract")

The same works in a plain Python session and in scripts, with lines instead of a picture.
"""

from flows.notebook.drawing import draw, draw_text
from flows.notebook.handle import RunHandle
from flows.notebook.launch import launch

__all__ = ["RunHandle", "draw", "draw_text", "launch"]
