"""The gap: time between the newest row that trained a model and the oldest one that judges it.

A label that looks ahead ("leaves within 30 days") shares its future with the labels of the rows
around it. A model that was trained until the day before the holdout has seen most of the answers;
in production no model has, for labels come late. So rows judge only after the gap, which is
`features.holdout.gap`, or as long as the label's delay.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

TRAIN_UNTIL_TAG = "ratchet.train_until"
LABELS_UNTIL_TAG = "ratchet.labels_until"


def labels_until(tags: Mapping[str, str], gap: timedelta) -> datetime | None:
    """Only rows newer than this may judge the version with these tags; None: it does not say.

    The later of what it was trained with and what `gap`, today's, asks for; a version without the
    tag was trained before gaps were kept.
    """
    trained, kept = tags.get(TRAIN_UNTIL_TAG), tags.get(LABELS_UNTIL_TAG)
    bounds = [] if trained is None else [datetime.fromisoformat(trained) + gap]
    if kept is not None:
        bounds.append(datetime.fromisoformat(kept))
    return max(bounds, default=None)
