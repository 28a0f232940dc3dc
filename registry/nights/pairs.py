"""Both models of each open comparison in the metric's terms, or why tonight's rows say nothing."""

from collections.abc import Mapping
from dataclasses import replace

from registry.errors import GateError
from registry.gate import comparable
from registry.gate_config import GateConfig
from registry.methods.comparison import Comparison, ScoredPair, Unusable, scored_pair
from registry.methods.metrics import Metric, check_fits, find_metric
from registry.nights.betting import Sample

Pairs = Mapping[str, ScoredPair | str]


def pairs_of(samples: Mapping[str, Sample | str], newcomer: str, config: GateConfig) -> Pairs:
    """By version; an older challenger that makes no sense is Unusable, and stops nobody.

    Raises GateError for what is wrong with the champion, or with tonight's `newcomer`.
    """
    return {
        version: _pair(sample, config, new=version == newcomer)
        for version, sample in samples.items()
    }


def _pair(sample: Sample | str, config: GateConfig, *, new: bool) -> ScoredPair | str:
    if isinstance(sample, str):
        return sample
    comparison, metric = sample.comparison, find_metric(config.metric)
    try:
        pair = comparable(comparison, config)
        if isinstance(pair, ScoredPair):
            check_fits(metric, pair.challenger)
        return pair
    except GateError as error:
        if new or _makes_sense(comparison, metric):
            raise
        return Unusable(str(error).rstrip("."))


def _makes_sense(comparison: Comparison, metric: Metric) -> bool:
    """Whether the challenger's predictions, taken alone, can be scored."""
    try:
        alone = scored_pair(replace(comparison, champion=None, constant=None), metric)
        check_fits(metric, alone.challenger)
    except GateError:
        return False
    return True
