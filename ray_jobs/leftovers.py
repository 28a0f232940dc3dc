"""What Ray jobs leave in the artifact store, and how it goes when nobody needs it any more.

    jobs/<job id>/                         markers and log of one job
    datasets/<view>/<digest>/              manifest of a dataset, and what was made of it
    datasets/<view>/parts/<definition>/    its rows; several datasets may share a part

A leftover is removed in an order that a crash cannot hurt: the manifest goes last, so that what
is left is found again, and an extraction meanwhile makes anew what it misses.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ray_jobs.artifacts import ArtifactStore
from ray_jobs.dataset import MANIFEST, PARTS
from ray_jobs.errors import ArtifactError

_KEY = 32
"""Characters of a source file's key, with which the names of its parts begin."""


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One job, or one dataset with the parts that only it has."""

    uri: str  # the folder that goes
    shared: tuple[str, ...] = ()  # files beside it, below its parent, that go first
    files: int  # that go in all
    bytes: int

    def remove(self) -> None:
        """Remove it; what is gone already is no error. Raises ArtifactError."""
        parent, _, name = self.uri.rpartition("/")
        beside = ArtifactStore(parent)
        for shared in self.shared:
            beside.delete(shared)
        for file in beside.sizes(name):
            if file != MANIFEST:
                beside.delete(f"{name}/{file}")
        beside.delete_folder(name)


def of_jobs(artifacts_uri: str, job_ids: Iterable[str]) -> tuple[Leftover, ...]:
    """What these jobs have left; nothing for those that left nothing."""
    found = []
    for job_id in job_ids:
        uri = f"{artifacts_uri.rstrip('/')}/jobs/{job_id}"
        if sizes := ArtifactStore(uri).sizes():
            found.append(Leftover(uri=uri, files=len(sizes), bytes=sum(sizes.values())))
    return tuple(found)


def of_datasets(uris: Collection[str]) -> tuple[Leftover, ...]:
    """What goes with these datasets: all but the parts that a dataset beside them has as well.

    Raises ArtifactError when a manifest that stays cannot be read: it may need any part.
    """
    by_view: dict[str, set[str]] = {}
    for uri in uris:
        view, _, name = uri.rstrip("/").rpartition("/")
        by_view.setdefault(view, set()).add(name)
    return tuple(leftover for view in sorted(by_view) for leftover in _of_view(view, by_view[view]))


def _of_view(view: str, names: set[str]) -> list[Leftover]:
    store = ArtifactStore(view)
    there = [name for name in store.list() if name != PARTS]
    taken = {part for name in there if name not in names for part in _parts(store, name)}
    sizes = store.sizes(PARTS)
    found = []
    for name in sorted(names & set(there)):
        own = [part for part in _parts(store, name, gone=True) if part not in taken]
        taken.update(own)
        beside = [file for file in _with_index(own) if file in sizes]
        inside = store.sizes(name)
        found.append(
            Leftover(
                uri=f"{view}/{name}",
                shared=tuple(f"{PARTS}/{file}" for file in beside),
                files=len(beside) + len(inside),
                bytes=sum(sizes[file] for file in beside) + sum(inside.values()),
            )
        )
    return found


def _parts(store: ArtifactStore, name: str, *, gone: bool = False) -> list[str]:
    """The parts that a dataset's manifest names; none where there is no manifest."""
    try:
        manifest: Any = json.loads(store.read_text(f"{name}/{MANIFEST}"))
        return [part["name"] for part in manifest["parts"]]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError) as error:
        if gone:
            return []
        raise ArtifactError(
            f"the manifest of {store.uri}/{name} cannot be read, so nobody knows what it needs",
            hint="remove that folder if no model was made of it",
            permanent=True,
        ) from error


def _with_index(parts: Iterable[str]) -> list[str]:
    """Parts, each after the note by which a later extraction would find it."""
    found: dict[str, None] = {}
    for part in parts:
        folder, _, file = part.rpartition("/")
        found[f"{folder}/{file[:_KEY]}.json"] = None
        found[part] = None
    return list(found)
