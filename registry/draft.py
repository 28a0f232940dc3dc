"""How a verdict is worded: from rules and figures to one sentence that everybody understands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from registry.methods.bootstrap import Interval
from registry.methods.metrics import digests_of
from registry.verdict import Decision, Rule, RuleResult, Verdict


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A verdict whose identity is known and whose decision is not yet."""

    model: str
    challenger: str
    champion: str | None
    epoch: int
    metric: str
    confidence: float
    rows: int
    run_id: str
    mlflow_run_id: str
    null: float = 0.0
    """What the difference must surely exceed; negative: non-inferiority."""
    gap_s: float | None = None
    """Seconds between training rows and those that judge."""

    def undecidable(self, obstacle: str) -> Verdict:
        """Hold, because nothing can be judged."""
        rule = RuleResult(
            rule=Rule.EVIDENCE, metric=self.metric, passed=False, rows=self.rows, message=obstacle
        )
        reason = f"Version {self.challenger} cannot be judged: {obstacle}."
        return self._verdict(False, reason, (rule,))

    def first(self, score: float, rules: tuple[RuleResult, ...], baseline: str = "") -> Verdict:
        """A first model: no champion to compare with, so baseline and floors decide.

        `baseline`: what it was to be better than, in words.
        """
        failed = [rule for rule in rules if not rule.passed]
        about = f"Version {self.challenger} is the first model"
        if failed:
            misses = {
                Rule.IMPROVEMENT: f"it is not proven better than {baseline}",
                Rule.FLOOR: "it misses a floor",
            }
            miss = misses.get(failed[0].rule, "it is held")
            reason = f"{about}, and {miss}: {failed[0].message}."
        else:
            reason = f"{about}{self._first_claim(score, rules, baseline)}."
        return replace(self._verdict(not failed, reason, rules), challenger_score=score)

    def _first_claim(self, score: float, rules: Sequence[RuleResult], baseline: str) -> str:
        """What a first model has shown: the proof, then every other rule that was judged."""
        scores = f"{self.metric} {score:.4g} on {self.rows:,} rows"
        proofs = [rule.message for rule in rules if rule.rule is Rule.IMPROVEMENT]
        kept = "; ".join(r.message for r in rules if r.rule is not Rule.IMPROVEMENT and r.judged)
        if not proofs:
            alone = ", with no champion and no baseline to be compared with"
            if not kept:
                return f"{alone}, and no floor to keep: {scores}"
            return f"{alone}: {scores}. It keeps its rules: {kept}"
        said = f", and proven better than {baseline}: {scores}; {proofs[0]}"
        return f"{said}. It keeps every other rule: {kept}" if kept else said

    def compared(
        self, score: float, baseline: float, whole: Interval, rules: tuple[RuleResult, ...]
    ) -> Verdict:
        """Champion and challenger on the same rows: promote when every rule passed."""
        failed = [rule for rule in rules if not rule.passed]
        scores = f"{self.metric} {score:.4g} against {baseline:.4g} on {self.rows:,} rows"
        reason = f"{self._claim(whole, failed)}: {scores}{self._because(rules, failed)}."
        return self.reasoned(reason, score, baseline, whole, rules)

    def reasoned(
        self,
        reason: str,
        score: float,
        baseline: float,
        whole: Interval,
        rules: tuple[RuleResult, ...],
    ) -> Verdict:
        """The same for a reason that is worded already."""
        return replace(
            self._verdict(all(rule.passed for rule in rules), reason, rules),
            challenger_score=score,
            baseline=baseline,
            difference=whole.difference,
            low=whole.low,
            high=whole.high,
        )

    def _claim(self, whole: Interval, failed: Sequence[RuleResult]) -> str:
        pair = f"champion version {self.champion}"
        mine = f"Version {self.challenger}"
        if not any(rule.rule is Rule.IMPROVEMENT for rule in failed):
            return f"{mine} is {passed_claim(pair, self.null)}" + (" but is held" if failed else "")
        if whole.high is not None and whole.high < min(self.null, 0):
            return f"{mine} is worse than {pair}"
        if whole.difference <= min(self.null, 0):
            return f"{mine} is not better than {pair}"
        return f"{mine} is not proven {claimed(pair, self.null)}"

    def _because(self, rules: Sequence[RuleResult], failed: Sequence[RuleResult]) -> str:
        shown = failed[:1] or [rule for rule in rules if rule.rule is Rule.IMPROVEMENT]
        return "".join(f"; {rule.message}" for rule in shown)

    def _verdict(self, promote: bool, reason: str, rules: tuple[RuleResult, ...]) -> Verdict:
        seen = [rule for rule in rules if rule.rule is Rule.EVIDENCE and not rule.judged]
        reason += "".join(f" {rule.message}." for rule in seen)
        return Verdict(
            model=self.model,
            challenger=self.challenger,
            champion=self.champion,
            epoch=self.epoch,
            decision=Decision.PROMOTE if promote else Decision.HOLD,
            promote=promote,
            reason=reason,
            metric=self.metric,
            challenger_score=None,
            baseline=None,
            difference=None,
            low=None,
            high=None,
            confidence=self.confidence,
            rows=self.rows,
            rules=rules,
            run_id=self.run_id,
            mlflow_run_id=self.mlflow_run_id,
            gap_s=self.gap_s,
            metric_digest=digests_of([self.metric]) or None,
        )


def passed_claim(champion: str, null: float) -> str:
    """What is proven: "better than champion version 4", or by how much it is not worse."""
    if null >= 0:
        return f"better than {champion}"
    return f"not worse than {champion} by more than {-null:.3g}"


def claimed(champion: str, null: float) -> str:
    """What is not proven: "better than champion version 4", or as good as it."""
    if null >= 0:
        return f"better than {champion}"
    return f"as good as {champion}, within {-null:.3g}"
