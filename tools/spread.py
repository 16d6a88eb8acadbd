"""How far figures scatter: what a set of queries can show, and where one more run would fall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.evaluation import paired_differences


def detectable_difference(
    a: Mapping[str, float], b: Mapping[str, float], queries: int | None = None
) -> float:
    """The smallest true difference that as many queries would show in four out of five such evaluations.

    (1.96 + 0.84) * s / sqrt(n): s the standard deviation of the per-query differences, 1.96 and 0.84 the
    normal quantiles of a two-sided test at 5 % and of a power of 80 %. Sakai, "Topic set size design",
    Information Retrieval Journal 19, 2016.

    Args:
        queries: n; None: as many as `a` and `b` have.

    Raises:
        ValueError: the two do not cover the same queries, or fewer than two.
    """
    differences = paired_differences(a, b)
    if len(differences) < 2:
        raise ValueError("A spread needs at least two queries.")
    return float((1.96 + 0.84) * differences.std(ddof=1) / np.sqrt(queries or len(differences)))


def prediction_margin(values: Sequence[float], more: int = 1, level: float = 0.95) -> float:
    """How far from the mean of some runs the mean of `more` runs of the same kind falls, at most.

    t * s * sqrt(1/more + 1/n): s the standard deviation of the n runs, t the quantile of Student's
    distribution with n - 1 degrees of freedom. Hahn and Meeker, "Statistical Intervals", 1991.

    Raises:
        ValueError: fewer than two values, `more` below 1, or a level, the share of cases, outside 0 to 1.
    """
    from scipy import stats

    if len(values) < 2:
        raise ValueError("A spread over seeds needs at least two runs.")
    if more < 1 or not 0 < level < 1:
        raise ValueError(f"more must be at least 1, not {more}, and level between 0 and 1, not {level}.")
    n = len(values)
    quantile = stats.t.ppf((1 + level) / 2, n - 1)
    return float(quantile * np.std(values, ddof=1) * np.sqrt(1 / more + 1 / n))
