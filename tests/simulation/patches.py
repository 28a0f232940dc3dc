"""What is replaced while worlds are played: threads, secrets, and the list of processes."""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from flows.core import courier, engine, identity, lease_keeper, service
from tests.simulation.channels import OneAfterTheOther
from tests.simulation.worker import NoThread, is_gone
from tests.simulation.world import World


class Threading:
    """The module `threading`, with another kind of thread."""

    def __init__(self, real: ModuleType, thread: type) -> None:
        self._real = real
        self.Thread = thread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Secrets:
    """The module `secrets`, as the seed has it."""

    def __init__(self, chance: random.Random) -> None:
        self.choice = chance.choice
        self._chance = chance

    def token_hex(self, count: int) -> str:
        return f"{self._chance.getrandbits(8 * count):0{2 * count}x}"


class Log:
    """The log of the engine, which goes on after a mistake of Ratchet's own: that is for us."""

    def __init__(self, world: World) -> None:
        self._world = world

    def warning(self, *_: object) -> None: ...

    def exception(self, text: str) -> None:
        error = sys.exc_info()[1]
        frame = traceback.extract_tb(error.__traceback__)[-1] if error else None
        place = f" in {Path(frame.filename).name}:{frame.lineno}" if frame else ""
        self._world.surprises.append(f"{text}: {error!r}{place}")


@contextmanager
def of_this_world(world: World) -> Iterator[None]:
    """All that would not be the same the next time is the world's."""
    chance = world.chance
    with (
        patch.object(courier, "threading", Threading(courier.threading, OneAfterTheOther)),
        patch.object(lease_keeper, "threading", Threading(lease_keeper.threading, NoThread)),
        patch.object(identity, "is_gone", is_gone(world)),
        patch.object(engine, "_log", Log(world)),
        patch.object(service, "secrets", Secrets(chance)),
        patch.object(identity, "secrets", Secrets(chance)),
    ):
        yield
