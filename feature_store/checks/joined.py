"""Which checks each view of a flow gets: columns go by their names in the training set."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from feature_store.checks.config import ChecksConfig


def of_join(config: ChecksConfig, names: Mapping[str, str]) -> ChecksConfig:
    """The checks of a joined view; `names`: name in the training set -> the view's own.

    Only the columns that the join uses are looked at. How much is new, how old it may be and how
    many classes it holds is asked of the view that is trained on alone.
    """
    return replace(
        config,
        nulls=_shares(config.nulls, names),
        infinite=_shares(config.infinite, names),
        ranges={names[n]: span for n, span in config.ranges.items() if n in names},
        allowed={names[n]: choices for n, choices in config.allowed.items() if n in names},
        min_new_rows=0,
        max_age=None,
        label_classes=0,
    )


def beside_joins(
    config: ChecksConfig,
    joins: Sequence[Mapping[str, str]],
    own: Container[str],
    *,
    new: int,
) -> ChecksConfig:
    """The checks of the view that is trained on; what only a join brings is left to its view.

    `own`: the columns that it has; `new`: its new rows. With none, what is new came to the joined
    views, and fewer than `min_new_rows` is no reason to halt.
    """
    left = {name for names in joins for name in names if name not in own}
    return replace(
        config,
        nulls={n: share for n, share in config.nulls.items() if n not in left},
        infinite={n: share for n, share in config.infinite.items() if n not in left},
        ranges={n: span for n, span in config.ranges.items() if n not in left},
        allowed={n: choices for n, choices in config.allowed.items() if n not in left},
        min_new_rows=config.min_new_rows if new else 0,
    )


def _shares(bounds: Mapping[str, float], names: Mapping[str, str]) -> dict[str, float]:
    """The bounds of the columns that a join uses, each by its own name."""
    others = dict.fromkeys(names, bounds["*"]) if "*" in bounds else {}
    own = others | {name: share for name, share in bounds.items() if name in names}
    return {names[name]: share for name, share in own.items()}
