"""Which versions of a model reigned one after another, by its ledger's entries. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from registry.answers import Answer, AnswerKind
from registry.champion import same_files
from registry.errors import PromotionRefused
from registry.ledger import Action, LedgerEntry


def champion_before(
    model: str, entries: Sequence[LedgerEntry], there: Callable[[LedgerEntry], bool]
) -> str:
    """The champion before the present one: not one that was rolled back from, or is gone.

    After a retirement: the one that was retired. Raises PromotionRefused when there is none.
    """
    line: list[LedgerEntry] = []
    for entry in entries:
        known = [one.version for one in line]
        if entry.action is Action.ROLLBACK and entry.version in known:
            del line[known.index(entry.version) + 1 :]
        elif entry.live is not None and (not line or line[-1].version != entry.version):
            line.append(entry)
    live = entries[-1].live
    found = next((one for one in reversed(line) if one.version != live and there(one)), None)
    if found is not None:
        return found.version
    kept = " that is still registered" if len(line) > 1 else ""
    raise PromotionRefused(
        f"{model} had no champion before version {entries[-1].version}{kept}.",
        hint=f"name a version: ratchet rollback {model} --to VERSION --force; or go on without a "
        f"champion: ratchet champion {model} --retire",
    )


def reigned(entries: Iterable[LedgerEntry], version: str, digest: str | None) -> bool:
    """Whether a version, with these files, ever was champion."""
    return any(one.live == version and same_files(one.digest, digest) for one in entries)


def set_aside(entries: Sequence[LedgerEntry], answers: Iterable[Answer]) -> dict[str, LedgerEntry]:
    """The versions that were rolled back from, by the entry of their reign.

    They stay away until they are released, or made live again.
    """
    released = {(one.epoch, one.version) for one in answers if one.answer is AnswerKind.RELEASE}
    aside: dict[str, LedgerEntry] = {}
    for before, entry in zip([None, *entries], entries, strict=False):
        back = entry.action in {Action.ROLLBACK, Action.RETIRE}
        if before is not None and back and before.live not in {None, entry.live}:
            aside[before.version] = before
        if entry.live is not None:
            aside.pop(entry.live, None)
    return {
        version: reign for version, reign in aside.items() if (reign.epoch, version) not in released
    }
