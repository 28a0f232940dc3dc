"""How often what a model says comes true: its reliability, in bins of equally many rows. Pure.

A binary model is asked for the probability of its second class; one of several classes for the
probability of the class that it chose, and whether it was right (Guo, Pleiss, Sun & Weinberger,
On calibration of modern neural networks, ICML 2017). Bins of equal mass: Nguyen & O'Connor,
EMNLP 2015.
"""

from contextlib import suppress

import numpy as np

from registry.card.calibration import Bin, Reliability
from registry.errors import GateError
from registry.methods.comparison import Comparison, scored_pair
from registry.methods.metrics import find_metric, score_of
from registry.methods.predictions import AnyArray, Floats, Scored
from registry.verdict import Verdict

BINS = 10
# Below this many rows a bin says nothing.
MIN_ROWS = 5


def calibration_of(verdict: Verdict, comparison: Comparison) -> tuple[Reliability, ...]:
    """Of champion (or baseline) and challenger, where they give probabilities."""
    if verdict.challenger_score is None or comparison.challenger.ndim == 1:
        return ()
    with suppress(GateError):
        pair = scored_pair(comparison, find_metric(verdict.metric))
        other = "baseline" if verdict.champion is None else f"champion v{verdict.champion}"
        found = [] if pair.champion is None else [reliability(other, pair.champion)]
        found.append(reliability(f"challenger v{verdict.challenger}", pair.challenger))
        return tuple(each for each in found if each is not None)
    return ()


def reliability(name: str, scored: Scored, *, bins: int = BINS) -> Reliability | None:
    """None for a model that gives no probabilities, or too few rows."""
    if scored.probabilities is None or len(scored) < MIN_ROWS:
        return None
    if len(scored.classes) == 2:
        said, came = scored.probabilities[:, 1], scored.y == 1
        about = f"probability of {scored.classes[1]}"
    else:
        assert scored.labels is not None
        said = scored.probabilities[np.arange(len(scored)), scored.labels]
        came, about = scored.labels == scored.y, "probability of the class it chose"
    return Reliability(
        name=name,
        about=about,
        bins=_bins(said, came, min(bins, len(said))),
        gap=score_of(find_metric("ece"), scored),
    )


def _bins(said: Floats, came: AnyArray, count: int) -> tuple[Bin, ...]:
    """Equal probabilities stay in one bin, so there may be fewer."""
    edges = np.unique(np.quantile(said, np.linspace(0, 1, count + 1)[1:-1]))
    place = np.searchsorted(edges, said, side="right")
    rows = np.bincount(place, minlength=len(edges) + 1)
    total = np.bincount(place, weights=said, minlength=len(edges) + 1)
    true = np.bincount(place, weights=came.astype(np.float64), minlength=len(edges) + 1)
    made = []
    for number in np.flatnonzero(rows).tolist():
        share = float(true[number] / rows[number])
        low, high = _wilson(share, int(rows[number]))
        made.append(
            Bin(
                said=float(total[number] / rows[number]),
                came=share,
                low=low,
                high=high,
                rows=int(rows[number]),
            )
        )
    return tuple(made)


def _wilson(share: float, rows: int, z: float = 1.959964) -> tuple[float, float]:
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * (share * (1 - share) / rows + z**2 / (4 * rows**2)) ** 0.5
    return max(middle - half, 0.0), min(middle + half, 1.0)
