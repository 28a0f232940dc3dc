"""One command leads out of every state that MLflow can be brought into."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from registry import (
    Action,
    ChampionUnloadable,
    ExportFailed,
    OutsiderChange,
    PromotionRefused,
    Registry,
    Tie,
    TiedElsewhere,
    Verdict,
    connect,
)
from registry import registry as facade
from registry.champion import Alias, Gone
from registry.ledger import Ledger

Verdicts = Callable[..., Verdict]
Versions = Callable[[int], list[str]]
Promoted = Callable[[int], None]


@pytest.fixture
def client(registry: Registry) -> Any:
    return registry.tracking._seam.client


@pytest.fixture
def promoted(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime, client: Any
) -> Promoted:
    """So many versions, each with its digest, promoted one after another."""

    def make(count: int) -> None:
        for epoch, version in enumerate(versions(count)):
            client.set_model_version_tag("digits", version, "ratchet.digest", f"files of {version}")
            registry.promote(verdict(version, epoch), actor="me", now=now)

    return make


def alias(client: Any) -> str | None:
    found = client.get_registered_model("digits").aliases.get("champion")
    return None if found is None else str(found)


def by(now: datetime) -> dict[str, Any]:
    return {"actor": "ann", "reason": "it is gone", "now": now}


def hint(call: Callable[[], object]) -> str:
    with pytest.raises((PromotionRefused, ChampionUnloadable)) as caught:
        call()
    assert caught.value.hint is not None
    return caught.value.hint


def test_a_deleted_champion_is_left_by_a_rollback(
    registry: Registry, promoted: Promoted, verdict: Verdicts, now: datetime, client: Any
) -> None:
    promoted(3)
    client.delete_model_version("digits", "3")
    for look in (registry.champion, registry.champion_seen):
        status = look("digits")
        assert (status.version, status.outsider, status.gone) == ("3", "none", Gone.VERSION)
    for refused in (
        lambda: registry.promote(verdict("2", 3, run="r"), actor="me", now=now),
        lambda: registry.load_champion("digits"),
        lambda: registry.restore("digits", **by(now)),
        lambda: registry.adopt("digits", **by(now)),
    ):
        assert "ratchet rollback digits" in hint(refused)
    entry = registry.rollback("digits", **by(now))
    assert (entry.action, entry.version, alias(client)) == (Action.ROLLBACK, "2", "2")
    assert registry.champion("digits").sound
    assert registry.rollback("digits", **by(now)) == entry
    assert registry.verify("digits") is None


def test_deleted_champions_before_it_are_passed_over(
    registry: Registry, promoted: Promoted, now: datetime, client: Any
) -> None:
    promoted(3)
    client.delete_model_version("digits", "3")
    client.delete_model_version("digits", "2")
    assert registry.rollback("digits", **by(now)).version == "1"


def test_the_only_champion_deleted_is_left_by_going_on_without_one(
    registry: Registry, promoted: Promoted, verdict: Verdicts, now: datetime, client: Any
) -> None:
    promoted(1)
    client.delete_model_version("digits", "1")
    client.create_model_version("digits", "file:///nowhere")
    assert "--retire" in hint(lambda: registry.rollback("digits", **by(now)))
    entry = registry.retire("digits", **by(now))
    assert registry.retire("digits", **by(now)) == entry
    status = registry.champion("digits")
    assert (status.version, status.epoch, status.sound, status.settled) == (None, 2, True, True)
    assert registry.load_champion("digits") is None
    assert registry.export("digits") is None
    registry.promote(replace(verdict("2", 2), champion=None), actor="me", now=now)
    assert alias(client) == "2"


def test_a_retired_champion_comes_back_by_a_rollback(
    registry: Registry, promoted: Promoted, now: datetime, client: Any
) -> None:
    promoted(2)
    registry.retire("digits", **by(now))
    assert alias(client) is None
    assert registry.rollback("digits", **by(now)).version == "2"


def test_a_model_that_was_renamed_is_left_by_its_old_name(
    registry: Registry, promoted: Promoted, now: datetime, client: Any
) -> None:
    promoted(2)
    client.rename_registered_model("digits", "numbers")
    assert registry.champion("digits").gone is Gone.MODEL
    assert "--retire" in hint(lambda: registry.rollback("digits", **by(now)))
    registry.retire("digits", **by(now))
    assert registry.champion("digits").sound


def test_a_version_of_a_model_made_anew_is_not_taken_for_the_champion(
    registry: Registry, promoted: Promoted, versions: Versions, now: datetime, client: Any
) -> None:
    promoted(2)
    client.delete_registered_model("digits")
    for version in versions(2):
        client.set_model_version_tag("digits", version, "ratchet.digest", "other files")
    client.set_registered_model_alias("digits", "champion", "2")
    for look in (registry.champion, registry.champion_seen):
        assert (look("digits").outsider, look("digits").gone) == (None, Gone.REPLACED)
    assert "--adopt" in hint(lambda: registry.load_champion("digits"))
    entry = registry.adopt("digits", **by(now))
    assert (entry.version, entry.digest) == ("2", "other files")
    assert registry.champion("digits").sound
    assert registry.verify("digits") is None


def test_a_removed_alias_is_left_by_a_rollback_too(
    registry: Registry, promoted: Promoted, now: datetime, client: Any
) -> None:
    promoted(2)
    client.delete_registered_model_alias("digits", "champion")
    assert registry.rollback("digits", **by(now)).version == "1"
    assert alias(client) == "1"


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_pending_promotion_whose_version_was_deleted_stops_nothing(
    registry: Registry,
    promoted: Promoted,
    verdict: Verdicts,
    now: datetime,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoted(2)
    client.create_model_version("digits", "file:///nowhere")

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Alias, "move", killed)
        with pytest.raises(Killed):
            registry.promote(verdict("3", 2), actor="me", now=now)
    client.delete_model_version("digits", "3")
    (status,) = registry.reconcile(now=now)
    assert (status.settled, status.gone) == (False, Gone.VERSION)
    with pytest.raises(OutsiderChange, match=r"version 3 .* was deleted in MLflow"):
        registry.promote(verdict("3", 2), actor="me", now=now)
    assert registry.rollback("digits", **by(now)).version == "2"
    assert (registry.champion("digits").sound, alias(client)) == (True, "2")


def test_a_rollback_whose_export_failed_goes_back_once(
    registry: Registry,
    promoted: Promoted,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoted(3)

    def fails(*_: object) -> str:
        raise ExportFailed("The folder is full.")

    monkeypatch.setattr(facade.Registry, "export", fails)
    for _ in range(2):
        with pytest.raises(ExportFailed):
            registry.rollback("digits", **by(now))
    assert registry.champion("digits").version == "2"
    assert registry.rollback_target("digits") is None
    assert registry.rollback_target("digits", "1") == "1"


def test_reconcile_exports_what_a_crash_left_behind(
    registry: Registry,
    config: Any,
    tmp_path: Any,
    now: datetime,
    promoted: Promoted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoted(1)
    with connect(replace(config, export_uri=f"{tmp_path}/out")) as exporting:
        told: list[str] = []
        monkeypatch.setattr(facade.Registry, "export", lambda _, model: told.append(model))
        exporting.reconcile(now=now)
    assert told == ["digits"]


def test_what_was_rolled_back_from_is_not_promoted_until_it_is_released(
    registry: Registry, promoted: Promoted, verdict: Verdicts, now: datetime
) -> None:
    promoted(2)
    registry.rollback("digits", **by(now))
    assert "rolled back from" in registry.refused("digits")["2"]
    with pytest.raises(PromotionRefused, match="Version 2 of digits was rolled back") as refused:
        registry.promote(verdict("2", 3, run="later"), actor="me", now=now)
    assert "ratchet release digits 2" in str(refused.value.hint)
    assert registry.release("digits", "2", **by(now))
    assert not registry.release("digits", "2", **by(now))
    assert registry.refused("digits") == {}
    assert registry.verify("digits") is None
    registry.promote(verdict("2", 3, run="later"), actor="me", now=now)
    registry.rollback("digits", **by(now))
    assert "2" in registry.refused("digits")


def test_of_a_model_made_anew_no_version_stays_away_for_one_of_the_old_that_had_its_number(
    registry: Registry,
    promoted: Promoted,
    versions: Versions,
    verdict: Verdicts,
    now: datetime,
    client: Any,
) -> None:
    promoted(2)
    client.delete_registered_model("digits")
    registry.retire("digits", **by(now))
    assert "2" in registry.refused("digits")
    for version in versions(2):
        client.set_model_version_tag("digits", version, "ratchet.digest", "other files")
    assert registry.refused("digits") == {}
    registry.promote(replace(verdict("2", 3, run="anew"), champion=None), actor="me", now=now)
    assert alias(client) == "2"


def test_a_rollback_to_a_version_that_never_was_champion_has_to_be_forced(
    registry: Registry, promoted: Promoted, now: datetime, client: Any
) -> None:
    promoted(2)
    client.create_model_version("digits", "file:///nowhere")
    assert "--force" in hint(lambda: registry.rollback("digits", "3", **by(now)))
    assert registry.rollback("digits", "3", force=True, **by(now)).version == "3"


def test_of_two_who_append_after_the_same_entry_one_comes_first(
    registry: Registry, promoted: Promoted
) -> None:
    promoted(1)
    from sqlalchemy.exc import IntegrityError

    from registry.ledger import LEDGER, entries_table

    (row,) = registry.entries("digits")
    with registry._engine.begin() as connection:
        found = connection.execute(LEDGER.of("digits")).mappings().one()
        with pytest.raises(IntegrityError):
            connection.execute(entries_table.insert().values({**found, "epoch": row.epoch + 5}))
    assert isinstance(registry._ledger, Ledger)


def test_what_would_be_refused_after_a_training_is_refused_before_it(
    registry: Registry, promoted: Promoted, client: Any
) -> None:
    promoted(2)
    mine, theirs = (Tie(store=name, view="digits", label="digit") for name in ("mine", "theirs"))
    assert registry.ready("digits", mine)
    registry.tie("digits", mine)
    assert registry.ready("digits", mine)
    for call in (registry.ready, registry.tie):
        with pytest.raises(TiedElsewhere):
            call("digits", theirs)
    registry.untie("digits")
    registry.tie("digits", theirs)
    assert registry.ready("digits", theirs)
    client.set_registered_model_alias("digits", "champion", "1")
    with pytest.raises(OutsiderChange):
        registry.ready("digits", theirs)


def test_a_model_that_nobody_knows_may_be_trained(registry: Registry) -> None:
    assert registry.ready("digits", Tie(store="s", view="digits", label=None))
