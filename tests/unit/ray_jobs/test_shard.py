from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_jobs.dataset import ROW_ID, read_parts
from ray_jobs.definition import ROW, FeatureDefinition, JoinDefinition, from_text
from ray_jobs.errors import ArtifactError
from ray_jobs.feature_code import FeatureCode
from ray_jobs.shard import Shard, run_shard
from ray_jobs.training_errors import FeatureError

START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("a", pa.float64()),
        ("b", pa.float64()),
        ("y", pa.string()),
        ("region", pa.string()),
    ]
)
DEFINITION = FeatureDefinition(
    view="v",
    entities=("id",),
    event_time="at",
    features=("a", "b"),
    label="y",
    columns=(),
    joins=(),
    group=None,
    slices=(),
    engine="polars",
    code=FeatureCode(functions=(), modules={}),
)


def rows(count: int = 10) -> pa.Table:
    return pa.table(
        {
            "id": range(count),
            "at": [START + timedelta(hours=i) for i in range(count)],
            "a": [float(i) for i in range(count)],
            "b": [float(i % 3) for i in range(count)],
            "y": ["yes" if i % 2 else "no" for i in range(count)],
            "region": ["n" if i < 5 else "s" for i in range(count)],
        },
        schema=SCHEMA,
    )


def with_functions(*bodies: str, **changes: object) -> FeatureDefinition:
    source = "import pyarrow.compute as pc\n" + "".join(
        f"def f{i}(table):\n    return {body}\n" for i, body in enumerate(bodies)
    )
    code = FeatureCode(
        functions=tuple(f"team:f{i}" for i in range(len(bodies))), modules={"team": source}
    )
    return replace(DEFINITION, code=code, **changes)  # type: ignore[arg-type]


@pytest.fixture
def source(tmp_path: Path) -> Shard:
    path = tmp_path / "part-1.parquet"
    pq.write_table(rows(), path, row_group_size=4)
    return Shard(
        name="out.parquet",
        version=3,
        source=str(path),
        partition={},
        groups=None,
        first_row=0,
        rows=10,
    )


def made(shard: Shard, definition: FeatureDefinition, tmp_path: Path, *right: pa.Table) -> pa.Table:
    run_shard(shard, definition, SCHEMA, str(tmp_path / "out"), *right)
    return pq.read_table(tmp_path / "out" / shard.name)


@pytest.mark.parametrize("engine", ["polars", "arrow"])
def test_a_shard_holds_inputs_and_label_and_what_identifies_a_row(
    source: Shard, tmp_path: Path, engine: str
) -> None:
    part = run_shard(source, replace(DEFINITION, engine=engine), SCHEMA, str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / "out.parquet")
    assert part.inputs == ("a", "b")
    assert table.column_names == ["a", "b", "at", "y", ROW]
    assert table[ROW].to_pylist() == list(range(10))
    assert table["a"].to_pylist() == rows()["a"].to_pylist()
    assert (part.rows, part.version) == (10, 3)
    assert (part.time_from, part.time_until) == (START, START + timedelta(hours=9))
    assert part.bytes == (tmp_path / "out" / "out.parquet").stat().st_size


@pytest.mark.parametrize("engine", ["polars", "arrow"])
def test_a_run_of_row_groups_is_read_with_its_own_row_numbers(
    source: Shard, tmp_path: Path, engine: str
) -> None:
    piece = replace(source, groups=(1, 2), first_row=4, rows=4)
    table = made(piece, replace(DEFINITION, engine=engine), tmp_path)
    assert table[ROW].to_pylist() == [4, 5, 6, 7]
    assert table["a"].to_pylist() == [4.0, 5.0, 6.0, 7.0]


def test_the_same_rows_give_the_same_bytes(source: Shard, tmp_path: Path) -> None:
    definition = with_functions("table.append_column('c', pc.add(table['a'], 1.0))")
    first = run_shard(source, definition, SCHEMA, str(tmp_path / "x"))
    second = run_shard(source, definition, SCHEMA, str(tmp_path / "y"))
    assert first.sha256 == second.sha256


