"""What is replaced in this process while worlds are played: threads, chance, the list of processes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

from flows.core import courier, worker
from tests.simulation.post import OneAfterTheOther
from tests.simulation.worker import NoThread, start_ticks
from tests.simulation.world import World


class Threading:
    """The module `threading`, with another kind of thread."""

    def __init__(self, real: ModuleType, thread: type) -> None:
        self._real = real
        self.Thread = thread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def of_this_world(world: World) -> Iterator[None]:
    """All that would not be the same the next time is the world's."""
    chance = world.chance
    with (
        patch.object(courier, "threading", Threading(courier.threading, OneAfterTheOther)),
        patch.object(worker, "threading", Threading(worker.threading, NoThread)),
        patch.object(worker, "_start_ticks", start_ticks(world)),
        patch.object(secrets, "choice", chance.choice),
        patch.object(secrets, "token_hex", lambda n: f"{chance.getrandbits(8 * n):0{2 * n}x}"),
    ):
        yield
