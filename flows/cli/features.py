"""`ratchet features`: the views of the feature store, and rows for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.text import Text

from feature_store import FeatureStore, FeatureView
from flows.cli.installation import opened
from flows.cli.quarantine import (
    View,
    quarantine,
    release,
    reset,
    say_decisions,
    watermark_json,
    watermarks,
)
from flows.cli.quarantine import store as store_of
from flows.cli.rows_file import FileRows, read_rows
from flows.cli.wording import console, print_json, table
from flows.core.errors import Refused
from flows.documents import iso
from flows.wording import ago

features = typer.Typer(add_completion=False, rich_markup_mode=None)

Rows = Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet or .csv file of rows.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@features.callback(invoke_without_command=True)
def views(context: typer.Context) -> None:
    """The views of the feature store: what data there is, and who has read it."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@features.command("list")
def list_views(context: typer.Context, as_json: Json = False) -> None:
    """List the views."""
    with opened(context) as ratchet:
        store = store_of(ratchet)
        documents = [_view_json(store, name) for name in store.views()]
        if as_json:
            print_json(documents)
            return
        say, now = console(), ratchet.clock.now()
        if not documents:
            say.print("no views yet; next: ratchet features create --help")
            return
        lines = table("view", "version", "rows", "watermark", "entities", "label", right=("rows",))
        for view in documents:
            lines.add_row(
                view["view"],
                str(view["version"]),
                f"{view['rows']:,}",
                Text(_day(view["watermark"]), "dim"),
                ", ".join(view["entities"]),
                view["label"] or "",
            )
        say.print(lines)
        say.print(Text(f"as of {now:%Y-%m-%d %H:%M} UTC", "dim"))


@features.command()
def show(context: typer.Context, view: View, as_json: Json = False) -> None:
    """Show a view: its versions, and how far each consumer has come."""
    with opened(context) as ratchet:
        store = store_of(ratchet)
        about = _view_json(store, view)
        history = store.history(view)
        marks = watermarks(ratchet, view)
        if as_json:
            print_json(
                about
                | {
                    "columns": store.declared_columns(view),
                    "versions": [vars(one) | {"at": iso(one.at)} for one in history],
                    "consumers": [watermark_json(mark) for mark in marks],
                }
            )
            return
        say, now = console(), ratchet.clock.now()
        say.print(
            Text.assemble(
                (view, "bold"),
                f"  {about['rows']:,} rows at version {about['version']}, ",
                f"newest row {_day(about['watermark'])}",
            )
        )
        say.print()
        quarantined = {number for mark in marks for number in mark.quarantine}
        lines = table("version", "operation", "rows", "when", "", right=("version", "rows"))
        for version in history:
            bad = version.version in quarantined
            lines.add_row(
                str(version.version),
                version.operation,
                f"{version.rows:,}",
                Text(ago(version.at, now), "dim"),
                Text("in quarantine" if bad else "", "yellow"),
            )
        say.print(lines)
        say.print()
        for mark in marks:
            kept = ", ".join(map(str, mark.quarantine))
            say.print(
                Text(f"{mark.consumer} has read up to version {mark.version}")
                + Text(f", leaving out {kept}" if kept else "", "yellow")
            )
            say_decisions(mark, now)
        if quarantined:
            say.print(Text(f"next: ratchet features release {view}", "dim"))


@features.command()
def create(
    context: typer.Context,
    view: View,
    file: Rows,
    entity: Annotated[list[str], typer.Option(help="Column that says whom a row is about.")],
    event_time: Annotated[str, typer.Option(help="Timestamp column: when a row became true.")],
    label: Annotated[str | None, typer.Option(help="Column to predict.")] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(help="Of times without one, such as Europe/Berlin. Default: UTC."),
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="Column to learn from. Default: all the others.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="COLUMN=TYPE", help="What a column is, such as zip=string."),
    ] = None,
) -> None:
    """Declare a view with the columns of a file, and append the file's rows."""
    with opened(context) as ratchet:
        store = store_of(ratchet)
        read = read_rows(file, named=_named_types(types or []))
        rows = read.rows
        named = {*entity, event_time, label}
        learned = feature or [name for name in rows.column_names if name not in named]
        declared = FeatureView(
            name=view,
            entities=tuple(entity),
            event_time=event_time,
            features=tuple(learned),
            label=label,
            time_zone=time_zone,
        )
        store.create(declared, rows.schema)
        version = store.append(view, rows, key=f"created from {file.name}", now=ratchet.clock.now())
        if read.read_as:
            listed = [f"{column} {kind}" for column, kind in read.read_as.items()]
            more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
            console().print(Text(f"read as: {', '.join(listed[:20])}{more}", "dim"))
        _say_append(declared, version, read)


@features.command()
def append(
    context: typer.Context,
    view: View,
    file: Rows,
    key: Annotated[
        str | None, typer.Option(help="What makes the rows unique; appended once for each key.")
    ] = None,
    merge_schema: Annotated[
        bool, typer.Option("--merge-schema", help="Add new columns, fill missing ones with null.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Append the rows of a file to a view, as one version."""
    with opened(context) as ratchet:
        store = store_of(ratchet)
        declared = store.declared_columns(view)  # none yet: the first rows decide
        read = read_rows(file, store.schema(store.snapshot(view)) if declared else None)
        version = store.append(
            view, read.rows, key=key, merge_schema=merge_schema, now=ratchet.clock.now()
        )
        if as_json:
            print_json({"view": view, "version": version, "rows": read.rows.num_rows})
        else:
            _say_append(store.view(view), version, read)


features.command()(quarantine)
features.command()(release)
features.command()(reset)


def _named_types(given: list[str]) -> dict[str, str]:
    """What `--type COLUMN=TYPE` says."""
    for one in given:
        if "=" not in one:
            raise Refused(f"--type {one} names no type", hint=f"such as --type {one}=string")
    return {column: kind for column, _, kind in (one.rpartition("=") for one in given)}


def _say_append(view: FeatureView, version: int, read: FileRows) -> None:
    say = console()
    for note in read.notes:
        say.print(Text(note, "yellow"))
    say.print(f"{view.name}: {read.rows.num_rows:,} rows are version {version}")
    kind = read.rows.schema.field(view.event_time).type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        zone = view.time_zone or "UTC (another: ratchet features create --time-zone)"
        say.print(Text(f"column {view.event_time} has no time zone; taken for {zone}", "yellow"))
    say.print(Text(f"next: ratchet features show {view.name}", "dim"))


def _view_json(store: FeatureStore, name: str) -> dict[str, Any]:
    view, snapshot = store.view(name), store.snapshot(name)
    return {
        "view": name,
        "version": snapshot.version,
        "rows": snapshot.rows,
        "watermark": iso(snapshot.watermark),
        "entities": list(view.entities),
        "event_time": view.event_time,
        "features": list(view.features),
        "label": view.label,
        "uri": snapshot.uri,
    }


def _day(at: str | None) -> str:
    return "-" if at is None else at[:16].replace("T", " ")
