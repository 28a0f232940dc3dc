"""What a scheduler is told of the views of every feature store."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from feature_store import FeatureStoreConfig, connect
from flows.adapters import views
from flows.adapters.views import HANGS, POLL, ViewSource
from flows.core.errors import ConfigError, DataUnavailable, NotFound
from flows.core.schedule import Late, NewData

DAY = timedelta(days=1)
METER = NewData(view="meter")
PATIENCE = 60.0  # seconds: far longer than any file system takes


@pytest.fixture
def source(config):
    return ViewSource(config)


@pytest.fixture
def told():
    """The views that were said to have changed, as they come."""
    return queue.Queue()


@pytest.fixture
def watching(told):
    """Starts a watch, and ends it with the test."""
    watches = []

    def start(source, *views):
        watches.append(source.watch(views, told.put))
        return watches[-1]

    yield start
    for watch in watches:
        watch.close()


def drained(told):
    """Take what was said at the start, which is one word for each view."""
    assert told.get(timeout=PATIENCE)


def test_an_unknown_view_names_the_nearest(store, source):
    with pytest.raises(NotFound, match="did you mean 'meter'") as caught:
        source.check("metre")
    assert caught.value.hint
    source.check("meter")


def test_new_rows_are_counted_since_a_version(store, source, rows):
    assert source.state(METER, None).new_rows == 0
    for day, count in enumerate((5, 3, 2)):
        store.append("meter", rows(count, day=day, first=day * 10))
    state = source.state(METER, None)
    assert (state.version, state.new_rows) == (3, 10)
    state = source.state(METER, 1)
    assert (state.version, state.new_rows) == (3, 5)
    history = store.history("meter")
    assert (state.first_at, state.last_at) == (history[2].at, history[3].at)
    nothing = source.state(METER, 3)
    assert (nothing.version, nothing.new_rows, nothing.first_at) == (3, 0, None)


def test_a_restore_adds_nothing_new(store, source, rows):
    store.append("meter", rows(5))
    store.append("meter", rows(5, day=1, first=5))
    store.restore("meter", 1)
    state = source.state(METER, 2)
    assert (state.version, state.new_rows, state.last_at) == (3, 0, None)


def test_a_view_that_was_made_anew_says_its_own_version(store, source, rows):
    store.append("meter", rows(5))
    assert source.state(METER, 9) == source.state(METER, 1)
    assert source.state(METER, 9).version == 1


def test_late_rows_are_left_out_where_they_do_not_count(store, source, rows):
    store.append("meter", rows(4))  # event times of January 2026
    ago = datetime.now(UTC) - datetime(2026, 1, 1, tzinfo=UTC)
    late = source.state(replace(METER, late=Late.IGNORE, lateness=ago - DAY), 0)
    assert (late.version, late.new_rows, late.first_at) == (1, 0, None)
    in_time = source.state(replace(METER, late=Late.IGNORE, lateness=ago + DAY), 0)
    assert (in_time.version, in_time.new_rows) == (1, 4)
    store.append("meter", rows(2, first=4))
    again = source.state(replace(METER, late=Late.IGNORE, lateness=ago + DAY), 0)
    assert (again.version, again.new_rows) == (2, 6)


def test_a_damaged_view_is_an_error_that_stays(store, source, config):
    Path(config.uri, "meter.view.json").write_text("{ not json")
    with pytest.raises(ConfigError, match="view meter"):
        source.state(METER, None)


@pytest.mark.parametrize("place", ["not-mounted", "x" * 300])
def test_a_store_that_is_away_is_an_error_that_passes(tmp_path, place):
    source = ViewSource(FeatureStoreConfig(uri=str(tmp_path / place)))
    with pytest.raises(DataUnavailable):
        source.state(METER, None)


def test_every_view_is_said_at_the_start_and_each_commit_soon(store, source, rows, told, watching):
    watching(source, "meter")
    drained(told)
    for number in range(3):
        store.append("meter", rows(1, first=number))
        assert told.get(timeout=PATIENCE) == "meter"


def test_a_table_that_comes_later_is_watched_from_then_on(store, config, rows, told, watching):
    source = ViewSource(config, poll=0.05)
    shutil.rmtree(Path(config.uri, "meter"))
    watching(source, "meter")
    drained(told)
    for number in range(3):
        store.append("meter", rows(1, first=number))
        assert told.get(timeout=PATIENCE) == "meter"


def test_a_watch_outlives_the_folder_that_it_watches(store, config, view, rows, told, watching):
    source = ViewSource(config, poll=0.05)
    store.append("meter", rows(1))
    watching(source, "meter")
    drained(told)
    shutil.rmtree(Path(config.uri, "meter"))
    assert told.get(timeout=PATIENCE) == "meter"
    store.append("meter", rows(2))
    assert told.get(timeout=PATIENCE) == "meter"


def test_a_view_that_was_made_anew_with_the_same_version_is_said(
    store, config, view, rows, told, watching, monkeypatch, tmp_path
):
    monkeypatch.setattr("flows.adapters.views.is_local", lambda uri: False)
    another = connect(replace(config, uri=str(tmp_path / "another")))
    another.create(view)
    for made in (store, another):
        made.append("meter", rows(1))
    watching(ViewSource(config, poll=0.05), "meter")
    drained(told)
    Path(config.uri, "meter").rename(tmp_path / "old")
    (tmp_path / "another" / "meter").rename(Path(config.uri, "meter"))
    assert told.get(timeout=PATIENCE) == "meter"


def test_what_cannot_be_watched_is_polled(store, config, rows, told, watching, monkeypatch):
    monkeypatch.setattr("flows.adapters.views.is_local", lambda uri: False)
    watching(ViewSource(config, poll=0.05), "meter")
    drained(told)
    store.append("meter", rows(1))
    assert told.get(timeout=PATIENCE) == "meter"


def test_a_watch_whose_storage_does_not_answer_says_that_it_hangs(
    store, source, watching, monkeypatch
):
    asked, go_on, now = threading.Event(), threading.Event(), time.monotonic()

    def hang(*_):
        asked.set()
        go_on.wait(PATIENCE)

    monkeypatch.setattr(type(store), "latest_version", hang)
    watch = watching(source, "meter")
    assert asked.wait(PATIENCE)
    assert not watch.hangs()
    monkeypatch.setattr(views, "time", SimpleNamespace(monotonic=lambda: now + HANGS + POLL + 9))
    assert watch.hangs()
    go_on.set()


def test_nothing_is_said_after_the_watch_is_closed(store, source, rows, told, watching):
    watch = watching(source, "meter")
    drained(told)
    watch.close()
    while not told.empty():
        told.get()
    store.append("meter", rows(1))
    assert told.empty()
