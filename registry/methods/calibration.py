"""Calibration: whether what is said with 80 % happens in 80 % of the rows."""

import numpy as np

from registry.methods.predictions import Floats, Scored, Scorer, Weights

BINS = 15


def expected_calibration_error(scored: Scored) -> Scorer:
    """Mean gap between probability and frequency over 15 bins that hold equally many rows.

    Two classes: the probability of the second one (Naeini, Cooper & Hauskrecht, AAAI 2015);
    several: the probability of the class that is said, and whether it is right (Guo et al., ICML
    2017). Rows of equal probability are split between bins in proportion, so their order does not
    matter. Biased upwards on few rows: a perfect model shows about sqrt(30 p (1 - p) / (pi rows)).
    """
    said, happened = said_and_happened(scored)
    order = np.argsort(said, kind="stable")
    gap = (said - happened)[order]
    corners = np.append(np.flatnonzero(np.diff(said[order])), len(order) - 1)

    def score(weights: Weights) -> float:
        w = weights[order]
        mass = np.append(0.0, np.cumsum(w)[corners])
        if mass[-1] <= 0:
            return float("nan")
        total_gap = np.append(0.0, np.cumsum(w * gap)[corners])
        edges = np.linspace(0.0, mass[-1], BINS + 1)
        return float(np.abs(np.diff(np.interp(edges, mass, total_gap))).sum() / mass[-1])

    return score


def said_and_happened(scored: Scored) -> tuple[Floats, Floats]:
    """The probability that each row was given, and whether it happened."""
    p = scored.needed_probabilities()
    if p.shape[1] == 2:
        return p[:, 1], (scored.y == 1).astype(np.float64)
    rows = np.arange(len(scored))
    labels = scored.needed_labels()
    return p[rows, labels], (labels == scored.y).astype(np.float64)
