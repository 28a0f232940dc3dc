"""A run as a cell shows it: the drawing, the tasks, the errors, and the verdict.

One piece of HTML without scripts or outside requests. Colours are middle tones and tints over
the page's own, so that it is readable on light and on dark.
"""

from __future__ import annotations

from datetime import datetime
from html import escape

from flows.core.records import ErrorInfo, Run, TaskStatus
from flows.core.store.reads import RunDetail
from flows.documents import between
from flows.notebook.drawing import COLOURS, FONT, draw
from flows.wording import MARKS, TaskView, duration, tasks_of
from registry import Verdict
from registry.card.verdict_html import verdict_html

SHOWN_CHILDREN = 6
"""Children of a mapped task that get a line of their own; those in trouble come first."""
TRACE_LINES = 25

_TROUBLE = (TaskStatus.FAILED, TaskStatus.HALTED, TaskStatus.RETRYING, TaskStatus.RUNNING)
_STYLE = (
    ".ratchet{font:13px/1.5 " + FONT + ";color:inherit;max-width:980px;padding:4px 0}"
    ".ratchet .r-head{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:center}"
    ".ratchet .r-pill{border-radius:10px;padding:1px 10px;font-weight:600}"
    ".ratchet .r-dim{opacity:.65}"
    ".ratchet .r-reason{margin:6px 0 0;padding:2px 0 2px 10px;border-left:3px solid}"
    ".ratchet .r-drawing{margin:12px 0 8px;overflow-x:auto}"
    ".ratchet table{border-collapse:collapse;border:0;margin:0;font-size:12px;width:auto;"
    "color:inherit}"
    ".ratchet td{border:0;padding:1px 16px 1px 0;text-align:left;vertical-align:top;"
    "background:none}"
    ".ratchet td.r-time{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".ratchet tr{background:none}"
    ".ratchet pre{margin:4px 0 0;padding:8px 10px;border-radius:6px;overflow-x:auto;"
    "background:rgba(139,148,158,.13);color:inherit;font-size:11.5px;line-height:1.45}"
    ".ratchet summary{cursor:pointer}"
    ".ratchet .r-verdict{margin-top:10px;padding:8px 12px;border-radius:8px;"
    "border:1px solid rgba(139,148,158,.35)}"
)


def card(
    detail: RunDetail,
    now: datetime,
    verdict: Verdict | None = None,
    stopped: BaseException | None = None,
) -> str:
    """The run as HTML. `stopped` is what has kept this session from driving it on, if anything."""
    tasks = tasks_of(detail, now)
    statuses = {key: task.status for key, task in tasks.items() if key in detail.graph.by_key}
    parts = [
        f"<style>{_STYLE}</style>",
        _head(detail.run, now),
        _reason(detail.run, stopped),
        f'<div class="r-drawing">{draw(detail.graph, statuses)}</div>',
        _table(tasks),
        *(_error(task.key, task.error) for task in tasks.values() if _broken(task)),
    ]
    if verdict is not None:
        shown = verdict_html(verdict, said=detail.run.reason)
        parts.append(f'<div class="r-verdict">{shown}</div>')
    return f'<div class="ratchet">{"".join(parts)}</div>'


def _head(run: Run, now: datetime) -> str:
    colour = COLOURS[run.status]
    took = duration(between(run.started_at, run.ended_at or now))
    return (
        f'<div class="r-head"><b>{escape(run.flow)}</b>'
        f'<span class="r-pill" style="background:{colour}2b;color:{colour}">{run.status}</span>'
        f'<span class="r-dim">{took}</span><span class="r-dim">run {escape(run.id)}</span></div>'
    )


def _reason(run: Run, stopped: BaseException | None) -> str:
    colour, words = COLOURS[run.status], escape(run.reason or "")
    if stopped is not None and not run.status.ended:
        colour = COLOURS[TaskStatus.FAILED]
        words = (
            f"this session has stopped driving the run: {escape(str(stopped) or repr(stopped))} "
            "<span class='r-dim'>· run.wait() goes on with it</span>"
        )
    return f'<div class="r-reason" style="border-color:{colour}">{words}</div>' if words else ""


# ---------------------------------------------------------------------- tasks


def _table(tasks: dict[str, TaskView]) -> str:
    """A line for each task that something can be said of."""
    rows = []
    for key, task in tasks.items():
        if "[" in key or task.status is TaskStatus.PENDING:
            continue
        rows.append(_row(task))
        if task.children:
            children = [t for k, t in tasks.items() if k.startswith(f"{key}[")]
            rows += [_row(child) for child in _worth_showing(children)]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _worth_showing(children: list[TaskView]) -> list[TaskView]:
    trouble = [child for child in children if child.status in _TROUBLE]
    return sorted(trouble, key=lambda c: _TROUBLE.index(c.status))[:SHOWN_CHILDREN]


def _row(task: TaskView) -> str:
    colour = COLOURS[task.status]
    notes = task.remarks
    if task.error and task.error.hint and _broken(task):
        notes.append(f"→ {task.error.hint}")
    indent = "padding-left:20px" if "[" in task.key else ""
    return (
        f'<tr><td style="white-space:nowrap;{indent}">'
        f'<span style="color:{colour};font-weight:700;display:inline-block;width:18px">'
        f"{MARKS[task.status]}</span>"
        f"{escape(task.key)}</td>"
        f'<td class="r-dim">{task.status}</td>'
        f'<td class="r-time r-dim">{duration(task.seconds)}</td>'
        f"<td>{escape(' · '.join(notes))}</td></tr>"
    )


def _broken(task: TaskView) -> bool:
    return task.error is not None and task.status in (TaskStatus.FAILED, TaskStatus.RETRYING)


def _error(key: str, error: ErrorInfo | None) -> str:
    if error is None or not error.trace:
        return ""
    lines = error.trace.rstrip().splitlines()
    shown = "\n".join((["…"] if len(lines) > TRACE_LINES else []) + lines[-TRACE_LINES:])
    return (
        f'<details><summary class="r-dim">where {escape(key)} raised it</summary>'
        f"<pre>{escape(shown)}</pre></details>"
    )
