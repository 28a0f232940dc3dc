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
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Held while composing: of many who ask for the same at once, one composes."""

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
        if (known := self._newest(key, stamp)) is not None:
            return known
        with self._turn:
            if (known := self._newest(key, stamp)) is not None:
                return known
            check_own(flow_only)
            composed: Composed[Any] = compose(
                config, config_type, (*overrides, *flow_only), self.project
            )
            if settled(stamp, begun):
                self._keep(key, stamp, composed)
        return composed

    def _newest(self, key: Any, stamp: object) -> Composed[Any] | None:
        with self._lock:
            before, composed = self._kept.get(key, (None, None))
            if before != stamp:
                return None
            self._kept.move_to_end(key)
            return composed

    def _keep(self, key: Any, stamp: object, composed: Composed[Any]) -> None:
        with self._lock:
            self._kept[key] = (stamp, composed)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
