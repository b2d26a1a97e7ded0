"""How exposed every training example is, by attacks with shadows in several blocks."""

from dataclasses import replace

import numpy as np
import pytest

import trilemma as tl
from trilemma.attacks.references import References
from trilemma.attacks.rmia import rmia_scores
from trilemma.attacks.signals import read_signals
from trilemma.errors import InputError
from trilemma.trial.audited import audited_blocks
from trilemma.trial.exposure import EXPOSURE, has_exposure, measure_exposure, read_exposure
from trilemma.trial.progress import Stopped
from trilemma.trial.run import SHADOWS
from trilemma.trial.shadows import Target, shadow_predictions, target_outputs

WRONG = 10  # training examples with a wrong label


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """An overfitted model, two blocks of shadows, and wrong labels that it had to learn by heart."""
    data = tl.load_data("digits", limit=100, test_limit=70)
    labels = data.train.labels.copy()
    labels[:WRONG] = (labels[:WRONG] + 1 + np.arange(WRONG) % 9) % 10
    data = replace(data, train=replace(data.train, labels=labels))
    recipe = tl.Recipe(
        model="convnet-4", batch_size=20, epochs=40, learning_rate=0.1, momentum=0.9, evaluations=1, norm_groups=2
    )
    run = tl.train(recipe, data, tmp_path_factory.mktemp("exposure") / "run")
    with pytest.raises(Stopped):
        measure_exposure(run, data, should_stop=lambda: True)
    assert not has_exposure(run.folder)
    measure_exposure(run, data)
    return run, data


def test_every_example_has_the_score_that_its_own_block_gives(measured):
    run, data = measured
    scores, blocks = read_exposure(run.folder, "rmia"), audited_blocks(data, run.recipe.seed)
    assert len(blocks) > 1
    for block in blocks:
        target = Target(run, data, block)
        predictions = shadow_predictions(target, target_outputs(target), 4)
        references = References.of(predictions)
        expected = rmia_scores(
            read_signals(predictions).confidence, references.confidence, references.member, ~block.member
        )
        np.testing.assert_allclose(scores[block.members], expected[block.member], atol=1e-9)


@pytest.mark.parametrize("rank", ["rmia", "lira"])
def test_wrong_labels_are_more_exposed_than_others(measured, rank):
    """With ten in a hundred, chance alone would put five or more among the first ten with probability 7e-4."""
    run, _ = measured
    first = np.argsort(-read_exposure(run.folder, rank), kind="stable")[:WRONG]
    assert np.count_nonzero(first < WRONG) >= 5


def test_a_file_that_is_damaged_is_refused(measured, tmp_path):
    run, _ = measured
    folder = tmp_path / SHADOWS
    folder.mkdir()
    whole = (run.folder / SHADOWS / EXPOSURE).read_bytes()
    (folder / EXPOSURE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"exposure\.npy"):
        read_exposure(tmp_path, "rmia")
    np.save(folder / EXPOSURE, np.array([[0.5, 0.6], [0.5, np.nan]]))
    with pytest.raises(InputError, match="not finite"):
        read_exposure(tmp_path, "rmia")
