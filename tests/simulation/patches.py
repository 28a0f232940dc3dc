"""What is replaced while worlds are played: threads, secrets, and the list of processes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

from flows.core import courier, identity, lease_keeper, service
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


@contextmanager
def of_this_world(world: World) -> Iterator[None]:
    """All that would not be the same the next time is the world's."""
    chance = world.chance
    with (
        patch.object(courier, "threading", Threading(courier.threading, OneAfterTheOther)),
        patch.object(lease_keeper, "threading", Threading(lease_keeper.threading, NoThread)),
        patch.object(identity, "is_gone", is_gone(world)),
        patch.object(service, "secrets", Secrets(chance)),
        patch.object(identity, "secrets", Secrets(chance)),
    ):
        yield
