"""The split by time, as a pure decision over columns: which rows train, which ones judge.

- Mature rows only: ``event_time + label_delay <= now``; the label of a younger row may change.
  Nor a row of before 1900, whose time cannot be.
- The holdout is the newest window of mature rows, cut between two event times, so that rows of
  the same time stay together.
- It starts after the champion's last training row and the gap: neither model has seen it.
- Groups never straddle it: a row in the window whose group already appears before the window is
  left out of both sides.
- Training rows are all the mature rows before the window and the gap. Rows in the gap are on
  neither side: their labels look into the time of the rows that judge (`ray_jobs.gap`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.event_times import EARLIEST
from ray_jobs.features import HoldoutConfig
from ray_jobs.training_errors import UnfitData
from registry.card.words import length

Times = npt.NDArray[np.datetime64]
Mask = npt.NDArray[np.bool_]

_HELD = (np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31T23:59:59", "us"))


@dataclass(frozen=True, kw_only=True)
class Split:
    """Two disjoint sets of rows, and the times that bound them (all bounds included)."""

    train: Mask
    """Rows to train on, one entry per row."""

    holdout: Mask
    """Rows that judge, one entry per row."""

    train_from: datetime
    train_until: datetime
    holdout_from: datetime
    holdout_until: datetime

    immature: int
    """Rows left out because their label may still change."""

    straddling: int
    """Rows left out because their group appears before the holdout, too."""

    between: int
    """Mature rows left out because they lie in the gap."""


def split(
    times: Times,
    config: HoldoutConfig,
    *,
    now: datetime,
    label_delay: timedelta = timedelta(0),
    gap: timedelta = timedelta(0),
    seen_until: datetime | None = None,
    groups: npt.NDArray[np.int64] | None = None,
) -> Split:
    """Split rows by their event `times` (datetime64[us], UTC).

    `seen_until`: end of the gap after the champion's newest training row. `groups`: a code per
    row, negative where the row belongs to none. Raises UnfitData when no side would be left, or
    the holdout has fewer than `config.min_rows` rows.
    """
    mature = (times >= as_time(EARLIEST)) & (times <= as_time(now) - np.timedelta64(label_delay))
    if not mature.any():
        raise UnfitData(
            f"none of the {len(times):,} rows is older than features.label_delay "
            f"({length(label_delay)}): no label is mature at {now:%Y-%m-%d %H:%M}",
            hint="wait for labels to mature, or lower features.label_delay",
        )
    start = _start(np.sort(times[mature]), config, seen_until)
    before, window = mature & (times < start), mature & (times >= start)
    train = before & (times < start - np.timedelta64(gap))
    if not train.any():
        raise UnfitData(
            _all_in_the_gap(times[before], start, gap),
            hint="wait until older rows have piled up, make the holdout smaller "
            "(features.holdout.window, fraction), or set features.holdout.gap to how far the "
            "label really looks ahead",
        )
    holdout = window if groups is None else without_groups_of(groups, before, window)
    rows = int(holdout.sum())
    if rows < config.min_rows:
        raise UnfitData(
            _too_few(rows, int(window.sum()), config, start, seen_until),
            hint="wait for more data, or lower features.holdout.min_rows",
        )
    return Split(
        train=train,
        holdout=holdout,
        train_from=as_datetime(times[train].min()),
        train_until=as_datetime(times[train].max()),
        holdout_from=as_datetime(times[holdout].min()),
        holdout_until=as_datetime(times[holdout].max()),
        immature=len(times) - int(mature.sum()),
        straddling=int(window.sum()) - rows,
        between=int(before.sum()) - int(train.sum()),
    )


def group_codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A number for each group; -1 for a row that belongs to none (null)."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(pc.fill_null(pc.cast(encoded.indices, pa.int64()), -1).to_numpy())


def without_groups_of(groups: npt.NDArray[np.int64], before: Mask, rows: Mask) -> Mask:
    """Those of `rows` whose group has no row in `before`."""
    seen = np.unique(groups[before])
    return np.asarray(rows & ~((groups >= 0) & np.isin(groups, seen)), dtype=np.bool_)


def as_time(moment: datetime) -> np.datetime64:
    """An aware datetime as datetime64[us] in UTC, the unit of every event time here."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


def as_datetime(time: np.datetime64) -> datetime:
    """A datetime64[us] as an aware datetime in UTC, the nearest that Python's dates hold."""
    moment = np.clip(time.astype("datetime64[us]"), *_HELD).item()
    assert isinstance(moment, datetime)
    return moment.replace(tzinfo=UTC)


def _start(ordered: Times, config: HoldoutConfig, seen_until: datetime | None) -> np.datetime64:
    """First event time of the window: nearest to the size asked for, after `seen_until`."""
    first, last = ordered[0], ordered[-1]
    if first == last:
        raise UnfitData(
            f"all {len(ordered):,} mature rows have the same event time, {as_datetime(first)}: "
            "nothing can be held out by time",
            hint="the holdout needs rows of at least two event times",
        )
    start = (
        _window_start(ordered, config.window)
        if config.window is not None
        else _fraction_start(ordered, config.fraction)
    )
    if start == first:
        start = ordered[np.searchsorted(ordered, first, side="right")]
    if seen_until is not None and start <= as_time(seen_until):
        after = int(np.searchsorted(ordered, as_time(seen_until), side="right"))
        if after == len(ordered):
            raise UnfitData(
                f"the champion has seen rows and their labels until {seen_until:%Y-%m-%d %H:%M}, "
                "and no mature row is newer: no row can judge both models",
                hint="wait for newer data whose labels are mature",
            )
        start = max(start, ordered[after])
    return np.datetime64(start)


def _window_start(ordered: Times, window: timedelta) -> np.datetime64:
    inside = ordered > ordered[-1] - np.timedelta64(window)
    return np.datetime64(ordered[np.argmax(inside)])


def _fraction_start(ordered: Times, fraction: float) -> np.datetime64:
    count = len(ordered)
    target = min(max(int(np.ceil(count * fraction)), 1), count - 1)
    at = ordered[count - target]
    early = int(np.searchsorted(ordered, at, side="left"))
    late = int(np.searchsorted(ordered, at, side="right"))
    # Rows of one time stay together: take the boundary nearest to the size asked for.
    nearer = late < count and (early == 0 or target - (count - late) < (count - early) - target)
    return np.datetime64(ordered[late] if nearer else at)


def _all_in_the_gap(before: Times, start: np.datetime64, gap: timedelta) -> str:
    return (
        f"no row is left to train on: the {len(before):,} mature rows before the holdout begin at "
        f"{as_datetime(before.min()):%Y-%m-%d %H:%M}, the holdout at "
        f"{as_datetime(start):%Y-%m-%d %H:%M}, and features.holdout.gap keeps {length(gap)} "
        "between them (by default features.label_delay)"
    )


def _too_few(
    rows: int, window: int, config: HoldoutConfig, start: np.datetime64, seen: datetime | None
) -> str:
    left_out = (
        f" ({window - rows:,} more belong to groups seen in training, which never judge: where the "
        "same ones return, leave features.group out and set gate.cluster)"
        if window > rows
        else ""
    )
    champion = (
        ""
        if seen is None
        else f"; the champion has seen rows and their labels until {seen:%Y-%m-%d %H:%M}"
    )
    return (
        f"the holdout from {as_datetime(start):%Y-%m-%d %H:%M} has {rows:,} rows{left_out}, "
        f"features.holdout.min_rows asks for {config.min_rows:,}{champion}"
    )
