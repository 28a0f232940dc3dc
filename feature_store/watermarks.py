"""How far each consumer has come in each view, and which versions it put in quarantine.

Each step is a small file of its own and the state is the join of all files: the highest version,
the union of the quarantines. So there is nothing to lock, a crash between two steps changes
nothing, and any object store will do. A file that the newest one covers is removed.

Version numbers mean something within one table only, so each file says which table it is about:
a table that was made anew under the same name starts without watermarks. So does a consumer that
was reset: what was written before a reset no longer counts.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote, unquote

import feature_store
from feature_store.config import FeatureStoreConfig
from feature_store.errors import InvalidConfig
from feature_store.location import Documents, resolve
from feature_store.snapshot import Snapshot

_FOLDER = "_watermarks"
_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Who put versions in quarantine, released them, or reset a watermark, and why."""

    action: str
    """`quarantine`, `release` or `reset`."""
    versions: tuple[int, ...] = ()
    """The versions; of a reset, the one that counts as the last read (none: all rows are new)."""
    actor: str
    """A person, or `flow NAME`."""
    reason: str
    """In one sentence."""
    at: str
    """When (ISO 8601, UTC)."""

    @classmethod
    def made(
        cls, action: str, versions: Iterable[int], *, actor: str, reason: str, now: datetime
    ) -> Self:
        """What somebody decides now."""
        numbers = tuple(sorted({*versions}))
        return cls(action=action, versions=numbers, actor=actor, reason=reason, at=now.isoformat())


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """How far one consumer has come in one view."""

    view: str
    """Name of the view."""
    consumer: str
    """Who reads it: a flow or a model."""
    version: int
    """Last version that the consumer is done with; 0 when it only has a quarantine."""
    quarantine: tuple[int, ...] = ()
    """Versions that the consumer must leave out, ascending."""
    released: tuple[int, ...] = ()
    """Versions that were in quarantine once, ascending; the loop cannot return them to it."""
    table: str | None = None
    """Id of the table that the versions are of; None: written before ids were kept."""
    resets: int = 0
    """How often it was reset."""
    decisions: tuple[Decision, ...] = ()
    """What was decided, oldest first."""


