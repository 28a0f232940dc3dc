"""The loss of each row, smaller is better: what the row-wise metrics are means of."""

from collections.abc import Callable

import numpy as np

from registry.methods.predictions import Floats, Scored


def zero_one(scored: Scored) -> Floats:
    """1 where the class is wrong."""
    return np.asarray(scored.needed_labels() != scored.y, dtype=np.float64)


def log_loss(scored: Scored) -> Floats:
    """Minus the logarithm of the true class's probability, in nats."""
    p = scored.needed_probabilities()[np.arange(len(scored)), scored.y]
    # Clipped like scikit-learn's log_loss: a model that is surely wrong has a finite loss.
    losses: Floats = -np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))
    return losses


def brier(scored: Scored) -> Floats:
    """Brier (1950), summed over the classes; halved for two classes, as is customary."""
    p = scored.needed_probabilities()
    truth = np.zeros_like(p)
    truth[np.arange(len(scored)), scored.y] = 1.0
    total: Floats = ((p - truth) ** 2).sum(axis=1)
    halved: Floats = total / 2
    return halved if p.shape[1] == 2 else total


def absolute(scored: Scored) -> Floats:
    """Distance from the truth, in the label's unit."""
    return np.abs(scored.needed_values() - scored.y)


def squared(scored: Scored) -> Floats:
    """The same squared."""
    with np.errstate(over="ignore"):  # an error beyond all numbers is an infinite loss
        return np.asarray((scored.needed_values() - scored.y) ** 2)


def relative(scored: Scored) -> Floats:
    """Distance as a share of the truth; enormous, as in scikit-learn, where the truth is 0."""
    floor = np.finfo(np.float64).eps
    return np.asarray(absolute(scored) / np.maximum(np.abs(scored.y), floor))


def pinball(quantile: float) -> Callable[[Scored], Floats]:
    """What is smallest at the quantile (Koenker & Bassett 1978): too low costs `quantile`."""

    def losses(scored: Scored) -> Floats:
        short = scored.y - scored.needed_values()
        return np.asarray(np.maximum(quantile * short, (quantile - 1) * short))

    return losses
