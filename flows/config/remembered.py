"""Composed configs that are kept: composing takes tens of milliseconds, a web hook may not."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.config.compose import check_own, compose
from flows.config.document import Composed
from flows.config.sources import config_path, settled

_KEPT = 64


@dataclass(kw_only=True)
class Composer:
    """Composes for one project, and knows the newest again while no config file has changed.

    The environment is taken to stay as it is. Safe to call from several threads.
    """

    project: Path
    _kept: OrderedDict[Any, tuple[Any, Composed[Any]]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stamp(self) -> object:
        """Another one when a config file has changed."""
        return config_path(self.project).stamp()

    def compose(
        self,
        config: str | None,
        config_type: type | None,
        overrides: Sequence[str] = (),
        *,
        flow_only: Sequence[str] = (),
    ) -> Composed[Any]:
        """As `flows.config.compose`; `flow_only` are more overrides, of its own keys.

        Raises ConfigError; that a config was wrong is not kept.
        """
        key = (config, config_type, tuple(overrides), tuple(flow_only))
        begun, stamp = time.time_ns(), config_path(self.project).stamp()
        with self._lock:
            before, composed = self._kept.get(key, (None, None))
            if composed is not None and before == stamp:
                self._kept.move_to_end(key)
                return composed
        check_own(flow_only)
        given = (*overrides, *flow_only)
        composed = compose(config, config_type, given, self.project)
        with self._lock:
            if not settled(stamp, begun):
                return composed
            self._kept[key] = (stamp, composed)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return composed
