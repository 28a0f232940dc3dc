"""A flow as a tree of text, for terminals."""

from __future__ import annotations

from flows.core.graph import Graph, Node


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
