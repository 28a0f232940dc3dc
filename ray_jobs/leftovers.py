"""What Ray jobs leave in the artifact store, and how it goes when nobody needs it any more.

    jobs/<job id>/                         markers and log of one job
    datasets/<view>/<digest>/              manifest of a dataset, and what was made of it
    datasets/<view>/parts/<definition>/    its rows; several datasets may share a part

A leftover is removed in an order that a crash cannot hurt: the manifest goes last, so that what
is left is found again, and an extraction meanwhile makes anew what it misses.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ray_jobs.artifacts import ArtifactStore, Stamp
from ray_jobs.dataset import MANIFEST, PARTS
from ray_jobs.errors import ArtifactError

_KEY = 32
"""Characters of a source file's key, with which the names of its parts begin."""


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One job, or one dataset with the parts that only it has.

    Nobody locks a dataset while an extraction looks for parts that it can reuse. So what goes is
    hidden first; who plans looks once more whether anybody uses it; and a file that was written
    again since `stamps` were taken is somebody else's, and stays.
    """

    uri: str  # the folder that goes
    shared: tuple[str, ...] = ()  # files beside it, below its parent, that go first
    stamps: Mapping[str, Stamp]  # of all files that go, below its parent

    @property
    def files(self) -> int:
        """That go in all."""
        return len(self.stamps)

    @property
    def bytes(self) -> int:
        """That go in all."""
        return sum(size for size, _ in self.stamps.values())

    def hide(self) -> None:
        """Remove the notes by which an extraction finds parts. Raises ArtifactError."""
        self._delete(name for name in self.shared if name.endswith(".json"))

    def remove(self) -> None:
        """Remove it; what is gone already is no error. Raises ArtifactError."""
        parent, _, name = self.uri.rpartition("/")
        manifest = f"{name}/{MANIFEST}"
        inside = (file for file in self.stamps if file.startswith(f"{name}/") and file != manifest)
        self._delete((*self.shared, *inside, *((manifest,) if manifest in self.stamps else ())))
        if not (beside := ArtifactStore(parent)).sizes(name):
            beside.delete_folder(name)

    def _delete(self, names: Iterable[str]) -> None:
        beside = ArtifactStore(self.uri.rpartition("/")[0])
        folders: dict[str, dict[str, Stamp]] = {}
        for name in names:
            folder, _, file = name.partition("/")
            if folder not in folders:
                folders[folder] = beside.stamps(folder)
            if folders[folder].get(file) == self.stamps.get(name):
                beside.delete(name)


def of_jobs(artifacts_uri: str, job_ids: Iterable[str]) -> tuple[Leftover, ...]:
    """What these jobs have left; nothing for those that left nothing."""
    found = []
    for job_id in job_ids:
        uri = f"{artifacts_uri.rstrip('/')}/jobs/{job_id}"
        if stamps := ArtifactStore(uri).stamps():
            below = {f"{job_id}/{file}": stamp for file, stamp in stamps.items()}
            found.append(Leftover(uri=uri, stamps=below))
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
    stamps = {f"{PARTS}/{file}": stamp for file, stamp in store.stamps(PARTS).items()}
    found = []
    for name in sorted(names & set(there)):
        own = [part for part in _parts(store, name, gone=True) if part not in taken]
        taken.update(own)
        shared = tuple(path for file in _with_index(own) if (path := f"{PARTS}/{file}") in stamps)
        inside = {f"{name}/{file}": stamp for file, stamp in store.stamps(name).items()}
        gone = {path: stamps[path] for path in shared} | inside
        found.append(Leftover(uri=f"{view}/{name}", shared=shared, stamps=gone))
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
