"""ROC curves of a study: each point is that of the attack's own scores, and nothing is drawn from too few examples."""

import numpy as np
import pandas as pd
import pytest

from made_up_study import ALL, Study
from trilemma.attacks.roc import roc_curve
from trilemma.report.numbers import Numbers
from trilemma.report.study_roc import _labeled, attack_looks, frame_of, panel_svg, roc_panels
from trilemma.report.write import write_report
from trilemma.statistics.intervals import mean_interval

ATTACKS = ("threshold", "rf")


@pytest.fixture
def study(tmp_path):
    """(results, study.json, path of the signals by trial) of two conditions of three seeds; the second leaks."""
    made_up = Study(seeds=(0, 1, 2))
    made_up.add({"accuracy": 0.6, "auc_threshold": 0.5})
    made_up.add({"accuracy": 0.7, "auc_threshold": 0.7}, techniques=ALL)
    results = made_up.frame()
    paths = {}
    for seed, (trial, rows) in enumerate(results.groupby("trial", sort=False)):
        rng = np.random.default_rng(seed)
        member = np.arange(600) < 300
        leak = 1.0 if (rows["techniques"] == ALL).all() else 0.0
        scores = {f"score_{name}": rng.normal(size=600) + leak * member for name in ATTACKS}
        weight = np.where(member, 1.0, rng.uniform(0.5, 1.5, 600))
        paths[trial] = tmp_path / f"{trial}.parquet"
        pd.DataFrame({"member": member, "weight": weight, **scores}).to_parquet(paths[trial])
    names = list(results["trial"].unique())
    document = {"studies": {"made-up": {"title": "Made up", "trials": names, "figures": ["accuracy"]}}, "trials": {}}
    return results, document, paths


def test_points_and_bands_are_those_of_the_scores(study):
    results, document, paths = study
    panels = roc_panels(Numbers(results, document), paths)
    assert len(panels) == 2
    for panel in panels:
        trials = results.loc[results["cell"] == panel.condition, "trial"].unique()
        assert panel.seeds == len(trials) == 3
        assert panel.fpr[0] == pytest.approx(10 / 300, rel=0.15)
        for attack in ATTACKS:
            by_seed = []
            for trial in trials:
                table = pd.read_parquet(paths[trial])
                curve = roc_curve(
                    table[f"score_{attack}"].to_numpy(), table["member"].to_numpy(), table["weight"].to_numpy()
                )
                by_seed.append([curve.tpr[curve.fpr <= rate].max() for rate in panel.fpr])
            band = panel.bands[attack]
            np.testing.assert_allclose(band.tpr, np.mean(by_seed, axis=0))
            ends = np.array([mean_interval(values) for values in np.array(by_seed).T]).clip(0, 1)
            np.testing.assert_allclose(np.stack([band.low, band.high], axis=1), ends)
        least = _labeled(float(panel.fpr[0]))[0]
        assert least == panel.fpr[0], "where the axis begins, which matters most, has its number"
        assert f">{float(f'{100 * least:.2g}'):g} %<" in panel_svg(panel, attack_looks(panels), "roc")
        assert "1e+" not in panel_svg(panel, attack_looks(panels), "roc")
        assert panel.finding.endswith("(the best of 2 attacks, chosen after looking, so a little high by chance).")
    at_ten = [panel.bands["threshold"].tpr[np.argmin(abs(panel.fpr - 0.1))] for panel in panels]
    assert at_ten[0] < 0.2 < at_ten[1]


def test_two_seeds_have_curves_and_no_bands(study):
    results, document, paths = study
    panels = roc_panels(Numbers(results[results["seed"] < 2], document), paths)
    assert [panel.seeds for panel in panels] == [2, 2]
    assert all(band.low is None and band.high is None for panel in panels for band in panel.bands.values())
    assert "[" not in panels[0].finding


def test_a_condition_of_which_a_trial_left_no_signals_is_not_drawn(study):
    results, document, paths = study
    others = list(paths)[1:]
    assert len(roc_panels(Numbers(results, document), {trial: paths[trial] for trial in others})) == 1


def test_too_few_non_members_are_not_drawn(study, tmp_path):
    results, document, paths = study
    for path in paths.values():
        table = pd.read_parquet(path)
        table.loc[(~table["member"]) & (table.index > 319), "weight"] = 0.0  # leaves 20
        table.to_parquet(path)
    assert roc_panels(Numbers(results, document), paths) == []


def test_the_page_shows_them_and_the_files_hold_the_numbers(study, tmp_path):
    results, document, paths = study
    page = write_report(tmp_path / "out", results, document, signals=paths).read_text("utf-8")
    assert "ROC curves of the attacks" in page
    assert page.count('id="figure-roc') >= 2
    for kind in ("svg", "pdf", "png"):
        assert (tmp_path / "out" / "figures" / f"roc.{kind}").stat().st_size > 5000
    table = pd.read_csv(tmp_path / "out" / "figures" / "roc.csv")
    panels = roc_panels(Numbers(results, document), paths)
    assert len(table) == len(frame_of(panels)) == 2 * len(ATTACKS) * len(panels[0].fpr)
    assert (table["low"] <= table["tpr"]).all()
    picture = panel_svg(panels[1], attack_looks(panels), "x")
    assert (
        f"{100 * max(band.tpr[np.argmin(abs(panels[1].fpr - 0.1))] for band in panels[1].bands.values()):.1f} %"
        in picture
    )
