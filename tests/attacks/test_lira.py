"""LiRA against a slow loop written from the paper's definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from trilemma.attacks import lira_offline_scores, lira_scores, membership_posterior
from trilemma.errors import InputError


def example(shadows=8, rows=30, views=None, seed=0):
    rng = np.random.default_rng(seed)
    halves = np.array([rng.permutation(rows) < rows // 2 for _ in range(shadows // 2)])
    shadow_member = np.stack([halves, ~halves], axis=1).reshape(shadows, rows)
    shape = (rows,) if views is None else (rows, views)
    own = rng.normal(size=shape)
    leak = shadow_member if views is None else shadow_member[:, :, None]
    return own + rng.normal(size=shape), own + rng.normal(size=(shadows, *shape)) + 2.0 * leak, shadow_member


def slow(phi, shadow_phi, shadow_member, *, online, fixed):
    """LiRA with one example and one view at a time."""
    phi, shadow_phi = (phi[:, None], shadow_phi[:, :, None]) if phi.ndim == 1 else (phi, shadow_phi)
    scores = []
    for n in range(len(phi)):
        values = []
        for v in range(phi.shape[1]):
            log_density = {}
            for side in (True, False):
                own = shadow_phi[shadow_member[:, n] == side, n, v]
                if fixed:
                    residuals, freedom = [], 0
                    for m in range(len(phi)):
                        of_m = shadow_phi[shadow_member[:, m] == side, m, v]
                        residuals += list(of_m - of_m.mean())
                        freedom += len(of_m) - 1
                    std = np.sqrt(np.sum(np.square(residuals)) / freedom)
                else:
                    std = own.std(ddof=1)
                log_density[side] = norm.logpdf(phi[n, v], np.median(own), std)
                if not side and not online:
                    values.append((phi[n, v] - np.median(own)) / std)
            if online:
                values.append(log_density[True] - log_density[False])
        scores.append(np.mean(values))
    return np.array(scores)


@pytest.mark.parametrize("views", [None, 3])
@pytest.mark.parametrize("variance", ["fixed", "per-example"])
@pytest.mark.parametrize("online", [True, False])
def test_agrees_with_the_definition(views, variance, online):
    phi, shadow_phi, shadow_member = example(views=views)
    score = lira_scores if online else lira_offline_scores
    expected = slow(phi, shadow_phi, shadow_member, online=online, fixed=variance == "fixed")
    np.testing.assert_allclose(score(phi, shadow_phi, shadow_member, variance=variance), expected, rtol=1e-9, atol=1e-9)


def test_an_example_has_a_variance_of_its_own_from_32_shadows_on():
    for shadows, variance in ((30, "fixed"), (32, "per-example")):
        arguments = example(shadows=shadows)
        np.testing.assert_array_equal(lira_scores(*arguments), lira_scores(*arguments, variance=variance))


def test_without_a_matrix_every_shadow_is_out():
    phi, shadow_phi, shadow_member = example()
    none = np.zeros_like(shadow_member)
    np.testing.assert_array_equal(
        lira_offline_scores(phi, shadow_phi), lira_offline_scores(phi, shadow_phi, none, variance="fixed")
    )


def test_the_posterior_is_the_share_of_members_among_equal_ratios():
    """Calibration when the model's assumptions hold: among 200,000 draws with a ratio near 1 the share of members is e
    / (1 + e). The tolerance is five standard errors."""
    rng = np.random.default_rng(0)
    member = rng.random(200_000) < 0.5
    phi = rng.normal(size=200_000) + member
    ratio = norm.logpdf(phi, 1, 1) - norm.logpdf(phi, 0, 1)
    near = np.abs(ratio - 1) < 0.05
    assert abs(member[near].mean() - membership_posterior(np.array([1.0]))[0]) < 5 * np.sqrt(0.2 / near.sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shadow_member": np.ones((8, 30), bool)}, "not trained on it"),
        ({"shadow_member": np.zeros((8, 30), bool)}, "reference models? trained on it"),
        ({"shadow_member": np.zeros((8, 29), bool)}, "reference_member must be"),
        ({"shadow_phi": np.zeros((8, 29))}, "same examples"),
        ({"variance": "robust"}, "variance must be"),
    ],
)
def test_what_cannot_be_used_is_refused(change, message):
    phi, shadow_phi, shadow_member = example()
    arguments = {"phi": phi, "shadow_phi": shadow_phi, "shadow_member": shadow_member} | change
    with pytest.raises(InputError, match=message):
        lira_scores(**arguments)


def test_two_shadows_are_too_few():
    phi, shadow_phi, shadow_member = example(shadows=2)
    with pytest.raises(InputError, match="at least 4 reference models, not 2"):
        lira_scores(phi, shadow_phi, shadow_member)
