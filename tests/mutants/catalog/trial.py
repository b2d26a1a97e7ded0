"""Errors planted in what a trial measures, releases, and reports."""

from __future__ import annotations

from planting import Planted

_RECOMPUTED, _RUNS, _TRAIN = "trial/test_recomputed.py", "trial/test_truth_of_runs.py", "trial/test_train.py"
_TOLD = "end_to_end/test_replay.py::test_neighbors_are_within_the_clipping_norm_and_nothing_else_is_told"

ERRORS = [
    Planted(
        "a checkpoint that was made on other terms is taken on",
        "trial/train.py",
        "        refuse_other_terms(header, training, self.folder)\n",
        "",
        (
            "trial/test_resume.py::test_updates_made_with_another_noise_multiplier_are_not_counted_with_these",
            "trial/test_resume.py::test_a_copy_of_a_stopped_run_does_not_go_on_with_its_secret_noise",
        ),
    ),
    Planted(
        "a file of weights is loaded without a look at its digest",
        "trial/weights.py",
        "if values.pop(DIGEST, None) != _digest(values, weights):",
        "if values.pop(DIGEST, None) is None:",
        (
            "trial/test_checksums.py::test_released_weights_and_what_is_said_of_them_belong_together",
            "trial/test_checksums.py::test_a_flipped_bit_in_released_weights_is_found",
        ),
    ),
    Planted(
        "a training that has shown one line is begun again",
        "trial/preflight.py",
        "or history.stat().st_size > 0)",
        "or history.read_text().count(chr(10)) > 1)",
        ("trial/test_preflight.py::test_a_training_that_has_shown_one_line_is_not_begun_again[one line]",),
    ),
    Planted(
        "a network is tried itself, and not a copy of it",
        "models/own.py",
        "_try(name, copied(name, network), classes",
        "_try(name, kept, classes",
        ("models/test_own.py::test_the_copy_has_the_weights_and_nothing_that_the_trial_left",),
    ),
    Planted(
        "accuracy is that of the training images",
        "trial/measure.py",
        "accuracy = float((predicted == data.test.labels).mean())",
        "accuracy = float((train.argmax(axis=1) == data.train.labels).mean())",
        (f"{_RECOMPUTED}::test_accuracies_agree_with_the_signals",),
    ),
    Planted(
        "matched attacks are unmatched",
        "trial/measure.py",
        "    matched = audit(weighted, attacks=names, seed=seed,",
        "    matched = audit(predictions, attacks=names, seed=seed,",
        (f"{_RECOMPUTED}::test_matched_attacks_agree_with_the_signals",),
    ),
    Planted(
        "unmatched attacks are matched",
        "trial/measure.py",
        "predictions, attacks=names, seed=seed, progress",
        "weighted, attacks=names, seed=seed, progress",
        (f"{_RECOMPUTED}::test_unmatched_attacks_agree_with_the_signals",),
    ),
    Planted(
        "the negative control ignores its weights",
        "trial/measure.py",
        "return never_saw(data.train, data.test, counts, weights, len(data.classes), seed=seed, attacks=names)",
        "return never_saw(data.train, data.test, counts, counts, len(data.classes), seed=seed, attacks=names)",
        (f"{_RECOMPUTED}::test_the_negative_control_agrees_with_an_independent_one",),
    ),
    Planted(
        "the score is of one attack and not of the strongest",
        "trial/measure.py",
        "score = harmonic_score(accuracy=accuracy, auc=matched.auc, bias=bias, groups=groups)",
        'score = harmonic_score(accuracy=accuracy, auc=matched.rocs["threshold"].auc, bias=bias, groups=groups)',
        (f"{_RECOMPUTED}::test_the_score_is_of_the_strongest_attack",),
    ),
    Planted(
        "copies of a test image are resampled apart",
        "trial/measure.py",
        "draws = bootstrap_test(test.labels, predicted, test.groups, classes=classes, sources=test.sources, seed=seed)",
        "draws = bootstrap_test(test.labels, predicted, test.groups, classes=classes, sources=None, seed=seed)",
        (f"{_RECOMPUTED}::test_accuracies_agree_with_the_signals",),
    ),
    Planted(
        "losses of training images are released beside the weights",
        "trial/train.py",
        "        with written(self.folder / WEIGHTS) as part:\n",
        '        weights["losses"] = training.state.evidence.rows.float() if training.state.evidence else weights[next('
        "iter(weights))].clone()\n"
        "        with written(self.folder / WEIGHTS) as part:\n",
        (f"{_RECOMPUTED}::test_logits_are_those_of_the_released_weights",),
        "losses-released",
    ),
    Planted(
        "the weights with the best accuracy on the test set are released",
        "trial/train.py",
        "            self.losses, self.evaluated = [], point\n",
        '            if line["accuracy"] >= getattr(self, "best", (0.0, None))[0] and point < course.updates:\n'
        '                self.best = line["accuracy"], {\n'
        "                    n: t.clone() for n, t in training.state.evaluation_weights().items()\n"
        "                }\n"
        "            if point == course.updates:\n"
        "                for n, t in training.state.evaluation_weights().items():\n"
        "                    t.copy_(self.best[1][n])\n"
        "            self.losses, self.evaluated = [], point\n",
        (f"{_RECOMPUTED}::test_released_weights_are_the_average",),
        "test-selection",
    ),
    Planted(
        "a run that fails its truth check keeps its epsilon",
        "trial/privacy_record.py",
        'wrong = "" if truth.passed else "the run failed its truth check"',
        'wrong = ""',
        (f"{_RUNS}::test_a_run_whose_noise_was_a_copy_has_no_epsilon",),
    ),
    Planted(
        "a run that its canaries contradict keeps its epsilon",
        "trial/privacy_record.py",
        'if not wrong and why_contradicted({"canaries": canaries}):',
        'if not wrong and why_contradicted({"canaries": None}):',
        ("trial/test_canaries.py::test_a_contradicted_run_claims_nothing",),
    ),
    Planted(
        "signals of single examples can be read by everybody",
        "trial/signals.py",
        "with written(path, private=True) as part:",
        "with written(path) as part:",
        ("trial/test_fingerprint.py::test_what_says_something_of_single_examples_can_be_read_by_its_owner_alone",),
    ),
    Planted(
        "config.json tells the data's digest",
        "trial/train.py",
        "        write_json(self.folder / CONFIG, self.config)\n",
        '        write_json(self.folder / CONFIG, self.config | {"digest": training.data.fingerprint})\n',
        ("trial/test_fingerprint.py::test_no_file_but_its_own_holds_a_digest_of_the_data",),
        "losses-released",
    ),
    Planted(
        "checkpoints stay when a run has ended",
        "trial/train.py",
        "        checkpoints.remove(self.folder)\n        return trained\n",
        "        return trained\n",
        (
            "trial/test_resume.py::test_secret_noise_leaves_no_state_of_a_stream",
            "trial/test_secrecy.py::test_nothing_that_is_left_of_a_finished_run_draws_its_noise_again",
        ),
    ),
]

HARMLESS = [
    Planted(
        "an accuracy is counted",
        "trial/measure.py",
        "accuracy = float((predicted == data.test.labels).mean())",
        "accuracy = int((predicted == data.test.labels).sum()) / len(predicted)",
        (f"{_RECOMPUTED}::test_accuracies_agree_with_the_signals",),
    ),
]
