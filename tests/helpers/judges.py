"""Statistical tests of samplers and noise, with a stated false-alarm rate: used on the functions and on trainings."""

import math

import torch
from scipy import stats

ALARM = 1e-6
"""How often each function here rejects what is right (over seeds; in the tests these are fixed)."""


def _most_extreme(counts, trials, q):
    """p-value of the least and the most of many binomial counts, by Bonferroni."""
    tails = stats.binom.cdf(float(counts.min()), trials, q), stats.binom.sf(float(counts.max()) - 1, trials, q)
    return 2 * counts.numel() * min(tails)


def judge_sampler(table, q):
    """Is ``table`` made of independent coins that each show 1 with probability ``q``?

    Seven statistics, each two-sided, in all at rate ALARM.  Exactly binomial are the number of ones, how often each
    example is in and how often each pair of examples is in together, the last two with Bonferroni's correction.  The
    others are normal to good approximation at the sizes used here (hundreds of thousands of coins): the dispersion of
    the batch sizes (examples drawn independently of each other within an update), the dispersion of the inclusion
    counts (updates independent of each other), pairs of neighboring examples, and pairs of successive updates.
    """
    updates, examples = table.shape
    variance = q * (1 - q)
    ones = int(table.sum())
    together = (table.T @ table)[tuple(torch.triu_indices(examples, examples, 1))]
    p_values = {
        "ones": stats.binomtest(ones, updates * examples, q).pvalue,
        "each example": _most_extreme(table.sum(0), updates, q),
        "each pair": _most_extreme(together, updates, q * q),
    }

    def dispersion(counts, trials):
        # Sum of squares of n binomial counts about their true mean; their fourth moment gives its exact variance.
        n = len(counts)
        second = trials * variance
        fourth = second * (1 + 3 * (trials - 2) * variance)
        z = (float(((counts - trials * q) ** 2).sum()) - n * second) / math.sqrt(n * (fourth - second**2))
        return 2 * stats.norm.sf(abs(z))

    p_values["batch sizes"] = dispersion(table.sum(1), examples)
    p_values["inclusion counts"] = dispersion(table.sum(0), updates)
    centered = table - q
    for name, products in {
        "neighboring examples": centered[:, :-1] * centered[:, 1:],
        "successive updates": centered[:-1] * centered[1:],
    }.items():
        z = float(products.sum()) / (variance * math.sqrt(products.numel()))
        p_values[name] = 2 * stats.norm.sf(abs(z))
    return {name: p for name, p in p_values.items() if p < ALARM / len(p_values)}


def judge_noise(values, deviation):
    """Are the numbers independent N(0, deviation^2)?  Names of the tests that say no, in all at rate ALARM.

    The sum of squares is exactly chi-square, the mean exactly normal, Kolmogorov and Smirnov's distance has its exact
    law, and the fourth moment is normal at this size.  With 200,000 numbers the first rejects a deviation that is
    wrong by 1.5 % with probability over 0.99.
    """
    z = values.double().flatten().numpy() / deviation
    n = len(z)
    square = float((z**2).sum())
    p_values = {
        "variance": 2 * min(stats.chi2.cdf(square, n), stats.chi2.sf(square, n)),
        "mean": 2 * stats.norm.sf(abs(z.mean()) * math.sqrt(n)),
        "shape": stats.kstest(z, "norm").pvalue,
        "fourth moment": 2 * stats.norm.sf(abs((z**4).mean() - 3) / math.sqrt(96 / n)),
        "neighbors": 2 * stats.norm.sf(abs(float((z[1:] * z[:-1]).sum())) / math.sqrt(n - 1)),
    }
    return {name: p for name, p in p_values.items() if p < ALARM / len(p_values)}


def judge_successive(releases, deviation):
    """Correlations between all pairs of releases, Bonferroni at ALARM: pairs that are too alike (or too opposite)."""
    z = torch.stack([r.double().flatten() / deviation for r in releases])
    n = z.shape[1]
    pairs = [(i, j) for i in range(len(z)) for j in range(i)]
    scores = {(i, j): float((z[i] * z[j]).sum()) / math.sqrt(n) for i, j in pairs}
    return {pair for pair, score in scores.items() if 2 * stats.norm.sf(abs(score)) < ALARM / len(pairs)}
