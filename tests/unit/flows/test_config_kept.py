"""A merged config that is kept is what merging would give now, or it is not used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.config import Composer, compose, compose_settings, kept, sources, typed
from flows.config.compose import _Composition
from flows.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Nightly:
    """A flow's own config."""

    model: str
    rows: int = 1


class Merges:
    """How often files were merged."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        merged = _Composition.merged

        def counted(composition: _Composition) -> Any:
            self.count += 1
            return merged(composition)

        monkeypatch.setattr(_Composition, "merged", counted)

    def during(self, action: Callable[[], object]) -> int:
        before = self.count
        action()
        return self.count - before


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> Merges:
    return Merges(monkeypatch)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a home, and with files that count as old enough."""
    monkeypatch.delenv("RATCHET_HOME", raising=False)
    monkeypatch.setattr(sources, "TICK_NS", -(10**18))
    folder = tmp_path / "project"
    (folder / "conf" / "flow").mkdir(parents=True)
    (folder / "conf" / "config.yaml").write_text("defaults: [ratchet, _self_]\nexecutor: inline\n")
    (folder / "conf" / "flow" / "nightly.yaml").write_text("# @package _global_\nmodel: digits\n")
    (folder / ".ratchet").mkdir()
    return folder


def executor(project: Path, *overrides: str) -> str:
    return str(compose(None, None, overrides, project).settings.executor)


def files(project: Path) -> list[Path]:
    return sorted((project / ".ratchet" / "composed").glob("*"))


def test_what_was_merged_once_is_not_merged_again(project: Path, merges: Merges) -> None:
    first = compose("nightly", Nightly, ["rows=2"], project)
    again: list[Any] = []
    count = merges.during(lambda: again.append(compose("nightly", Nightly, ["rows=2"], project)))
    assert (count, again) == (0, [first])
    assert merges.during(lambda: compose("nightly", Nightly, ["rows=3"], project)) == 1
    assert merges.during(lambda: executor(project)) == 1


def test_settings_that_were_validated_once_are_the_same_without_being_validated_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = "alerts: {urls: ['json://a'], throttle: {alerts: 2, window: 90s}}"
    nightly = "schedules: {nightly: {flow: nightly, cron: '0 3 * * *', grace: 2h, missed: skip}}"
    config = project / "conf" / "config.yaml"
    config.write_text(f"{config.read_text()}{alerts}\n{nightly}\n")
    validated = compose(None, None, ["workers.threads=3"], project).settings

    def wrong(*_: object) -> None:
        raise AssertionError("validated again")

    with monkeypatch.context() as patched:
        patched.setattr(typed, "build", wrong)
        assert compose_settings(["workers.threads=3"], project) == validated
    config.write_text(config.read_text().replace("skip", "all"))
    assert compose_settings(["workers.threads=3"], project) != validated


def test_settings_that_other_code_has_kept_are_validated_again(project: Path) -> None:
    validated = compose_settings((), project)
    (file,) = files(project)
    head, body = file.read_text().split("\n", 1)
    data = json.loads(body)
    data["settings"]["unheard_of"] = 1
    body = json.dumps(data)
    changed = json.dumps(json.loads(head) | {"sha256": kept._digest(body)})
    file.write_text(f"{changed}\n{body}")
    assert compose_settings((), project) == validated


