"""The loss of each row, smaller is better: what the row-wise metrics are means of."""

from collections.abc import Callable

import numpy as np

from registry.errors import GateError
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


def tweedie_deviance(power: float) -> Callable[[Scored], Floats]:
    """Unit deviance of Tweedie's family (Jorgensen 1987): 1 is Poisson's, 2 that of gamma.

    As scikit-learn's mean_tweedie_deviance; a predicted mean of 0 or less counts as a tiny one.
    """

    def losses(scored: Scored) -> Floats:
        y, mean = scored.y, np.maximum(scored.needed_values(), np.finfo(np.float64).eps)
        _check_range(y, power)
        if power == 1:
            log = np.log(np.divide(y, mean, out=np.ones_like(y), where=y > 0))
            return np.asarray(2 * (y * log - y + mean))
        if power == 2:
            return np.asarray(2 * (np.log(mean / y) + y / mean - 1))
        of_y = np.power(y, 2 - power) / ((1 - power) * (2 - power))
        of_both = y * np.power(mean, 1 - power) / (1 - power)
        return np.asarray(2 * (of_y - of_both + np.power(mean, 2 - power) / (2 - power)))

    return losses


def _check_range(y: Floats, power: float) -> None:
    wrong = int((y < 0).sum() if power < 2 else (y <= 0).sum())
    if wrong:
        least = "negative" if power < 2 else "0 or negative"
        raise GateError(
            f"{wrong:,} of {len(y):,} labels are {least}, and a deviance of power {power:g} is not "
            "defined of them.",
            hint="compare mae or mse, or leave such rows out in a feature function",
        )
