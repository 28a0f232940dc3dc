"""What a registry knows of the watch over its new champions."""

from collections.abc import Callable
from datetime import datetime

from registry.gate_config import GateConfig
from registry.ledger import Action, Ledger, LedgerBreak
from registry.nights.docket import Docket
from registry.nights.docket_store import DocketStore, NightTaken
from registry.watch import Subject, Watch, Watched, Watching
from registry.watch_store import WatchStore
from registry.watching import opened, resumed, watching


class Watches:
    """Which champion is to be watched, how its watch stands, and every night of it."""

    def __init__(
        self,
        ledger: Ledger,
        dockets: DocketStore,
        store: WatchStore,
        kept: Callable[[str], object],
    ) -> None:
        """`kept`: told of a model that has one more night."""
        self._ledger = ledger
        self._dockets = dockets
        self._store = store
        self._kept = kept

    def subject(self, model: str) -> Subject | None:
        """The champion, if a promotion by the gate put it in place of another one."""
        head = self._ledger.head(model)
        if head is None or head.action is not Action.PROMOTE or head.previous_version is None:
            return None
        return Subject(
            model=model, epoch=head.epoch, version=head.version, previous=head.previous_version
        )

    def watching(self, model: str, config: GateConfig) -> Watching:
        """Whether there is anything to watch tonight; reads the ledger alone."""
        subject = self.subject(model)
        return watching(subject, None if subject is None else self._of(subject), config)

    def latest(self, model: str) -> Watched | None:
        """How the watch over the present champion stands; none: there is none, or no night yet."""
        subject = self.subject(model)
        return None if subject is None else self._of(subject)

    def of_run(self, model: str, run_id: str) -> Watched | None:
        """What this run found before, if it did."""
        entry = self._store.of_run(model, run_id)
        return None if entry is None else entry.watched

    def before_night(
        self, subject: Subject, trained_until: datetime | None, config: GateConfig, now: datetime
    ) -> Watch:
        """The watch as the last night left it, or before its first."""
        entry, night = (
            self._store.head(subject.model, subject.epoch),
            self._dockets.head(subject.model),
        )
        docket = Docket() if night is None else night.docket
        if entry is None:
            return opened(subject, docket, trained_until, config, now)
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

    def verify(self, model: str) -> LedgerBreak | None:
        """The first night that was altered or removed; None: they fit together."""
        return self._store.verify(model)

    def _of(self, subject: Subject) -> Watched | None:
        entry = self._store.head(subject.model, subject.epoch)
        return None if entry is None else entry.watched
