"""Where the tasks and the lines of a flow's drawing go: a layered layout, from left to right.

A task stands in the column after the last task that it waits for. Inside a column, tasks are
ordered by the barycentre of their neighbours until fewer lines no longer cross (Sugiyama,
Tagawa, Toda 1981), then moved as close to the mean of their neighbours as their order allows
(isotonic regression by pooling adjacent violators, Ayer et al. 1955).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flows.core.graph import Graph, Node

SWEEPS = 8
ROW_GAP = 18.0
COLUMN_GAP = 46.0
BEND_GAP = 8.0
LIGHT = 0.01
"""What a line that others imply weighs: it goes round what the flow mainly does."""

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a task takes up, in pixels."""

    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Box:
    """A task, placed."""

    key: str
    x: float  # left edge, pixels
    y: float  # middle, pixels
    size: Size


@dataclass(frozen=True, kw_only=True)
class Line:
    """That one task waits for another, placed."""

    source: str
    target: str
    label: str | None  # the condition on the source's value, if there is one
    implied: bool  # a longer way leads from source to target, so the order holds without it
    bends: tuple[tuple[Point, Point], ...]  # left and right end of its way through each column


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A drawing without its looks."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


@dataclass(eq=False)
class _Item:
    """What stands in a column: a task, or a line that passes through."""

    layer: int
    size: Size
    gap: float = ROW_GAP  # to what is above and below
    weight: float = 1.0  # how much it insists on its place
    y: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Way:
    """A line as the items that it touches, from source to target."""

    source: str
    target: str
    items: tuple[_Item, ...]
    weight: float


def place(
    graph: Graph, size: Callable[[Node], Size], label_width: Callable[[str], float]
) -> Layout:
    """The layout of a graph; the same graph gives the same layout."""
    layers = _layers(graph)
    tasks = {n.key: _Item(layer=layers[n.key], size=size(n)) for n in graph.nodes}
    implied = _implied(graph)
    ways = [
        _way(up, n.key, tasks, LIGHT if (up, n.key) in implied else 1.0)
        for n in graph.nodes
        for up in n.upstream
    ]
    columns = _columns([*tasks.values(), *(item for way in ways for item in way.items[1:-1])])
    before, after = _neighbours(ways)
    columns = _with_few_crossings(columns, before, after)
    _straighten(columns, before, after)
    labels = {(w.source, w.target): label_of(graph.by_key[w.target], w.source) for w in ways}
    room = [0.0] * len(columns)
    for way in ways:
        if label := labels[way.source, way.target]:
            column = tasks[way.target].layer
            room[column] = max(room[column], label_width(label))
    lefts, width = _across(columns, room)
    return Layout(
        boxes=tuple(
            Box(key=key, x=lefts[item.layer], y=item.y, size=item.size)
            for key, item in tasks.items()
        ),
        lines=tuple(
            Line(
                source=way.source,
                target=way.target,
                label=labels[way.source, way.target],
                implied=(way.source, way.target) in implied,
                bends=tuple(_bend(item, columns, lefts) for item in way.items[1:-1]),
            )
            for way in ways
        ),
        width=width,
        height=max(item.y + item.size.height / 2 for column in columns for item in column),
    )


def label_of(node: Node, source: str) -> str | None:
    """What `node` wants of the source's value: `promote`, `not promote`; None: nothing."""
    literals = node.condition.literals if node.condition else ()
    wants = [
        ("" if wanted else "not ") + (".".join(map(str, ref.path)) or ref.node)
        for ref, wanted in literals
        if ref.node == source
    ]
    return " and ".join(wants) or None


def _layers(graph: Graph) -> dict[str, int]:
    """The column of each task: the length of the longest way to it."""
    found: dict[str, int] = {}
    for node in graph.nodes:  # in an order that can be run
        found[node.key] = max((found[key] + 1 for key in node.upstream), default=0)
    return found


def _implied(graph: Graph) -> set[tuple[str, str]]:
    """The lines that the others imply."""
    above: dict[str, set[str]] = {}
    found = set()
    for node in graph.nodes:
        above[node.key] = set(node.upstream).union(*(above[key] for key in node.upstream))
        for key in node.upstream:
            if any(key in above[other] for other in node.upstream):
                found.add((key, node.key))
    return found


def _way(source: str, target: str, tasks: dict[str, _Item], weight: float) -> _Way:
    size = Size(width=0, height=0)
    between = range(tasks[source].layer + 1, tasks[target].layer)
    bends = [_Item(layer=i, size=size, gap=BEND_GAP, weight=weight) for i in between]
    items = (tasks[source], *bends, tasks[target])
    return _Way(source=source, target=target, items=items, weight=weight)


