"""The picture of a flow: where things go, what they look like, and that it is safe to show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.graph import Condition, Graph, Node, Ref, RunIf, validated
from flows.core.records import TaskStatus
from flows.notebook import draw, draw_text
from flows.notebook.layout import Layout, Size, place
from flows.retrain import retrain


def node(key: str, *upstream: str, **options: object) -> Node:
    inputs = {up: Ref(node=up) for up in upstream}
    return Node(key=key, function=f"team:{key}", inputs=inputs, **options)  # type: ignore[arg-type]


def laid(graph: Graph) -> Layout:
    return place(graph, lambda _: Size(width=100, height=40), lambda label: 6.0 * len(label))


def when(source: str, *path: str, wanted: bool = True) -> Condition:
    return Condition(literals=((Ref(node=source, path=path), wanted),))


DIAMOND = validated((node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c")))


def test_a_task_stands_right_of_everything_that_it_waits_for() -> None:
    layout = laid(retrain.graph)
    boxes = {box.key: box for box in layout.boxes}
    assert [boxes[n.key].x for n in retrain.graph.nodes][:5] == sorted(b.x for b in boxes.values())[
        :5
    ]
    for line in layout.lines:
        assert boxes[line.source].x + boxes[line.source].size.width < boxes[line.target].x


def test_a_chain_is_straight_and_a_diamond_is_symmetric() -> None:
    chain = laid(validated((node("a"), node("b", "a"), node("c", "b"))))
    assert len({box.y for box in chain.boxes}) == 1
    a, b, c, d = laid(DIAMOND).boxes
    assert a.y == pytest.approx(d.y) == pytest.approx((b.y + c.y) / 2)


def test_a_line_over_a_shorter_way_is_implied_and_the_others_are_not() -> None:
    implied = {(line.source, line.target) for line in laid(retrain.graph).lines if line.implied}
    assert implied == {
        ("poll", "extract"),
        ("extract", "watch"),
        ("watching", "settle"),
        ("extract", "evaluate"),
        ("extract", "promote"),
        ("extract", "halt"),
    }


def test_the_main_way_stays_level_although_lines_pass_beside_it() -> None:
    levels = {box.key: box.y for box in laid(retrain.graph).boxes}
    for key in ("check", "extract", "evaluate"):
        assert levels[key] == pytest.approx(levels["poll"], abs=2)


def test_lines_that_need_not_cross_do_not() -> None:
    graph = validated((node("a"), node("b"), node("x", "b"), node("y", "a")))
    boxes = {box.key: box for box in laid(graph).boxes}
    assert (boxes["a"].y < boxes["b"].y) == (boxes["y"].y < boxes["x"].y)


@st.composite
def graphs(make: st.DrawFn) -> Graph:
    nodes: list[Node] = []
    for index in range(make(st.integers(1, 14))):
        keys = [n.key for n in nodes]
        nodes.append(
            node(f"t{index}", *make(st.sets(st.sampled_from(keys), max_size=3)) if keys else ())
        )
    return validated(tuple(nodes))


@given(graphs())
def test_no_two_tasks_overlap_and_all_are_inside(graph: Graph) -> None:
    layout = laid(graph)
    for i, one in enumerate(layout.boxes):
        assert one.size.height / 2 <= one.y + 1e-6
        assert one.y + one.size.height / 2 <= layout.height + 1e-6
        assert 0 <= one.x <= layout.width - one.size.width + 1e-6
        for other in layout.boxes[i + 1 :]:
            assert abs(one.x - other.x) >= 100 or abs(one.y - other.y) >= 40 + 8 - 1e-6
    assert layout == laid(graph)


@given(graphs())
def test_a_line_touches_no_task_on_its_way(graph: Graph) -> None:
    layout = laid(graph)
    for line in layout.lines:
        for (left, y), (right, _) in line.bends:
            for box in layout.boxes:
                apart = box.x >= right or box.x + box.size.width <= left
                assert apart or abs(box.y - y) >= box.size.height / 2 + 8 - 1e-6


def test_the_drawing_is_one_svg_without_outside_requests() -> None:
    svg = draw(retrain.graph)
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert re.findall(r"(?:href|src|url\()", svg) == []
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for name in ("poll", "check", "extract", "train", "evaluate", "promote", "halt", "not promote"):
        assert name in texts


def test_each_status_has_its_sign_and_a_task_without_one_has_none() -> None:
    statuses = {"poll": TaskStatus.SUCCEEDED, "check": "failed", "extract": TaskStatus.RUNNING}
    svg = draw(retrain.graph, statuses)
    assert [svg.count(sign) for sign in ("✓", "✗", "●", "○")] == [1, 1, 1, 0]
    assert svg.count("<animate ") == 1
    with pytest.raises(ValueError, match="gone"):
        draw(retrain.graph, {"poll": "gone"})


def test_conditions_are_dashed_and_labelled_and_pure_order_is_dotted() -> None:
    graph = validated(
        (
            node("ask"),
            node("yes", condition=when("ask", "good")),
            node("no", condition=when("ask", "good", wanted=False)),
            node("later", after=("yes",)),
        )
    )
    svg = draw(graph)
    assert svg.count('stroke-dasharray="5 4"') == 2
    assert svg.count('stroke-dasharray="1 4"') == 1
    assert ">good<" in svg
    assert ">not good<" in svg


def test_a_mapped_task_is_a_stack_and_a_trigger_rule_is_named() -> None:
    plain = validated((node("list"), node("work", "list"), node("end", "work")))
    mapped = validated(
        (
            node("list"),
            node("work", "list", over="item"),
            node("end", "work", run_if=RunIf.ALL_DONE),
        )
    )
    assert draw(mapped).count("<rect") == draw(plain).count("<rect") + 4  # two sheets behind it
    assert ">for each item<" in draw(mapped)
    assert ">if all done<" in draw(mapped)


def test_names_cannot_become_markup() -> None:
    svg = draw(validated((node("<script>alert(1)</script>"), node('"a"&b'))))
    ElementTree.fromstring(svg)
    assert "<script" not in svg


def test_the_outline_names_what_a_task_waits_for_beside_its_parent() -> None:
    assert draw_text(retrain.graph).splitlines() == [
        "poll                           processes",
        "└─ check                       processes",
        "   └─ extract                  ray, also after poll",
        "      ├─ watching              processes",
        "      │  └─ watch              ray, when watching.due, also after extract",
        "      │     └─ settle          processes, also after watching",
        "      │        └─ evaluate     ray, also after train, extract",
        "      │           ├─ promote   processes, when evaluate.promote, also after extract",
        "      │           └─ halt      processes, when not evaluate.promote, also after extract",
        "      └─ train                 ray",
    ]


def test_the_outline_of_several_beginnings_keeps_them_apart() -> None:
    graph = validated((node("a"), node("b"), node("c", "a"), node("d", "c", "b")))
    assert draw_text(graph).splitlines() == ["a", "└─ c", "   └─ d   also after b", "b"]
