import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.machine import Machine
from benchmarks.measure import Sample
from benchmarks.report import Aim, Figure, Kind, print_table, write_json

MACHINE = Machine(
    cores=2, cpu="a", memory_gb=4.0, python="3.11", kernel="k", fsync_ms=0.2, load=0.0
)
OWN, FLOOR = Sample(values=(3.0, 3.2, 2.8)), Sample(values=(2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("kind", "bound", "met"),
    [
        (Kind.AT_MOST, 3.0, True),
        (Kind.AT_MOST, 2.9, False),
        (Kind.AT_LEAST, 3.0, True),
        (Kind.AT_LEAST, 3.1, False),
        (Kind.RATIO_AT_MOST, 1.5, True),
        (Kind.RATIO_AT_MOST, 1.4, False),
    ],
)
def test_an_aim_is_judged_by_the_median_or_the_ratio_to_the_floor(
    kind: Kind, bound: float, met: bool
) -> None:
    aim = Aim(kind=kind, bound=bound)
    figure = Figure(name="f", unit="ms", own=OWN, beside={"floor": FLOOR}, aim=aim)

    assert figure.met is met


def test_what_was_not_measured_pair_by_pair_has_no_ratio() -> None:
    figure = Figure(name="f", unit="ms", own=OWN, beside={"p95": Sample(values=(9.0,))})

    assert figure.ratio is None
    assert figure.met is None


def test_the_table_and_the_json_say_the_same(tmp_path: Path) -> None:
    aim = Aim(kind=Kind.RATIO_AT_MOST, bound=1.4)
    figure = Figure(name="chain", unit="ms", own=OWN, beside={"floor": FLOOR}, aim=aim)
    shown = io.StringIO()

    print_table([figure], MACHINE, Console(file=shown, width=120))
    write_json([figure], MACHINE, tmp_path / "bench.json", quick=True)

    assert "1.50 ×" in shown.getvalue()
    assert "≤ 1.4 ×" in shown.getvalue()
    (kept,) = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["figures"]
    assert kept["ratio"]["median"] == 1.5
    assert kept["met"] is False
    assert kept["values"] == [3.0, 3.2, 2.8]
