"""What must not get lost of a model: chains of rows in one database, whose ends MLflow remembers.

A row that was changed, or taken out of the middle, breaks its chain. Rows cut off the end do not,
nor does a table that was emptied or an older backup: so the newest hash of each chain is kept as a
tag of the registered model. The tag follows the row, and a crash may come between: a tag that is
behind is no loss, a hash that is in no row is. It is not forgotten for newer rows, only by `adopt`.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.engine import Engine

from registry.answers import ANSWERS
from registry.chain import Chain
from registry.champion import ALIAS
from registry.database import reading
from registry.errors import LedgerBroken
from registry.ledger import LEDGER, Action, Ledger, LedgerBreak
from registry.locks import exclusive
from registry.mlflow_seam import MlflowSeam, translated
from registry.nights.docket_store import DOCKET, DocketStore
from registry.registered import Look
from registry.verdict import verdict_from_json
from registry.watch_store import WATCH

CHAINS = (LEDGER, DOCKET, WATCH, ANSWERS)


class History:
    """The chains of a model, held against what MLflow remembers and against each other."""

    def __init__(
        self,
        engine: Engine,
        seam: MlflowSeam,
        ledger: Ledger,
        dockets: DocketStore,
        lock_url: str,
    ) -> None:
        self._engine = engine
        self._seam = seam
        self._ledger = ledger
        self._dockets = dockets
        self._lock_url = lock_url

    def remember(self, model: str, *chains: Chain) -> None:
        """Keep the newest hash of these chains in MLflow, unless what it remembers was lost.

        A model that is not registered has no place for them.
        """
        # Two who set a new tag at once break each other's write.
        with exclusive(self._lock_url, f"history-{model}"):
            tags = self._tags(model)
            for chain in chains if tags is not None else ():
                if not self._is_lost(model, chain, tags or {}):
                    self._keep(model, chain)

    def adopt(self, model: str) -> None:
        """Forget what was lost: the chains end where they end."""
        with exclusive(self._lock_url, f"history-{model}"):
            for chain in CHAINS:
                self._keep(model, chain)

    def lost(self, model: str, look: Look | None = None) -> LedgerBreak | None:
        """The first chain without the row that MLflow remembers of it; None: nothing is lost.

        `look`: who asks MLflow; None: its client.
        """
        # Before the rows: what another run adds meanwhile is no loss.
        registered = (look or self._seam.registered)(model)
        tags = {} if registered is None else registered.tags
        for chain in CHAINS:
            if not self._is_lost(model, chain, tags):
                continue
            head, reason = self._ledger.head(model), f"MLflow's tag {chain.tag} cannot be read"
            epoch = head.epoch if head is not None else 0
            place = tags[chain.tag].rpartition(":")[0].split(".")
            numbers = [int(number) for number in place if number.isdecimal()]
            if len(numbers) == len(chain.places):
                words = chain.words.format(*numbers)
                reason = f"MLflow remembers {words} with another content, or it was cut off"
                epoch = numbers[0] if chain is LEDGER else epoch
            return LedgerBreak(model=model, epoch=epoch, reason=reason)
        return None

    def check(self, model: str, look: Look | None = None) -> None:
        """Raise LedgerBroken when something is lost: rows would judge twice."""
        lost = self.lost(model, look)
        if lost is None:
            return
        back = "put the newest backup of the ledger's database back"
        registered = (look or self._seam.registered)(model)
        live = registered is not None and ALIAS in registered.aliases
        raise LedgerBroken(
            f"The history of {model} ends too early: {lost.reason}.",
            hint=f"{back}, or go on with what is there: "
            f"ratchet champion {model} --adopt --reason TEXT"
            if live
            else f"{back}, or train under another name (model=...)",
        )

    def unproven(self, model: str) -> LedgerBreak | None:
        """The first promotion that took of the error budget, and whose verdict the docket lacks."""
        for entry in self._ledger.entries(model):
            if entry.action is not Action.PROMOTE or entry.verdict is None:
                continue
            verdict = verdict_from_json(entry.verdict)
            nights = self._dockets.of_run_id(verdict.run_id, model)
            if verdict.budget_left is None or verdict in (night.verdict for night in nights):
                continue
            reason = f"the evidence has no night with the verdict that promoted {entry.version}"
            return LedgerBreak(model=model, epoch=entry.epoch, reason=reason)
        return None

    def _tags(self, model: str) -> Mapping[str, str] | None:
        registered = self._seam.registered(model)
        return None if registered is None else registered.tags

    def _is_lost(self, model: str, chain: Chain, tags: Mapping[str, str]) -> bool:
        """Whether no row has the hash that MLflow remembers of the chain."""
        tag = tags.get(chain.tag)
        return tag is not None and not self._holds(model, chain, tag.rpartition(":")[2])

    def _keep(self, model: str, chain: Chain) -> None:
        """Tell MLflow where the chain ends, or that there is none."""
        end, known = self._end(model, chain), self._tags(model)
        with translated("MLflow"):
            if end is not None:
                self._seam.client.set_registered_model_tag(model, chain.tag, end)
            elif known and chain.tag in known:
                self._seam.client.delete_registered_model_tag(model, chain.tag)

    def _end(self, model: str, chain: Chain) -> str | None:
        """`PLACE:HASH` of the newest row; None: there is none."""
        with reading(self._engine) as connection:
            row = chain.end(connection, model)
        if row is None:
            return None
        return f"{'.'.join(map(str, row[:-1]))}:{row.hash}"

    def _holds(self, model: str, chain: Chain, digest: str) -> bool:
        columns = chain.table.c
        same = select(columns.hash).where(columns.model == model, columns.hash == digest)
        with reading(self._engine) as connection:
            return connection.execute(same.limit(1)).first() is not None
