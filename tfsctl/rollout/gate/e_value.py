"""The sequential test of a rollout: do more than its share of the bad answers come from the canary?

The canary gets a share `rho` of the traffic. If both versions are equally good, each bad answer comes from the canary
with probability `rho`. Of `n` bad answers, `k` came from the canary. For one alternative p > rho, the likelihood ratio

    (p / rho)^k ((1 - p) / (1 - rho))^(n - k)

has an expected value of at most 1 if the canary is not worse, at every moment of the rollout. Such a value is called an
e-value. The mean over many alternatives p is an e-value too, and needs no guess of how bad the canary is. So is the
product over the steps of a rollout. By Ville's inequality, an e-value ever reaches 1 / alpha with a probability of at
most alpha, so the test may be evaluated after every request.

Source: Ramdas, Grünwald, Vovk, Shafer, "Game-theoretic statistics and safe anytime-valid inference" (2023).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

ALTERNATIVES = 64  # values of p between rho and 1; the test is valid for any number


def log_e_value(bad: int, bad_of_canary: int, share: float) -> float:
    """The logarithm of the e-value of one step.

    Of `bad` answers, `bad_of_canary` came from the canary, whose share of the traffic is `share`. A share of 0 or 1
    leaves nothing to compare: the result is 0, no evidence. Raises ValueError for impossible counts.
    """
    if not 0 <= bad_of_canary <= bad:
        raise ValueError(f"{bad_of_canary} of {bad} bad answers")
    if bad == 0 or not 0 < share < 1:
        return 0.0
    others = bad - bad_of_canary
    terms = [bad_of_canary * canary + others * stable for canary, stable in log_ratios(share)]
    highest = max(terms)
    return highest + math.log(math.fsum(math.exp(term - highest) for term in terms) / len(terms))


def fewest_for_breach(share: float, alpha: float) -> Iterator[int]:
    """Yield the threshold for 1, 2, 3 … bad answers of one step: how many of them the canary must give for a breach.

    It is larger than the number of bad answers if even that many are not a breach. A bad answer of the canary raises the
    e-value, and one of the other version lowers it. So the threshold of each number is that of the number before, or one
    more.
    """
    fewest = 1
    for bad in count(1):
        if fewest <= bad and log_e_value(bad, fewest, share) < -math.log(alpha):
            fewest += 1
        yield fewest


@lru_cache
def log_ratios(share: float) -> list[tuple[float, float]]:
    """For each alternative p: log(p / rho) and log((1 - p) / (1 - rho)), by which one bad answer changes the ratio.

    The alternatives are the midpoints of equal intervals between rho and 1.
    """
    width = (1 - share) / ALTERNATIVES
    alternatives = [share + width * (number + 0.5) for number in range(ALTERNATIVES)]
    return [(math.log(p / share), math.log((1 - p) / (1 - share))) for p in alternatives]


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """The evidence over all steps of a rollout. `log_evidence` is the sum over the steps that have ended."""

    alpha: float = 0.01
    log_evidence: float = 0.0

    def with_step(self, bad: int, bad_of_canary: int, share: float) -> SequentialTest:
        """The test after a step with these counts. Raises ValueError for impossible counts."""
        return SequentialTest(self.alpha, self.log_evidence + log_e_value(bad, bad_of_canary, share))

    @property
    def is_breached(self) -> bool:
        """Whether the canary is worse, which is wrong with a probability of at most `alpha`."""
        return self.log_evidence >= -math.log(self.alpha)