def test_a_kept_config_needs_no_hydra(project: Path) -> None:
    executor(project)
    script = (
        f"import sys; from pathlib import Path; from flows.config import compose, sources;"
        f"compose(None, None, (), Path({str(project)!r}));"
        "sys.exit(bool({'hydra', 'omegaconf', 'antlr4'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def edit(project: Path) -> None:
    """Same size, same time, same inode."""
    file = project / "conf" / "config.yaml"
    status = file.stat()
    file.write_text(file.read_text().replace("inline", "thread"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def put_another_in_its_place(project: Path) -> None:
    other = project / "other"
    other.write_text((project / "conf" / "config.yaml").read_text())
    other.replace(project / "conf" / "config.yaml")


def hide_ours(project: Path) -> None:
    (project / "conf" / "store").mkdir()
    (project / "conf" / "store" / "sqlite.yaml").write_text("url: sqlite:///mine.db\n")


def hide_ours_by_a_link(project: Path) -> None:
    folder = project / "elsewhere"
    folder.mkdir()
    (folder / "sqlite.yaml").write_text("url: sqlite:///mine.db\n")
    (project / "conf" / "store").symlink_to(folder)


@pytest.mark.parametrize(
    "change",
    [
        edit,
        put_another_in_its_place,
        hide_ours,
        hide_ours_by_a_link,
        lambda project: (project / "conf" / "config.yaml").unlink(),
        lambda project: shutil.rmtree(project / "conf"),
        lambda project: (project / "conf" / "new.yaml").touch(),
    ],
)
def test_files_that_changed_came_or_went_are_merged_again(
    project: Path, merges: Merges, change: Callable[[Path], object]
) -> None:
    executor(project)
    change(project)

    def look() -> None:
        with suppress(ConfigError):  # there is no executor of the name that `edit` writes
            executor(project)

    assert merges.during(look) == 1


def test_a_file_in_a_linked_folder_that_changed_is_merged_again(project: Path) -> None:
    hide_ours_by_a_link(project)
    before = compose(None, None, (), project).settings.store.url
    (project / "elsewhere" / "sqlite.yaml").write_text("url: sqlite:///hers.db\n")
    assert compose(None, None, (), project).settings.store.url != before


def test_links_in_a_circle_and_to_nowhere_end(project: Path, merges: Merges) -> None:
    (project / "conf" / "loop").symlink_to(project / "conf")
    (project / "conf" / ".#config.yaml").symlink_to("me@host.1234")  # an editor's lock
    executor(project)
    assert merges.during(lambda: executor(project)) == 0


def test_a_file_that_has_just_changed_may_change_again_within_its_clocks_tick(
    project: Path, merges: Merges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TICK_NS", 10**18)
    composer = Composer(project=project)
    for _ in range(2):
        assert merges.during(lambda: executor(project)) == 1
        assert merges.during(lambda: composer.compose(None, None)) == 1
    assert files(project) == []


def test_of_many_who_ask_for_the_same_at_once_one_composes(project: Path) -> None:
    composer = Composer(project=project)
    with ThreadPoolExecutor(16) as pool:
        composed = list(pool.map(lambda _: composer.compose(None, None), range(16)))
    assert all(each is composed[0] for each in composed)


def test_a_file_that_changes_while_it_is_merged_is_not_taken_for_what_was_merged(
    project: Path, merges: Merges, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = _Composition.merged

    def slow(composition: _Composition) -> Any:
        result = merged(composition)
        (project / "conf" / "config.yaml").write_text("defaults: [ratchet]\nexecutor: threads\n")
        return result

    monkeypatch.setattr(_Composition, "merged", slow)
    assert executor(project) == "inline"
    monkeypatch.setattr(_Composition, "merged", merged)
    assert executor(project) == "threads"


def test_variables_that_were_read_are_read_again(
    project: Path, merges: Merges, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = project / "conf" / "config.yaml"
    config.write_text("defaults: [ratchet, _self_]\nexecutor: ${oc.env:WHERE,inline}\n")
    assert executor(project) == "inline"
    monkeypatch.setenv("WHERE", "threads")
    assert executor(project) == "threads"
    monkeypatch.setenv("NOBODY_READS", "this")
    assert merges.during(lambda: executor(project)) == 0
    monkeypatch.delenv("WHERE")
    assert executor(project) == "inline"


@pytest.mark.parametrize(
    "text",
    [
        "model: ${now:%H}",
        "model: ${oc.env:'A'}",
        "model: ${oc.env:${which}}\nwhich: HOME",
        "model: a${${which}:HOME}\nwhich: oc.env",
        "model: ${python_version:}",
    ],
)
def test_what_may_be_another_value_next_time_is_not_kept(
    project: Path, merges: Merges, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", "b")
    (project / "conf" / "flow" / "nightly.yaml").write_text(f"# @package _global_\n{text}\n")

    def look() -> None:
        with suppress(ConfigError):  # some are refused
            compose("nightly", Nightly, (), project)

    for _ in range(2):
        assert merges.during(look) == 1


def test_a_flows_config_is_typed_anew_by_the_code_of_now(project: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Tomorrow:
        name: str

    compose("nightly", Nightly, (), project)
    with pytest.raises(ConfigError, match=r"no setting model \(conf/flow/nightly.yaml, line 2\)"):
        compose("nightly", Tomorrow, (), project)


def test_a_mistake_is_found_again_and_not_kept(project: Path) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match="did you mean executor"):
            executor(project, "executr=inline")
    assert files(project) == []


@pytest.mark.parametrize("content", ["", "{}", "[]\n{}", "null\nnull", "\x00", "{}\n{}", None])
def test_a_kept_file_that_is_broken_is_made_anew(
    project: Path, merges: Merges, content: str | None
) -> None:
    executor(project)
    (file,) = files(project)
    whole = file.read_text()
    file.write_text(whole.replace("inline", "thread") if content is None else content)
    assert executor(project) == "inline"
    assert file.read_text() == whole


def test_a_kept_file_that_others_may_write_is_not_read(project: Path, merges: Merges) -> None:
    executor(project)
    (file,) = files(project)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    file.chmod(0o620)
    assert merges.during(lambda: executor(project)) == 1
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_secret_is_kept(project: Path, merges: Merges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "s3cr3t")
    config = project / "conf" / "config.yaml"
    config.write_text("defaults: [ratchet, _self_]\napi: {webhook_secret: '${secret:HOOK}'}\n")
    executor(project)
    (file,) = files(project)
    assert "secret:HOOK" in file.read_text()
    assert "s3cr3t" not in file.read_text()


def test_a_home_that_cannot_be_written_or_is_not_there_only_costs_time(
    project: Path, merges: Merges
) -> None:
    (project / ".ratchet").rmdir()
    for _ in range(2):
        assert merges.during(lambda: executor(project)) == 1
    assert not (project / ".ratchet").exists()
    (project / ".ratchet").mkdir()
    (project / ".ratchet" / "composed").write_text("in the way")
    for _ in range(2):
        assert merges.during(lambda: executor(project)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "home: {home}",
        "home: {home}  # ours",
        "home: ${{oc.env:RATCHET_HOME,{home}}}",
        "home: ${{oc.env:MY_HOME,{home}}}",
    ],
)
def test_a_home_that_the_config_names_is_where_it_is_kept(
    project: Path, tmp_path: Path, merges: Merges, line: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    config = project / "conf" / "config.yaml"
    config.write_text(f"defaults: [ratchet, _self_]\n{line.format(home=home)}\n")
    executor(project)
    assert merges.during(lambda: executor(project)) == 0
    assert len(list((home / "composed").iterdir())) == 1
    assert files(project) == []


def test_a_home_that_is_named_in_another_way_only_costs_time(
    project: Path, tmp_path: Path, merges: Merges
) -> None:
    for _ in range(2):
        assert merges.during(lambda: executor(project, f"home={tmp_path}")) == 1
    assert not (tmp_path / "composed").exists()


def test_the_oldest_go(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    for number in range(5):
        executor(project, f"workers.threads={number + 1}")
    assert len(files(project)) == 3


def test_many_at_once_get_what_is_right(project: Path) -> None:
    start, results = threading.Barrier(8), []

    def one(number: int) -> None:
        start.wait()
        for _ in range(3):
            threads = compose(None, None, [f"workers.threads={number % 2 + 1}"], project)
            results.append((number % 2 + 1, threads.settings.workers.threads))

    workers = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 24
    assert all(wanted == threads for wanted, threads in results)
    assert all(json.loads(file.read_text().splitlines()[1]) for file in files(project))
