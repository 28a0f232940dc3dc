"""What ledger and alias say together, for every case."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import create_autospec

import pytest

from registry.champion import refuse_outsider, status_of, status_seen
from registry.errors import OutsiderChange
from registry.ledger import Action, Ledger, LedgerEntry
from registry.registered import Registered

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def head(settled: bool, previous: str | None = "6") -> LedgerEntry:
    return LedgerEntry(
        model="digits",
        version="7",
        previous_version=previous,
        action=Action.PROMOTE,
        verdict=None,
        run_id="r",
        actor="me",
        reason="better",
        at=NOW,
        epoch=12,
        prev_hash="",
        hash="",
        settled_at=NOW if settled else None,
    )


def seen(alias: str | None, digests: dict[str, str | None] | None = None) -> Registered:
    known = {"7": None} if digests is None else digests
    return Registered(aliases={"champion": alias} if alias else {}, tags={}, digests=known)


@pytest.mark.parametrize(
    ("entry", "alias", "outsider"),
    [
        (None, None, None),
        (None, "3", "3"),
        (head(settled=True), "7", None),
        (head(settled=True), "6", "6"),
        (head(settled=True), "9", "9"),
        (head(settled=True), None, "none"),
        (head(settled=False), "7", None),
        (head(settled=False), "6", None),
        (head(settled=False), "9", "9"),
        (head(settled=False), None, "none"),
        (head(settled=False, previous=None), None, None),
    ],
)
def test_an_outsider_is_whoever_set_what_the_ledger_does_not_explain(
    entry: LedgerEntry | None, alias: str | None, outsider: str | None
) -> None:
    status = status_of("digits", entry, seen(alias))
    assert status.outsider == outsider
    assert status.version == (None if entry is None else "7")
    if outsider is None:
        refuse_outsider(status)
    else:
        with pytest.raises(OutsiderChange, match="somebody else") as caught:
            refuse_outsider(status)
        out = "--restore" if outsider == "none" else "--adopt"
        assert out in str(caught.value.hint)


def test_a_promotion_while_somebody_looks_is_no_outsiders() -> None:
    heads = [head(settled=True, previous=None), replace(head(settled=True), version="8", epoch=13)]
    ledger: Any = create_autospec(Ledger, instance=True)
    ledger.head.side_effect = [heads[0], heads[1], heads[1]]

    def look(model: str, version: str | None = None) -> Registered:
        return Registered(aliases={"champion": "8"}, tags={}, digests={version or "": None})

    status = status_seen("digits", ledger, look)
    assert (status.version, status.outsider) == ("8", None)


def test_json_has_the_stable_keys() -> None:
    shown = status_of("digits", head(settled=True), seen("7")).to_json()
    assert shown["version"] == "7"
    assert shown["at"] == "2026-05-01T00:00:00+00:00"
    assert {"model", "epoch", "settled", "outsider"} <= shown.keys()