def test_functions_run_in_order_and_what_they_add_becomes_an_input(
    source: Shard, tmp_path: Path
) -> None:
    definition = with_functions(
        "table.append_column('c', pc.add(table['a'], 1.0))",
        "table.append_column('d', pc.multiply(table['c'], 2.0)).drop_columns(['b'])",
    )
    part = run_shard(source, definition, SCHEMA, str(tmp_path / "out"))
    assert part.inputs == ("a", "c", "d")
    assert pq.read_table(tmp_path / "out/out.parquet")["d"].to_pylist()[3] == 8.0


def test_a_function_may_drop_and_reorder_rows(source: Shard, tmp_path: Path) -> None:
    definition = with_functions(
        "table.filter(pc.greater(table['a'], 6.5))", "table[::1].take([2, 0])"
    )
    table = made(source, definition, tmp_path)
    assert table[ROW].to_pylist() == [9, 7]
    assert table["y"].to_pylist() == ["yes", "yes"]


def test_a_function_that_uses_polars_or_batches_is_understood(
    source: Shard, tmp_path: Path
) -> None:
    definition = with_functions(
        "__import__('polars').from_arrow(table)", "table.combine_chunks().to_batches()[0]"
    )
    assert made(source, definition, tmp_path).num_rows == 10


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "table['nope']",
            r"team:f0 raised KeyError: .*part part-1.parquet of version 3, rows 0 to 9",
        ),
        ("table.drop_columns(['y'])", "team:f0 lost the column 'y'"),
        ("table.rename_columns({'y': 'label'})", "team:f0 lost the column 'y'"),
        ("table.drop_columns(['ratchet_row'])", "team:f0 lost the column 'ratchet_row'"),
        ("__import__('pyarrow').concat_tables([table, table])", "made 20 rows out of 10"),
        ("None", "returned NoneType, not a pyarrow.Table"),
        ("table.drop_columns(['a', 'b'])", "no column is left to learn from"),
        ("table.drop_columns(['at']).append_column('at', table['y'])", "event time at is of type"),
    ],
)
def test_a_function_that_breaks_its_promise_is_named_with_part_and_rows(
    source: Shard, tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(FeatureError, match=message) as caught:
        made(source, with_functions(body), tmp_path)
    assert caught.value.permanent
    assert not (tmp_path / "out" / "out.parquet").exists()


def test_an_unknown_input_column_names_the_nearest(source: Shard, tmp_path: Path) -> None:
    definition = with_functions("table.append_column('ratio', table['a'])", columns=("a", "ratoi"))
    with pytest.raises(FeatureError, match=r"names 'ratoi'.*nearest is 'ratio'"):
        made(source, definition, tmp_path)


def test_a_label_that_nothing_provides_is_named(source: Shard, tmp_path: Path) -> None:
    for definition in (replace(DEFINITION, label="yy"), with_functions("table", label="yy")):
        with pytest.raises(FeatureError, match="or slices names 'yy'"):
            made(source, definition, tmp_path)


def test_a_function_may_make_the_label(source: Shard, tmp_path: Path) -> None:
    definition = with_functions(
        "table.append_column('rise', pc.greater(table['a'], 4.0))", "table", label="rise"
    )
    assert made(source, definition, tmp_path)["rise"].to_pylist() == [False] * 5 + [True] * 5


def test_a_source_file_that_is_gone_is_named(source: Shard, tmp_path: Path) -> None:
    Path(source.source).unlink()
    with pytest.raises(ArtifactError, match="does not exist any more") as caught:
        made(source, DEFINITION, tmp_path)
    assert caught.value.permanent


def test_only_needed_columns_are_read_when_no_function_may_ask_for_more(
    source: Shard, tmp_path: Path
) -> None:
    definition = replace(DEFINITION, columns=("b",), slices=("region",))
    assert definition.read_columns(SCHEMA.names) == ["at", "y", "region", "b"]
    assert made(source, definition, tmp_path).column_names == ["b", "at", "y", "region", ROW]


def test_columns_that_a_file_lacks_are_null_or_come_from_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    pq.write_table(rows(4).drop_columns(["b", "region"]), path)
    shard = Shard(
        name="out.parquet",
        version=1,
        source=str(path),
        partition={"region": "west"},
        groups=None,
        first_row=0,
        rows=4,
    )
    table = made(shard, replace(DEFINITION, slices=("region",)), tmp_path)
    assert table["b"].to_pylist() == [None] * 4
    assert table["region"].to_pylist() == ["west"] * 4


def test_rows_without_event_time_are_refused(tmp_path: Path, source: Shard) -> None:
    table = rows()
    holes = pa.array([None, *table["at"].to_pylist()[1:]], pa.timestamp("us", tz="UTC"))
    pq.write_table(table.set_column(1, "at", holes), source.source)
    with pytest.raises(FeatureError, match="1 rows have no at"):
        made(source, DEFINITION, tmp_path)


def test_a_join_takes_the_value_known_at_each_rows_time(source: Shard, tmp_path: Path) -> None:
    join = JoinDefinition(
        view="w", entities=("id",), event_time="seen", columns=("v",), ttl_s=None, prefix="w_"
    )
    right = pa.table(
        {
            "id": [7, 7, 8],
            "seen": [START, START + timedelta(hours=8), START + timedelta(hours=20)],
            "v": [1.0, 2.0, 3.0],
        }
    )
    part = run_shard(
        source, replace(DEFINITION, joins=(join,)), SCHEMA, str(tmp_path / "out"), right
    )
    table = pq.read_table(tmp_path / "out/out.parquet")
    assert part.inputs == ("a", "b", "w_v")
    assert table["w_v"].to_pylist() == [None] * 7 + [1.0, None, None]


def test_rows_are_read_by_time_and_carry_their_source(source: Shard, tmp_path: Path) -> None:
    folder = str(tmp_path / "out")
    first = run_shard(source, DEFINITION, SCHEMA, folder)
    second = run_shard(replace(source, name="two.parquet"), DEFINITION, SCHEMA, folder)
    second = replace(second, source="another")
    table = read_parts(
        (first, second),
        folder,
        ["a"],
        event_time="at",
        since=START + timedelta(hours=8),
        until=START + timedelta(hours=8),
    )
    assert table.column_names == ["a", "at", ROW_ID]
    assert table["a"].to_pylist() == [8.0, 8.0]
    assert table[ROW_ID].to_pylist() == [8, (1 << 40) + 8]


def test_a_definition_survives_the_way_into_a_model_and_back() -> None:
    join = JoinDefinition(
        view="w", entities=("id",), event_time="t", columns=("v",), ttl_s=60.0, prefix=""
    )
    definition = with_functions("table", joins=(join,), slices=("region",), group="id")
    again = from_text(definition.to_text())
    assert again == definition
    assert again.digest == definition.digest
    with pytest.raises(FeatureError, match="cannot be read"):
        from_text("{}")


def test_a_weight_is_kept_beside_the_inputs_and_never_one_of_them(
    source: Shard, tmp_path: Path
) -> None:
    weighed = replace(DEFINITION, weight="b")
    part = run_shard(source, weighed, SCHEMA, str(tmp_path / "out"))
    assert part.inputs == ("a",)
    assert pq.read_table(tmp_path / "out" / "out.parquet")["b"].to_pylist() == [
        float(i % 3) for i in range(10)
    ]
    again = from_text(weighed.to_text())
    assert again == weighed
    older = from_text(DEFINITION.to_text().replace(',\n "weight": null', ""))
    assert older.digest == DEFINITION.digest


def test_what_a_polars_function_returns_is_stored_whatever_the_engine(
    source: Shard, tmp_path: Path
) -> None:
    function = (
        "import polars as pl\n"
        "def f(table):\n"
        "    frame = pl.from_arrow(table)\n"
        "    return frame.with_columns(\n"
        "        pl.col('y'), pl.col('region').cast(pl.Categorical).alias('zone')\n"
        "    )\n"
    )
    code = FeatureCode(functions=("team:f",), modules={"team": function})
    definition = replace(
        DEFINITION, engine="arrow", code=code, columns=("a", "zone"), features=("a", "region")
    )
    table = made(source, definition, tmp_path)
    assert table["zone"].to_pylist() == ["n"] * 5 + ["s"] * 5
    assert not any(pa.types.is_dictionary(kind) for kind in table.schema.types)
