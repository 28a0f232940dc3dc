"""The picture of a flow: one self-contained SVG, readable on light and dark; or a tree of text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from html import escape

from flows.core.graph import Graph, Node, RunIf
from flows.core.records import RunStatus, TaskStatus
from flows.notebook.layout import Box, Layout, Line, Point, Size, place
from flows.wording import MARKS

FONT = "ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
PAPER = "var(--jp-layout-color0,var(--vscode-editor-background,Canvas))"
"""The page's own background, in JupyterLab, VS Code and elsewhere."""

PLAIN = "#8b949e"
COLOURS = dict.fromkeys((*TaskStatus, *RunStatus), PLAIN) | {
    "running": "#2f81f7",
    "retrying": "#e0763a",
    "cancelling": "#e0763a",
    "succeeded": "#2da160",
    "halted": "#c9920e",
    "failed": "#e5484d",
}
"""Of the statuses of tasks and runs: middle tones, which stand out on white as on black."""

_MARGIN = 2.0
_HEIGHT = 44.0
_STACK = 5.0  # how far the sheets behind a mapped task stand out
_HEAD = 7.0  # length of an arrowhead
_DOWN = 9.0  # from a line of text's middle to the next


def draw(graph: Graph, statuses: Mapping[str, TaskStatus | str] | None = None) -> str:
    """The tasks of a graph and what each waits for, as an inline SVG.

    `statuses` colours the tasks that it names. Solid lines carry values, dotted ones only the
    order, dashed ones a condition; a stack of sheets is mapped over a list.
    """
    laid = place(graph, _size, lambda label: _text_width(label, 11) + 6)
    known = {key: TaskStatus(status) for key, status in (statuses or {}).items()}
    parts = [_line(line, laid, graph) for line in laid.lines]
    parts += [_label(line, laid) for line in laid.lines if line.label]
    parts += [_box(box, graph.by_key[box.key], known.get(box.key)) for box in laid.boxes]
    width, height = laid.width + 2 * _MARGIN + _STACK, laid.height + 2 * _MARGIN + _STACK
    names = ", ".join(node.key for node in graph.nodes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(names)}" '
        f'viewBox="{-_MARGIN:g} {-_MARGIN - _STACK:g} {width:.1f} {height:.1f}" '
        f'width="{width:.0f}" style="max-width:100%;height:auto;overflow:visible" '
        f'font-family="{FONT}" font-size="13" fill="none">' + "".join(parts) + "</svg>"
    )


def _size(node: Node) -> Size:
    words = max(_text_width(node.key, 13), _text_width(_subtitle(node), 10.5))
    return Size(width=words + 50, height=_HEIGHT)


def _text_width(text: str, size: float) -> float:
    """Pixels, about: wide letters count more, narrow ones less."""
    return (
        sum(0.87 if c in "mwMW@—" else 0.32 if c in "ijlft.,:;|'[]()" else 0.58 for c in text)
        * size
    )


def _subtitle(node: Node) -> str:
    """What is worth knowing before the task runs, in small letters."""
    words = [node.executor] if node.executor else []
    if node.over:
        words.append(f"for each {node.over}")
    if node.run_if is not RunIf.ALL_SUCCEEDED:
        words.append(f"if {node.run_if.value.replace('_', ' ')}")
    return " · ".join(words)


# ---------------------------------------------------------------------- tasks


def _box(box: Box, node: Node, status: TaskStatus | None) -> str:
    colour = COLOURS[status] if status else PLAIN
    faint = status in (TaskStatus.SKIPPED, TaskStatus.CANCELLED)
    sheets = (2 * _STACK, _STACK, 0.0) if node.over else (0.0,)
    body = "".join(_sheet(box, off, colour, filled=bool(status)) for off in sheets)
    glyph = (
        f'<text x="{box.x + 15:.1f}" y="{box.y + 4.5:.1f}" text-anchor="middle" '
        f'fill="{colour}" font-weight="700">{MARKS[status]}{_pulse(status)}</text>'
        if status
        else ""
    )
    middle = box.x + box.size.width / 2 + (8 if status else 0)
    subtitle = _subtitle(node)
    name_y = box.y + (4.5 if not subtitle else 4.5 - _DOWN + 2)
    words = _text(middle, name_y, node.key, 'font-weight="600"')
    if subtitle:
        words += _text(middle, box.y + _DOWN + 4, subtitle, 'font-size="10.5" opacity="0.65"')
    title = f"<title>{escape(_tooltip(node, status))}</title>"
    dim = ' opacity="0.55"' if faint else ""
    return f"<g{dim}>{title}{body}{glyph}{words}</g>"


