"""How far each consumer has come in each view, and which versions it put in quarantine.

Each advance is a small file of its own and the state is the join of all files: the highest
version, the union of the quarantines. So there is nothing to lock, a crash between two steps
changes nothing, and any object store will do. A file that the newest one covers is removed.
"""

import hashlib
import json
from dataclasses import dataclass
from urllib.parse import quote, unquote

from feature_store.config import FeatureStoreConfig
from feature_store.errors import InvalidConfig
from feature_store.location import Documents, resolve

_FOLDER = "_watermarks"
_SUFFIX = ".json"


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
    """Versions that were in quarantine once, ascending; they cannot return to it."""


class Watermarks:
    """The watermarks of a feature store.

    - Atomic: an advance is seen whole or not at all.
    - Monotone: a version lower than the present one changes nothing; quarantines only add up.
    - Idempotent: the same advance twice is one advance; concurrent ones all count.
    """

    def __init__(self, config: FeatureStoreConfig) -> None:
        self._config = config

    def get(self, view: str, consumer: str) -> Watermark | None:
        """Return a consumer's watermark, or None when it never advanced."""
        state, _ = self._load(view, consumer)
        return state

    def consumers(self, view: str) -> tuple[str, ...]:
        """Who has a watermark in the view, sorted."""
        folder = f"{_FOLDER}/{quote(view, safe='')}"
        return tuple(sorted(unquote(name) for name in self._documents().names(folder, "")))

    def advance(
        self, view: str, consumer: str, version: int, *, quarantine: tuple[int, ...] = ()
    ) -> Watermark:
        """Move the watermark up to `version`, add to the quarantine, and return the outcome."""
        if version < 0:
            raise InvalidConfig(f"a watermark cannot be at version {version}")
        step = Watermark(view=view, consumer=consumer, version=version, quarantine=quarantine)
        return self._add(step)

    def release(self, view: str, consumer: str, versions: tuple[int, ...]) -> Watermark:
        """Let repaired versions out of quarantine, for good."""
        step = Watermark(view=view, consumer=consumer, version=0, released=versions)
        return self._add(step)

    def _add(self, step: Watermark) -> Watermark:
        before, files = self._load(step.view, step.consumer)
        after = _join(before, step)
        if after == before:
            return after
        text = json.dumps([after.version, after.quarantine, after.released])
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        folder = _folder(step.view, step.consumer)
        documents = self._documents()
        name = f"{after.version:020}-{digest}{_SUFFIX}"
        documents.write(
            f"{folder}/{name}",
            {
                "view": after.view,
                "consumer": after.consumer,
                "version": after.version,
                "quarantine": list(after.quarantine),
                "released": list(after.released),
            },
        )
        # `after` covers every file that was read; one written meanwhile is not among them.
        for covered in files:
            if covered != name:
                documents.remove(f"{folder}/{covered}")
        return after

    def _load(self, view: str, consumer: str) -> tuple[Watermark | None, tuple[str, ...]]:
        documents, folder = self._documents(), _folder(view, consumer)
        while True:
            names = documents.names(folder, _SUFFIX)
            state: Watermark | None = None
            for name in names:
                document = documents.read(f"{folder}/{name}")
                if document is None:
                    break  # covered and removed since we listed: the newer file tells more
                state = _join(
                    state,
                    Watermark(
                        view=view,
                        consumer=consumer,
                        version=int(document["version"]),
                        quarantine=tuple(document["quarantine"]),
                        released=tuple(document["released"]),
                    ),
                )
            else:
                return state, names

    def _documents(self) -> Documents:
        return Documents(resolve(self._config.uri))


def _folder(view: str, consumer: str) -> str:
    return f"{_FOLDER}/{quote(view, safe='')}/{quote(consumer, safe='')}"


def _join(left: Watermark | None, right: Watermark) -> Watermark:
    base = left or Watermark(view=right.view, consumer=right.consumer, version=0)
    released = {*base.released, *right.released}
    return Watermark(
        view=right.view,
        consumer=right.consumer,
        version=max(base.version, right.version),
        quarantine=tuple(sorted({*base.quarantine, *right.quarantine} - released)),
        released=tuple(sorted(released)),
    )
