"""Online procedures that judge one p-value a night: what the gate is compared with.

- `Lond`: LOND (Javanmard & Montanari, 2015): independent or positively dependent p-values;
  e-LOND (Xu & Ramdas, AISTATS 2024) when fed 1/e-value: any dependence.
- `Lord`: LORD++ (Ramdas, Yang, Wainwright & Jordan, Online control of the false discovery rate
  with decaying memory, NeurIPS 2017): each night on rows that no other saw.
- `Saffron`: SAFFRON (Ramdas, Zrnic, Wainwright & Jordan, ICML 2018): the same, adaptive.

They last for ever: their levels fall towards zero while nothing is promoted.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol, Self, runtime_checkable


@runtime_checkable
class Account(Protocol):
    """An online procedure that judges one p-value a night."""

    @property
    def level(self) -> float:
        """Reject tonight's null when its p-value is at most this."""
        ...

    @property
    def wealth(self) -> float:
        """What is left to spend."""
        ...

    def after(self, p: float) -> Self:
        """The account after tonight's p-value."""
        ...


def lord_weight(index: int) -> float:
    """The default spending sequence of LORD and LOND, from index 1; sums to 1.

    0.07720838 log(max(j, 2)) / (j exp(sqrt(log j))) (Javanmard & Montanari, Annals of Statistics
    46 (2018), equation 31; the constant as in the R package onlineFDR).
    """
    if index < 1:
        return 0.0
    return 0.07720838 * math.log(max(index, 2)) / (index * math.exp(math.sqrt(math.log(index))))


def saffron_weight(index: int) -> float:
    """The default spending sequence of SAFFRON, from index 1: proportional to j^-1.6."""
    return 0.4374901658 / index**1.6 if index >= 1 else 0.0


@dataclass(frozen=True, kw_only=True)
class Lond:
    """LOND: alpha_t = alpha * weight_t * (promotions so far + 1)."""

    alpha: float = 0.05
    tests: int = 0
    """Nights judged."""
    rejections: int = 0
    """Promotions so far."""

    @property
    def level(self) -> float:
        return self.alpha * lord_weight(self.tests + 1) * (self.rejections + 1)

    @property
    def wealth(self) -> float:
        return self.alpha * (1.0 - _spent(self.tests))

    def after(self, p: float) -> "Lond":
        return replace(
            self, tests=self.tests + 1, rejections=self.rejections + int(p <= self.level)
        )


@dataclass(frozen=True, kw_only=True)
class Lord:
    """LORD++: first wealth `start`, the first promotion earns alpha - start, later ones alpha."""

    alpha: float = 0.05
    start: float = 0.005
    tests: int = 0
    wealth: float = 0.005
    """start, less the levels spent, plus what promotions earned."""
    rejected: tuple[int, ...] = ()
    """Numbers of the tests that promoted, from 1."""

    @property
    def level(self) -> float:
        now = self.tests + 1
        total = self.start * lord_weight(now)
        for order, night in enumerate(self.rejected):
            earned = self.alpha - self.start if order == 0 else self.alpha
            total += earned * lord_weight(now - night)
        return total

    def after(self, p: float) -> "Lord":
        level, earned = self.level, 0.0
        promoted = p <= level
        if promoted:
            earned = self.alpha if self.rejected else self.alpha - self.start
        return replace(
            self,
            tests=self.tests + 1,
            wealth=self.wealth - level + earned,
            rejected=(*self.rejected, self.tests + 1) if promoted else self.rejected,
        )


@dataclass(frozen=True, kw_only=True)
class Saffron:
    """SAFFRON: only p-values above `candidate` cost wealth."""

    alpha: float = 0.05
    start: float = 0.025
    candidate: float = 0.5
    """lambda: p-values at most this are candidates."""
    tests: int = 0
    wealth: float = 0.025
    candidates: int = 0
    """Candidates so far."""
    rejected: tuple[tuple[int, int], ...] = ()
    """For each promotion: number of the test, and candidates until then, itself included."""

    @property
    def level(self) -> float:
        now = self.tests + 1
        total = self.start * saffron_weight(now - self.candidates)
        for order, (night, before) in enumerate(self.rejected):
            earned = self.alpha - self.start if order == 0 else self.alpha
            total += earned * saffron_weight(now - night - (self.candidates - before))
        return min(self.candidate, (1.0 - self.candidate) * total)

    def after(self, p: float) -> "Saffron":
        level, promoted = self.level, p <= self.level
        candidates = self.candidates + int(p <= self.candidate)
        cost = 0.0 if p <= self.candidate else level / (1.0 - self.candidate)
        earned = 0.0
        if promoted:
            earned = self.alpha if self.rejected else self.alpha - self.start
        return replace(
            self,
            tests=self.tests + 1,
            wealth=self.wealth - cost + earned,
            candidates=candidates,
            rejected=(
                (*self.rejected, (self.tests + 1, candidates)) if promoted else self.rejected
            ),
        )


@lru_cache(maxsize=4096)
def _spent(tests: int) -> float:
    """Sum of the first `tests` weights of LOND."""
    return math.fsum(lord_weight(index) for index in range(1, tests + 1))