class Watermarks:
    """The watermarks of a feature store, each of the table that the view has now.

    - Atomic: an advance is seen whole or not at all.
    - Monotone, but for a reset: a version lower than the present one changes nothing; quarantines
      only add up.
    - Idempotent: the same advance twice is one advance; concurrent ones all count.
    """

    def __init__(self, config: FeatureStoreConfig) -> None:
        self._config = config

    def get(self, view: str, consumer: str) -> Watermark | None:
        """Return a consumer's watermark, or None when it never advanced in this table."""
        state, _ = self._load(view, consumer, self._table(view))
        return state

    def consumers(self, view: str) -> tuple[str, ...]:
        """Who has a watermark in the view, or had one in an earlier table, sorted."""
        folder = f"{_FOLDER}/{quote(view, safe='')}"
        return tuple(sorted(unquote(name) for name in self._documents().names(folder, "")))

    def advance(
        self,
        view: str,
        consumer: str,
        version: int,
        *,
        quarantine: tuple[int, ...] = (),
        table: str | None = None,
    ) -> Watermark:
        """Move the watermark up to `version`, add to the quarantine, and return the outcome.

        `table`: the table that these versions are of; by default the one that is there now.
        """
        if version < 0:
            raise InvalidConfig(f"a watermark cannot be at version {version}")
        step = Watermark(
            view=view,
            consumer=consumer,
            version=version,
            quarantine=quarantine,
            table=table or self._table(view),
        )
        return self._add(step)

    def set_aside(
        self, snapshot: Snapshot, consumer: str, *, actor: str, reason: str, now: datetime
    ) -> Watermark:
        """Put what a snapshot has beyond the watermark in quarantine, and move the watermark up.

        For a loop whose checks failed: the versions that brought rows, and which rows, are noted.
        """
        view, seen = snapshot.view, self.get(snapshot.view, consumer)
        undecided = range(seen.version + 1 if seen else 0, snapshot.version + 1)
        bad = feature_store.connect(self._config).set_aside(view, undecided)
        made = Decision.made("quarantine", bad, actor=actor, reason=reason, now=now)
        step = Watermark(
            view=view,
            consumer=consumer,
            version=snapshot.version,
            quarantine=bad,
            table=snapshot.table or self._table(view),
            decisions=(made,),
        )
        return self._add(step)

    def quarantine(
        self, view: str, consumer: str, versions: tuple[int, ...], decision: Decision
    ) -> Watermark:
        """Have a person put versions in quarantine, also released ones.

        The rows that they brought are noted first, so that no later rewrite of the table can hide
        them.
        """
        feature_store.connect(self._config).set_aside(view, versions)
        table = self._table(view)
        before, _ = self._load(view, consumer, table)
        start = before or Watermark(view=view, consumer=consumer, version=0, table=table)
        again = set(versions) & set(start.released)
        return self._add(
            replace(
                start,
                quarantine=(*start.quarantine, *versions),
                released=tuple(number for number in start.released if number not in again),
                resets=start.resets + bool(again),
                decisions=(*start.decisions, decision),
            )
        )

    def release(
        self,
        view: str,
        consumer: str,
        versions: tuple[int, ...],
        decision: Decision | None = None,
    ) -> Watermark:
        """Let repaired versions out of quarantine, for good."""
        step = Watermark(
            view=view,
            consumer=consumer,
            version=0,
            released=versions,
            table=self._table(view),
            decisions=() if decision is None else (decision,),
        )
        return self._add(step)

    def reset(self, view: str, consumer: str, version: int, decision: Decision) -> Watermark:
        """Set the watermark to a version, also an earlier one; 0: all rows are new again.

        The quarantine stays as it is: `release` ends it.
        """
        table = self._table(view)
        before, _ = self._load(view, consumer, table)
        start = before or Watermark(view=view, consumer=consumer, version=0, table=table)
        decisions = (*start.decisions, decision)
        return self._add(
            replace(start, version=version, resets=start.resets + 1, decisions=decisions)
        )

    def _table(self, view: str) -> str | None:
        return feature_store.connect(self._config).table_id(view)

    def _is_another(self, step: Watermark) -> bool:
        """Whether the step is of a table that has been replaced by another since."""
        present = self._table(step.view)
        return None not in (present, step.table) and present != step.table

    def _add(self, step: Watermark) -> Watermark:
        if self._is_another(step):
            return step
        before, files = self._load(step.view, step.consumer, step.table)
        if before is not None and not step.resets:
            step = replace(step, resets=before.resets)
        after = _join(before, step)
        if after == before:
            return after
        document = asdict(after)
        text = json.dumps(document, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        folder = _folder(step.view, step.consumer)
        documents = self._documents()
        name = f"{after.version:020}-{digest}{_SUFFIX}"
        documents.write(f"{folder}/{name}", document)
        # `after` covers every file that was read; one written meanwhile is not among them.
        for covered in files:
            if covered != name:
                documents.remove(f"{folder}/{covered}")
        return after

    def _load(
        self, view: str, consumer: str, table: str | None
    ) -> tuple[Watermark | None, tuple[str, ...]]:
        """The state in a table; and all files there were, which a newer one covers."""
        documents, folder = self._documents(), _folder(view, consumer)
        while True:
            names, state = documents.names(folder, _SUFFIX), None
            for name in names:
                document = documents.read(f"{folder}/{name}")
                if document is None:
                    break  # covered and removed since we listed: the newer file tells more
                step = _from_document(view, consumer, document)
                if None in (step.table, table) or step.table == table:
                    state = _join(state, step)
            else:
                return state, names

    def _documents(self) -> Documents:
        return Documents(resolve(self._config.uri))


def _folder(view: str, consumer: str) -> str:
    return f"{_FOLDER}/{quote(view, safe='')}/{quote(consumer, safe='')}"


def _from_document(view: str, consumer: str, document: dict[str, Any]) -> Watermark:
    return Watermark(
        view=view,
        consumer=consumer,
        version=int(document["version"]),
        quarantine=tuple(document["quarantine"]),
        released=tuple(document["released"]),
        table=document.get("table"),
        resets=document.get("resets", 0),
        decisions=tuple(
            Decision(**{**one, "versions": tuple(one["versions"])})
            for one in document.get("decisions", ())
        ),
    )


def _join(left: Watermark | None, right: Watermark) -> Watermark:
    if left is None or left.resets < right.resets:
        left = Watermark(view=right.view, consumer=right.consumer, version=0, resets=right.resets)
    elif left.resets > right.resets:
        return left
    released = {*left.released, *right.released}
    return Watermark(
        view=right.view,
        consumer=right.consumer,
        version=max(left.version, right.version),
        quarantine=tuple(sorted({*left.quarantine, *right.quarantine} - released)),
        released=tuple(sorted(released)),
        table=right.table or left.table,
        resets=right.resets,
        decisions=_in_order((*left.decisions, *right.decisions)),
    )


def _in_order(decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    return tuple(sorted(set(decisions), key=lambda one: (one.at, one.action, one.versions)))
