"""What a model's loop has decided on: the versions of its views, kept as watermarks."""

from __future__ import annotations

from collections.abc import Mapping

from feature_store import Snapshot, Watermark, Watermarks
from flows.core.context import current, produced
from flows.core.errors import Skip
from flows.settings import Settings
from ray_jobs import Dataset


def nothing_new(seen: Mapping[str, Watermark | None], again: bool) -> str:
    """Why there is nothing to train on, and what would change that."""
    view, mark = next(iter(seen.items()))
    if again and mark and mark.quarantine:
        return f"no data in {view} outside of quarantine (ratchet features release {view})"
    since = "; ".join(
        f"nothing since version {mark.version}" + (f" of {view}" if len(seen) > 1 else "")
        if mark
        else f"nothing in {view if len(seen) > 1 else 'it'}"
        for view, mark in seen.items()
    )
    return f"no new data in {' and '.join(seen)}: {since} (again=true trains anyway)"


def skip_if_decided(settings: Settings, dataset: Dataset, model: str) -> None:
    """Skip what another run of this model has decided on since this one polled."""
    if current().config.get("again") or current().attempt > 1:  # of what failed here, decide again
        return
    marks = Watermarks(settings.feature_store)
    done = [(source, marks.get(source.view, model)) for source in dataset.sources]
    if all(m and m.table == source.table and m.version >= source.version for source, m in done):
        views = " and ".join(f"{source.view}@{source.version}" for source, _ in done)
        raise Skip(f"another run of {model} has decided on {views} meanwhile")


def advance(settings: Settings, data: Snapshot | Dataset, model: str) -> None:
    """Remember that this model's loop has decided on the views up to the versions of `data`."""
    marks = Watermarks(settings.feature_store)
    for source in data.sources if isinstance(data, Dataset) else (data,):
        marks.advance(source.view, model, source.version, table=source.table)
        produced(f"watermark:{source.view}/{model}", source.version, at=source.watermark)
