"""Which project a model belongs to: kept in MLflow, beside the name that several may use.

Two projects that share an MLflow server, and call their model alike, would train and judge each
other's model. So the first training ties the name to its data, and every other one is refused
before it trains.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from registry.errors import TiedElsewhere

TIE_TAG = "ratchet.tie"
"""Of the registered model: its `Tie` as JSON."""


@dataclass(frozen=True, kw_only=True)
class Tie:
    """What a model is trained on: by these three a project is known again."""

    store: str
    """Id of the feature store."""
    view: str
    label: str | None

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self), sort_keys=True)

    def __str__(self) -> str:
        label = f", label {self.label}" if self.label else ""
        return f"view {self.view}{label} (feature store {self.store[:8]})"


def refuse_tied_elsewhere(model: str, tags: Mapping[str, str], tie: Tie) -> None:
    """Raise TiedElsewhere when the model is another project's; one without a tie is nobody's."""
    kept = tags.get(TIE_TAG)
    if kept is None or kept == tie.to_json():
        return
    raise TiedElsewhere(
        f"The model {model} in MLflow is trained on {_words(kept)}, and this run would train it on "
        f"{tie}: two projects use one name.",
        hint=f"train under another name (model=...), or take this one over: "
        f"ratchet champion {model} --untie",
    )


def _words(kept: str) -> str:
    try:
        return str(Tie(**json.loads(kept)))
    except (ValueError, TypeError):
        return f"something else ({kept})"
