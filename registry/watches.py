"""What a registry knows of the watch over its new champions."""

from collections.abc import Callable
from datetime import datetime

from registry.gate_config import GateConfig
from registry.ledger import Ledger
from registry.nights.docket import Docket
from registry.nights.docket_store import DocketStore, NightTaken
from registry.watch import Subject, Watch, Watched, Watching
from registry.watch_store import SeenWatches, WatchStore
from registry.watching import opened, resumed, watching


class Watches(SeenWatches):
    """Which champion is to be watched, how its watch stands, and every night of it."""

    def __init__(
        self,
        ledger: Ledger,
        dockets: DocketStore,
        store: WatchStore,
        kept: Callable[[str], object],
    ) -> None:
        """`kept`: told of a model that has one more night."""
        super().__init__(ledger, store)
        self._dockets = dockets
        self._kept = kept

    def watching(self, model: str, config: GateConfig) -> Watching:
        """Whether there is anything to watch tonight; reads the ledger alone."""
        subject = self.subject(model)
        return watching(subject, None if subject is None else self._of(subject), config)

    def before_night(
        self, subject: Subject, labels_until: datetime | None, config: GateConfig, now: datetime
    ) -> Watch:
        """The watch as the last night left it, or before its first."""
        entry, night = (
            self._store.head(subject.model, subject.epoch),
            self._dockets.head(subject.model),
        )
        docket = Docket() if night is None else night.docket
        if entry is None:
            return opened(subject, docket, labels_until, config, now)
        return resumed(entry.watch, docket, config, now)

    def keep(
        self, watch: Watch, found: Watched, *, run_id: str, dataset: str, now: datetime
    ) -> bool:
        """Append a night; False when another run looked meanwhile, or the champion changed."""
        try:
            self._store.append(watch, found, run_id=run_id, dataset=dataset, now=now)
        except NightTaken:
            return False
        self._kept(watch.subject.model)
        return True