def _columns(items: Iterable[_Item]) -> list[list[_Item]]:
    columns: list[list[_Item]] = []
    for item in items:
        columns += [[] for _ in range(item.layer + 1 - len(columns))]
        columns[item.layer].append(item)
    return columns


Neighbours = dict[_Item, list[tuple[_Item, float]]]
"""For each item what it is joined to on one side, and the weight of the line."""


def _neighbours(ways: Iterable[_Way]) -> tuple[Neighbours, Neighbours]:
    before: Neighbours = {}
    after: Neighbours = {}
    for way in ways:
        for left, right in zip(way.items, way.items[1:], strict=False):
            after.setdefault(left, []).append((right, way.weight))
            before.setdefault(right, []).append((left, way.weight))
    return before, after


# ---------------------------------------------------------------------- the order in a column


def _with_few_crossings(
    columns: list[list[_Item]], before: Neighbours, after: Neighbours
) -> list[list[_Item]]:
    best, fewest = columns, _crossings(columns, after)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        backward = sweep % 2 == 1
        columns = _swept(columns, after if backward else before, backward)
        if (count := _crossings(columns, after)) < fewest:
            best, fewest = columns, count
    return best


def _swept(columns: list[list[_Item]], towards: Neighbours, backward: bool) -> list[list[_Item]]:
    """Each column sorted by where the neighbours stand in the column that was sorted last."""
    place: dict[_Item, float] = {}
    found = []
    for column in reversed(columns) if backward else columns:
        wanted = {
            item: _mean([(place[n], 1.0) for n, _ in towards.get(item, ())], float(index))
            for index, item in enumerate(column)
        }
        ordered = sorted(column, key=lambda item, wanted=wanted: wanted[item])  # type: ignore[misc]
        place = {item: float(index) for index, item in enumerate(ordered)}
        found.append(ordered)
    return found[::-1] if backward else found


def _crossings(columns: list[list[_Item]], after: Neighbours) -> int:
    count = 0
    for left, right in itertools.pairwise(columns):
        place = {item: index for index, item in enumerate(right)}
        ends = [sorted(place[n] for n, _ in after.get(item, ())) for item in left]
        flat = [end for found in ends for end in found]
        count += sum(a > b for i, a in enumerate(flat) for b in flat[i + 1 :])
    return count


def _mean(weighted: Sequence[tuple[float, float]], default: float) -> float:
    total = sum(weight for _, weight in weighted)
    return sum(number * weight for number, weight in weighted) / total if total else default


# ---------------------------------------------------------------------- coordinates


def _straighten(columns: list[list[_Item]], before: Neighbours, after: Neighbours) -> None:
    """Move items towards their neighbours, in turn from the left and from the right."""
    both: Neighbours = {
        item: [*before.get(item, ()), *after.get(item, ())] for column in columns for item in column
    }
    for column in columns:
        _spread(column, {})
    for _ in range(SWEEPS):
        for column in columns:
            _spread(column, before)
        for column in reversed(columns):
            _spread(column, after)
    for column in columns:
        _spread(column, both)
    top = min(item.y - item.size.height / 2 for column in columns for item in column)
    for column in columns:
        for item in column:
            item.y -= top


def _spread(column: list[_Item], towards: Neighbours) -> None:
    """Put items as near to their neighbours' mean as can be, in their order and apart."""
    wanted = [_mean([(n.y, weight) for n, weight in towards.get(i, ())], i.y) for i in column]
    offsets = [0.0]
    for above, item in itertools.pairwise(column):
        apart = (above.size.height + item.size.height + above.gap + item.gap) / 2
        offsets.append(offsets[-1] + apart)
    blocks: list[tuple[float, float, int]] = []  # (sum, weight, count) of items side by side
    for item, y, offset in zip(column, wanted, offsets, strict=True):
        blocks.append(((y - offset) * item.weight, item.weight, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            (above_sum, above_weight, above_count), (total, weight, count) = blocks[-2:]
            blocks[-2:] = [(above_sum + total, above_weight + weight, above_count + count)]
    levels = [total / weight for total, weight, count in blocks for _ in range(count)]
    for item, level, offset in zip(column, levels, offsets, strict=True):
        item.y = level + offset


def _across(columns: list[list[_Item]], room: list[float]) -> tuple[list[float], float]:
    """The left edge of each column, and the whole width; `room` is for labels before it."""
    lefts, x = [], 0.0
    for index, column in enumerate(columns):
        if index:
            x += COLUMN_GAP + room[index]
        lefts.append(x)
        x += max(item.size.width for item in column)
    return lefts, x


def _bend(item: _Item, columns: list[list[_Item]], lefts: list[float]) -> tuple[Point, Point]:
    left = lefts[item.layer]
    right = left + max(other.size.width for other in columns[item.layer])
    return (left, item.y), (right, item.y)
