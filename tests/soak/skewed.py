"""`skewed.py 12 worker`: `ratchet worker` on a machine whose clock is 12 s ahead."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

del sys.path[0]  # the folder of this script, whose modules nobody there asks for

from flows.cli import main  # noqa: E402
from flows.core.clock import SystemClock  # noqa: E402

ahead = timedelta(seconds=float(sys.argv.pop(1)))
real = SystemClock.now


def now(self: SystemClock) -> datetime:
    return real(self) + ahead


SystemClock.now = now  # type: ignore[method-assign]
sys.exit(main())
