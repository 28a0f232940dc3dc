"""The scheduler's source of data: the views of a feature store."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import feature_store
from feature_store import FeatureStoreConfig, FeatureStoreError, Version
from feature_store.location import is_local, resolve
from flows.core.errors import ConfigError, DataUnavailable, NotFound
from flows.core.schedule import DataState, Late, NewData

log = logging.getLogger(__name__)

POLL = 5.0
"""Seconds between two looks at what cannot be watched, and at what can, to be sure."""

HANGS = 30.0
"""A watch that has got nowhere for so many seconds, beside its pauses, hangs."""

_LOGS = {"delta": "_delta_log", "parquet": "_versions"}
"""The folder of a table in which each commit is a new file."""

_COMMIT = re.compile(r"\d+\.json")


_MENDED = (feature_store.UnsupportedTable, feature_store.VersionGone)
"""What is mended in the table, without anybody touching the schedule: asked again later."""


class ViewSource:
    """What a feature store tells a scheduler. `connect` is called once for each question."""

    def __init__(self, config: FeatureStoreConfig, *, poll: float = POLL) -> None:
        """`config` with its secrets in place; `poll` is in seconds."""
        self._config = config
        self._poll = poll
        self._on_time: dict[tuple[str, timedelta], dict[int, int]] = {}  # rows by version

    def check(self, view: str) -> None:
        """Raise NotFound, with the nearest name, when there is no such view."""
        with _explained(view, resolve(self._config.uri)):
            self._connect().view(view)

    def state(self, trigger: NewData, since: int | None) -> DataState:
        """What the trigger's view has beyond version `since`; None: everything that is in it.

        Rows are counted as their commits say, without reading any; only to leave out late ones,
        the event times of new rows are read, once for each version.

        Raises:
            NotFound: there is no such view.
            DataUnavailable: the feature store cannot be reached just now.
            ConfigError: it can never be read.
        """
        view = trigger.view
        with _explained(view, resolve(self._config.uri)):
            store = self._connect()
            latest, table = store.latest_version(view), store.table_id(view)
            if since is not None and latest <= since:
                return DataState(
                    version=latest, new_rows=0, first_at=None, last_at=None, table=table
                )
            versions = store.history(view, after=-1 if since is None else since)
            rows = {version.version: version.rows for version in versions}
            if trigger.late is Late.IGNORE and trigger.lateness is not None:
                rows = self._rows_on_time(store, view, since, versions, trigger.lateness)
        new = [version for version in versions if rows[version.version]]
        return DataState(
            version=max([latest, *rows]),
            new_rows=sum(rows.values()),
            first_at=min((version.at for version in new), default=None),
            last_at=max((version.at for version in new), default=None),
            table=table,
        )

    def watch(self, views: Iterable[str], changed: Callable[[str], None]) -> ViewWatch:
        """Call `changed(view)`, from a thread, soon after each commit to one of `views`."""
        return ViewWatch(self._config, tuple(views), changed, self._poll)

    def _connect(self) -> feature_store.FeatureStore:
        return feature_store.connect(self._config)

    def _rows_on_time(
        self,
        store: feature_store.FeatureStore,
        view: str,
        since: int | None,
        versions: Sequence[Version],
        lateness: timedelta,
    ) -> dict[int, int]:
        """Rows by version, without those that were older than `lateness` when they came."""
        before = self._on_time.get((view, lateness), {})
        counted = {v.version: before[v.version] for v in versions if v.version in before}
        unknown = {v.version: v.at for v in versions if v.rows and v.version not in counted}
        if unknown:
            snapshot = store.snapshot(view, version=max(unknown), since=since)
            event_time = store.view(view).event_time
            parts = store.changes(snapshot)
            for version, at in unknown.items():
                own = [part for part in parts if part.version == version]
                table = store.read(snapshot, [event_time], parts=own) if own else None
                counted[version] = 0 if table is None else _newer(table, at - lateness)
        self._on_time[view, lateness] = counted
        return {v.version: counted.get(v.version, 0) for v in versions}


class ViewWatch:
    """A thread that says which views were committed to: told by the file system, or by polling."""

    def __init__(
        self,
        config: FeatureStoreConfig,
        views: tuple[str, ...],
        changed: Callable[[str], None],
        poll: float,
    ) -> None:
        self._config = config
        self._call = changed
        self._closing = threading.RLock()
        self._poll = poll
        self._seen: dict[str, tuple[Version, ...]] = {}
        self._views = views
        self._stop = threading.Event()
        self._moved = time.monotonic()  # when the thread last got on
        self._thread = threading.Thread(target=self._run, name="ratchet-views", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; nothing is called after this has returned, though a storage may not answer."""
        with self._closing:
            self._stop.set()

    def hangs(self) -> bool:
        """Whether the storage has not answered for a while."""
        return time.monotonic() - self._moved > HANGS + self._poll

    def _changed(self, view: str) -> None:
        with self._closing:
            if not self._stop.is_set():
                self._call(view)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
                folders = self._folders()
                if folders:
                    self._watch(folders)
                else:
                    self._stop.wait(self._poll)
            except Exception as error:  # the folder was removed, too many watches, ...
                log.warning("new data is polled every %g s, not watched: %s", self._poll, error)
                self._stop.wait(self._poll)

    def _look(self) -> None:
        """Say which views have another newest version than at the last look.

        A view that was removed and made anew may have the same number, but not the same moment.
        """
        store = feature_store.connect(self._config)
        for view in self._views:
            self._moved = time.monotonic()
            try:
                newest = store.history(view, after=store.latest_version(view) - 1)
            except FeatureStoreError as error:  # the scheduler finds out when it looks itself
                log.debug("view %s cannot be looked at: %s", view, error)
                newest = ()
            if view not in self._seen or self._seen[view] != newest:
                self._seen[view] = newest
                self._changed(view)

    def _folders(self) -> dict[Path, str]:
        """The folders of commits that can be watched now, and whose they are."""
        root = resolve(self._config.uri)
        if not is_local(root):
            return {}
        log_of = _LOGS[self._config.format]
        logs = {Path(root, view, log_of): view for view in self._views}
        return {folder: view for folder, view in logs.items() if folder.is_dir()}

    def _watch(self, folders: dict[Path, str]) -> None:
        """Watch until there are other folders to watch, or the end."""
        import watchfiles

        changes = watchfiles.watch(
            *folders,
            watch_filter=lambda _, path: _COMMIT.fullmatch(Path(path).name) is not None,
            debounce=50,
            step=20,
            stop_event=self._stop,
            rust_timeout=int(self._poll * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
        )
        for changed in changes:
            self._moved = time.monotonic()
            for view in {folders[Path(path).parent] for _, path in changed}:
                self._changed(view)
            if not changed:
                self._look()
            if self._folders().keys() != folders.keys():
                return


def _newer(table: object, than: datetime) -> int:
    """Rows of a table of one column of times that are not before `than`, or unknown."""
    import pyarrow as pa
    import pyarrow.compute as pc

    assert isinstance(table, pa.Table)
    times = table.column(0).cast(pa.timestamp("us", tz="UTC"))
    bound = pa.scalar(than.astimezone(UTC), pa.timestamp("us", tz="UTC"))
    on_time = pc.fill_null(pc.greater_equal(times, bound), True)
    return int(pc.sum(on_time).as_py() or 0)


@contextmanager
def _explained(view: str, root: str) -> Iterator[None]:
    """The feature store's errors as the scheduler knows them."""
    try:
        yield
    except (feature_store.UnknownView, feature_store.UndeclaredView) as error:
        if is_local(root) and not Path(root).is_dir():  # a disk that is not mounted just now
            hint = f"is its disk mounted? {error.hint}"
            raise DataUnavailable(f"there is no feature store at {root}", hint=hint) from error
        raise NotFound(str(error), hint=error.hint) from error
    except FeatureStoreError as error:
        kind = (
            ConfigError if error.permanent and not isinstance(error, _MENDED) else DataUnavailable
        )
        raise kind(f"view {view}: {error}", hint=error.hint) from error