def _sheet(box: Box, off: float, colour: str, *, filled: bool) -> str:
    shape = (
        f'x="{box.x + off:.1f}" y="{box.y - box.size.height / 2 - off:.1f}" '
        f'width="{box.size.width:.1f}" height="{box.size.height:.1f}" rx="9"'
    )
    paper = f'<rect {shape} style="fill:{PAPER}"/>'
    tint = "0.14" if filled else "0.07"
    return (
        f'{paper}<rect {shape} fill="{colour}" fill-opacity="{tint}" stroke="{colour}" '
        f'stroke-width="{1.6 if filled else 1.2}"/>'
    )


def _pulse(status: TaskStatus | None) -> str:
    if status is not TaskStatus.RUNNING:
        return ""
    return '<animate attributeName="opacity" values="1;.25;1" dur="1.6s" repeatCount="indefinite"/>'


def _text(x: float, y: float, words: str, attributes: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="currentColor" '
        f"{attributes}>{escape(words)}</text>"
    )


def _tooltip(node: Node, status: TaskStatus | None) -> str:
    words = [node.function]
    if status:
        words.insert(0, status.value)
    if node.retry.attempts > 1:
        words.append(f"up to {node.retry.attempts} attempts")
    if node.timeout:
        words.append(f"timeout {node.timeout:g} s")
    if node.condition:
        words.append(f"when {node.condition}")
    return "\n".join(words)


# ---------------------------------------------------------------------- lines


def _ends(line: Line, laid: Layout) -> tuple[Point, Point]:
    boxes = {box.key: box for box in laid.boxes}
    source, target = boxes[line.source], boxes[line.target]
    return (source.x + source.size.width, source.y), (target.x - 1, target.y)


def _line(line: Line, laid: Layout, graph: Graph) -> str:
    start, end = _ends(line, laid)
    stops = [start, *(point for bend in line.bends for point in bend), (end[0] - _HEAD, end[1])]
    path = f"M{start[0]:.1f} {start[1]:.1f}"
    for index, (a, b) in enumerate(itertools.pairwise(stops)):
        if index % 2:  # straight through a column
            path += f"H{b[0]:.1f}"
        else:
            middle = (a[0] + b[0]) / 2
            path += f"C{middle:.1f} {a[1]:.1f} {middle:.1f} {b[1]:.1f} {b[0]:.1f} {b[1]:.1f}"
    dashes = _dashes(line, graph.by_key[line.target])
    faint = 0.4 if line.implied and not line.label else 1
    return (
        f'<g stroke="{PLAIN}" opacity="{faint}">'
        f'<path d="{path}" stroke-width="1.4"{dashes}/>'
        f'<path d="M{end[0]:.1f} {end[1]:.1f}l{-_HEAD:g} -3.5v7z" fill="{PLAIN}"/></g>'
    )


def _dashes(line: Line, target: Node) -> str:
    if line.label:
        return ' stroke-dasharray="5 4"'
    only_order = line.source in target.after
    return ' stroke-dasharray="1 4" stroke-linecap="round"' if only_order else ""


def _label(line: Line, laid: Layout) -> str:
    start, end = _ends(line, laid)
    before = line.bends[-1][1] if line.bends else start
    # A point of the curve a little after its middle, where branches have parted.
    x = before[0] + 0.58 * (end[0] - _HEAD - before[0])
    y = before[1] + 0.65 * (end[1] - before[1])
    label = line.label or ""
    width = _text_width(label, 11) + 10
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="18" rx="9" '
        f'style="fill:{PAPER}"/>' + _text(x, y + 4, label, 'font-size="11" font-style="italic"')
    )


# ---------------------------------------------------------------------- in a terminal


def draw_text(graph: Graph) -> str:
    """Each task below the last one that it waits for; what else it waits for stands beside it.

    poll
    └─ check
       └─ extract    also after poll
    """
    place = {node.key: index for index, node in enumerate(graph.nodes)}
    below: dict[str | None, list[Node]] = {}
    for node in graph.nodes:
        parent = max(node.upstream, key=place.__getitem__, default=None)
        below.setdefault(parent, []).append(node)
    rows: list[tuple[str, str]] = []

    def add(node: Node, parent: str | None, indent: str, joint: str, onward: str) -> None:
        rows.append((f"{indent}{joint}{node.key}", _notes(node, parent)))
        children = below.get(node.key, [])
        for child in children:
            last = child is children[-1]
            add(
                child, node.key, indent + onward, "└─ " if last else "├─ ", "   " if last else "│  "
            )

    for root in below[None]:
        add(root, None, "", "", "")
    width = max(len(tree) for tree, _ in rows)
    return "\n".join(f"{tree:<{width}}   {notes}".rstrip() for tree, notes in rows)


def _notes(node: Node, parent: str | None) -> str:
    notes = [node.executor] if node.executor else []
    if node.over:
        notes.append(f"for each {node.over}")
    if node.condition:
        notes.append(f"when {node.condition}")
    if others := [key for key in node.upstream if key != parent]:
        notes.append(f"also after {', '.join(others)}")
    return ", ".join(notes)
