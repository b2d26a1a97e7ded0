"""Errors planted in the training: views, streams, the update, averaging, sharpness, processes, checkpoints."""

from __future__ import annotations

from planting import Planted

_UPDATES, _NEIGHBORS, _RANKS = "training/test_updates.py", "training/test_neighbors.py", "training/test_ranks.py"
_USED, _REPLAY, _RESUME = "end_to_end/test_randomness_used.py", "end_to_end/test_replay.py", "trial/test_resume.py"
_RUNS, _KEYS = "trial/test_truth_of_runs.py", f"{_UPDATES}::TestStreamsOfASeed"
_LEARNED = "training/test_learned.py"
_HONEST = f"{_RUNS}::test_an_honest_run_says_so"
_SLOW = f"{_UPDATES}::test_a_private_update_is_the_slow_one"
_CUT = f"{_UPDATES}::test_weights_do_not_depend_on_the_physical_batch"
_ALONG = f"{_UPDATES}::test_an_update_goes_along_what_was_released_and_nothing_else"
_SAVED = f"{_UPDATES}::test_a_state_that_was_restored_is_the_state_that_was_saved"
_RUINED = f"{_UPDATES}::test_huge_noise_ruins_everything_that_is_released"
_TOLD = f"{_REPLAY}::test_neighbors_are_within_the_clipping_norm_and_nothing_else_is_told"
_MOVES = f"{_NEIGHBORS}::test_removing_an_example_moves_no_sum_by_more_than_the_clipping_norm"
_SHARED = f"{_USED}::test_no_two_updates_of_any_trainings_share_draws_or_noise"
_PIECES = f"{_USED}::test_a_resumed_training_uses_nothing_twice_and_repeats_what_it_makes_again"
_DIRECTIONS, _CANARIES = "privacy/test_directions.py", "training/test_canaries.py"
_STOPS = f"{_RESUME}::test_stopping_at_every_other_update_changes_nothing"

ERRORS = [
    Planted(
        "views are assigned by position",
        "training/inputs.py",
        "self.keys[rows],\n            update,",
        "self.keys[: len(rows)],\n            update,",
        (_MOVES, _TOLD),
    ),
    Planted(
        "mirrored views are rarer than they should be",
        "data/views.py",
        "mirrored = _shifted(words[:, :, 2:], 63) if flips",
        "mirrored = _shifted(words[:, :, 2:], 63) * _shifted(words[:, :, :1], 63) if flips",
        ("data/test_views.py",),
    ),
    Planted(
        "the noise does not depend on the images",
        "training/streams.py",
        '        "train": data.train.fingerprint,\n',
        "",
        (_KEYS, _SHARED),
        "generator-reused",
    ),
    Planted(
        "the noise does not depend on the initial weights",
        "training/streams.py",
        '        "initial weights": weights_digest(model),\n',
        "",
        (_KEYS, _SHARED),
        "generator-reused",
    ),
    Planted(
        "the noise does not depend on how the run is computed",
        "training/streams.py",
        '        "computation": vars(computation),\n',
        "",
        (_KEYS, _SHARED),
        "generator-reused",
    ),
    Planted(
        "sampling and noise are one stream",
        "training/streams.py",
        '        "purpose": purpose,\n',
        "",
        (_KEYS, f"{_CANARIES}::test_runs_with_and_without_canaries_share_no_randomness"),
        "generator-reused",
    ),
    Planted(
        "secret noise comes from the seed",
        "training/streams.py",
        "    if recipe.keeps_noise_secret:\n        return RandomStream.secret()\n",
        "",
        (
            f"{_UPDATES}::test_secret_noise_does_not_come_from_the_seed",
            _SHARED,
        ),
    ),
    Planted(
        "a resumed training starts its streams again",
        "training/state.py",
        "            getattr(self, name).set_state(value)\n",
        "            pass\n",
        (_STOPS, _PIECES),
        "resume-seed",
    ),
    Planted(
        "momentum is lost in a checkpoint",
        "training/state.py",
        "        lambda s, tensors: optimizers.restore(s.optimizer, s.model, tensors),\n",
        "        lambda s, tensors: None,\n",
        (_SAVED, _STOPS),
    ),
    Planted(
        "DP-SAT's direction is lost in a checkpoint",
        "training/state.py",
        '"previous": _tensors_of("previous"),',
        '"previous": (lambda s: s.previous, lambda s, tensors: None),',
        (_SAVED, _STOPS),
    ),
    Planted(
        "evidence is lost in a checkpoint",
        "training/state.py",
        "        if self.evidence is not None:\n            self.evidence.restore(",
        "        if self.evidence is None:\n            self.evidence.restore(",
        (_SAVED, _STOPS),
    ),
    Planted(
        "the sum before noise reaches the weights",
        "training/loop.py",
        "gradient = ranks.gradient_of_first(noisy)  # from here",
        "gradient = {n: s / course.batch_size for n, s in total.sums.items()}  # from here",
        (_RUINED, _TOLD),
        "unused-wrapper",
    ),
    Planted(
        "every process adds noise of its own",
        "training/loop.py",
        "noisy = private.plan.privatize(draw, total, state.noise, state.evidence) if ranks.first else total.sums",
        "noisy = private.plan.privatize(draw, total, state.noise, state.evidence)\n"
        "            for name, g in noisy.items():\n"
        "                g.mul_(ranks.size).sub_(total.sums[name], alpha=(ranks.size - 1) / course.batch_size)",
        (
            f"{_UPDATES}::test_a_process_that_is_not_the_first_adds_no_noise",
            f"{_RANKS}::test_two_processes_are_one_to_rounding",
        ),
        "every-rank",
    ),
    Planted(
        "an empty draw is skipped",
        "training/loop.py",
        "noisy = private.plan.privatize(draw, total, state.noise, state.evidence) if ranks.first else total.sums",
        "noisy = private.plan.privatize(draw, total, state.noise, state.evidence) if len(draw) else total.sums",
        (
            f"{_UPDATES}::test_an_empty_draw_is_an_update_like_any_other",
            f"{_USED}::test_a_hundred_empty_draws_are_a_hundred_updates",
        ),
        "empty-draw",
    ),
    Planted(
        "the last physical batch is dropped",
        "training/gradients.py",
        "for places in mine.split(physical_batch) if len(mine) else ():",
        "for places in mine.split(physical_batch)[: max(1, len(mine) // physical_batch)]:",
        (_CUT, _SLOW),
        "last-batch",
    ),
    Planted(
        "the perturbation is added for each physical batch",
        "training/gradients.py",
        "                part = self.clipping(images, labels)\n",
        "                with torch.no_grad():\n"
        "                    for name, p in state.model.named_parameters():\n"
        "                        if name in state.previous:\n"
        "                            p.add_(state.previous[name], alpha=self.recipe.sharpness_radius)\n"
        "                part = self.clipping(images, labels)\n",
        (_CUT, _TOLD),
        "dpsat-perturbation",
    ),
    Planted(
        "DP-SAT goes along the sum before noise",
        "training/loop.py",
        'state.previous = gradient if recipe.has("sat") else {}',
        'state.previous = dict(total.sums) if recipe.has("sat") else {}',
        (_ALONG, _TOLD),
        "dpsat-perturbation",
    ),
    Planted(
        "parameters that a network writes to in an update are not compared",
        "privacy/unchanged.py",
        'named = [("parameter", model.named_parameters()), ("buffer", model.named_buffers())]',
        'named = [("buffer", model.named_buffers())]',
        (
            "training/test_what_leaves.py::test_what_is_kept_in_one_mode_alone_is_seen_by_the_check"
            "[gradients-frozen parameter]",
            "training/test_what_leaves.py::test_what_the_check_did_not_see_kept_ends_the_training"
            "[large batches in training-trained parameter-techniques2]",
        ),
        "batch-norm",
    ),
    Planted(
        "attributes that a network sets are not compared",
        "privacy/unchanged.py",
        "            if name not in TENSORS_AND_MODULES:",
        "            if False:",
        (
            "training/test_what_leaves.py::test_what_is_kept_in_one_mode_alone_is_seen_by_the_check[evaluation-attribute]",
            "training/test_what_leaves.py::test_what_the_check_did_not_see_kept_ends_the_training"
            "[large evaluations-attribute-techniques3]",
        ),
        "batch-norm",
    ),
    Planted(
        "weights are perturbed and not put back",
        "training/sharpness.py",
        "                p.copy_(saved[name])\n",
        "                p.sub_(direction[name].to(p.dtype), alpha=0.5 * radius / norm)\n",
        (
            f"{_UPDATES}::test_perturbed_restores_to_the_bit",
            f"{_UPDATES}::test_a_private_update_with_sharpness_is_the_slow_one",
        ),
        "dpsat-perturbation",
    ),
    Planted(
        "the learning rate follows the private loss",
        "training/loop.py",
        "descend(state, gradient, learning_rate(recipe, course, state.update))",
        "descend(state, gradient, learning_rate(recipe, course, state.update) * max(loss, 0.1))",
        (_TOLD, _SLOW),
        "private-statistics",
    ),
    Planted(
        "the noise shrinks as the training goes on",
        "training/loop.py",
        "noisy = private.plan.privatize(draw, total, state.noise, state.evidence) if ranks.first else total.sums",
        "noisy = private.plan.privatize(draw, total, state.noise, state.evidence) if ranks.first else total.sums"
        "\n            size, decay = course.batch_size, 0.9**state.update\n"
        "            noisy = {n: decay * g + (1 - decay) * total.sums[n] / size for n, g in noisy.items()}",
        (_ALONG, _TOLD),
        "sigma-schedule",
    ),
    Planted(
        "the average takes in an unprivatized step",
        "training/loop.py",
        "        state.update += 1\n",
        "        state.update += 1\n"
        "        if private is not None and state.average and state.update == 1:\n"
        "            for n, s in total.sums.items():\n"
        "                state.average[n].sub_(s / course.batch_size)\n",
        (f"{_UPDATES}::test_the_average_of_a_training_is_that_of_its_weights", _TOLD),
        "unprivatized-average",
    ),
    Planted(
        "weights are averaged twice in an update",
        "training/averaging.py",
        "            average[name].lerp_(value, 1 - d)\n",
        "            average[name].lerp_(value, 1 - d).lerp_(value, 1 - d)\n",
        (
            f"{_UPDATES}::test_average_follows_its_formula",
            f"{_UPDATES}::test_the_average_of_a_training_is_that_of_its_weights",
        ),
        "average-per-batch",
    ),
    Planted(
        "the last weights are released in place of the average",
        "training/state.py",
        "return self.average or dict(self.model.state_dict())",
        "return dict(self.model.state_dict())",
        (f"{_UPDATES}::test_the_average_of_a_training_is_that_of_its_weights", "trial/test_recomputed.py"),
    ),
    Planted(
        "one more update is made than is charged",
        "training/loop.py",
        "while self.state.update < min(until, self.course.updates):",
        "while self.state.update < min(until, self.course.updates) + 1:",
        (
            f"{_UPDATES}::test_as_many_updates_are_made_as_are_planned",
            "trial/test_train.py::test_epsilon_is_recomputed_from_the_event_that_happened",
        ),
        "update-count",
    ),
    Planted(
        "a layer that a run learned is not marked",
        "training/learned.py",
        ".__dict__[_MARK] = str(folder)",
        ".__dict__.setdefault(_MARK[1:], None)",
        (
            f"{_LEARNED}::test_what_was_loaded_from_a_run_is_refused_with_a_budget[one layer of it, changed]",
            f"{_LEARNED}::test_what_was_loaded_from_a_run_is_refused_with_a_budget[one layer in a list]",
        ),
    ),
    Planted(
        "learned numbers are looked for in parameters alone",
        "training/learned.py",
        "state_of(network, copied=False).items() if",
        "dict(network.named_parameters()).items() if",
        (
            f"{_LEARNED}::test_what_was_loaded_from_a_run_is_refused_with_a_budget[a buffer]",
            f"{_LEARNED}::test_what_was_loaded_from_a_run_is_refused_with_a_budget[one array in a dict]",
        ),
    ),
    Planted(
        "what a run without a budget changed counts as untouched",
        "training/learned.py",
        "if name not in start or tensors_digest",
        "if name not in start and tensors_digest",
        (
            f"{_LEARNED}::test_what_a_run_did_not_train_may_begin_the_next_one[False]",
            f"{_LEARNED}::test_what_a_training_changed_was_learned_and_nothing_else",
        ),
    ),
    Planted(
        "what an earlier run learned counts as untouched in the next one",
        "training/learned.py",
        'and _MARK not in vars(_owner(network, name)) and not _learned_by("", tensor)',
        "",
        (
            f"{_LEARNED}::test_what_another_run_learned_stays_learned[mark]",
            f"{_LEARNED}::test_what_another_run_learned_stays_learned[numbers]",
        ),
    ),
    Planted(
        "a network that is built by name is not asked whether a run learned it",
        "training/loop.py",
        "refuse_learned(recipe, model)",
        "refuse_learned(recipe, self.network)",
        (
            f"{_LEARNED}::test_a_network_that_is_built_from_a_run_is_refused_too",
            f"{_LEARNED}::test_it_is_refused_in_the_other_processes_of_a_training_too",
        ),
    ),
    Planted(
        "processes of other versions compute one training",
        "training/loop.py",
        "versions = (__version__, str(torch.__version__))",
        "versions = ()",
        (
            f"{_UPDATES}::test_a_process_that_would_compute_something_else_does_not_follow[torch]",
            f"{_UPDATES}::test_a_process_that_would_compute_something_else_does_not_follow[version]",
        ),
    ),
    Planted(
        "processes with layers of other sizes, or other frozen layers, compute one training",
        "training/loop.py",
        "str(self.autocast), layers, shapes, versions",
        "str(self.autocast), layers, versions",
        (
            f"{_UPDATES}::test_a_process_that_would_compute_something_else_does_not_follow[width]",
            f"{_UPDATES}::test_a_process_that_would_compute_something_else_does_not_follow[frozen]",
        ),
    ),
    Planted(
        "an example is computed by two processes",
        "training/ranks.py",
        "return torch.arange(count)[self.rank :: self.size]",
        "return torch.arange(count)[max(0, self.rank - 1) :: self.size]",
        (f"{_RANKS}::test_shares_are_everyone_once", f"{_RANKS}::test_two_processes_are_one_to_rounding"),
    ),
    Planted(
        "a damaged checkpoint is taken for a whole one",
        "training/checkpoints.py",
        'if metadata.get("digest") != _digest(tensors, metadata["header"]):',
        'if not metadata.get("digest"):',
        (
            "training/test_checkpoints.py::test_damage_anywhere_is_noticed_and_the_one_before_is_used",
            "training/test_checkpoints.py::test_a_damaged_piece_is_noticed",
        ),
    ),
    Planted(
        "a checkpoint of secret noise stays when the run has ended",
        "training/checkpoints.py",
        "        path.unlink(missing_ok=True)\n\n\ndef _apart",
        "        path.exists()\n\n\ndef _apart",
        (
            f"{_RESUME}::test_secret_noise_leaves_no_state_of_a_stream",
            "trial/test_train.py::test_the_contract_of_files",
        ),
    ),
    Planted(
        "pre-training looks at the private images",
        "training/pretraining.py",
        "images = synthetic_images(_IMAGES, data.image_shape, recipe.prior_seed)",
        "images = torch.as_tensor(data.train.images)",
        (
            "training/test_pretraining.py::test_initial_weights_do_not_depend_on_the_private_images_or_on_the_seed",
            _TOLD,
        ),
        "private-statistics",
    ),
    Planted(
        "a gradient canary adds twice the clipping norm",
        "privacy/directions.py",
        "self._signs[drawn] * (norm / share**0.5)",
        "self._signs[drawn] * (2 * norm / share**0.5)",
        (
            f"{_DIRECTIONS}::test_each_canary_adds_a_vector_of_norm_c_orthogonal_to_the_others",
            f"{_DIRECTIONS}::test_a_score_is_what_was_added_whatever_the_examples_were",
        ),
    ),
    Planted(
        "the examples' gradients stay in the scores of canaries",
        "privacy/directions.py",
        "return (self._projections(released) * batch_size - before) / clipping_norm",
        "return self._projections(released) * batch_size / clipping_norm",
        (
            f"{_DIRECTIONS}::test_a_score_is_what_was_added_whatever_the_examples_were",
            f"{_CANARIES}::test_a_training_without_noise_is_caught",
        ),
    ),
    Planted(
        "a canary that is in is in every draw",
        "training/canaries.py",
        "poisson_draw(coins.count, real.sampling_probability, coins.stream)",
        "poisson_draw(coins.count, 1.0, coins.stream)",
        (
            f"{_CANARIES}::test_coins_are_fair_and_every_canary_that_is_in_is_drawn_with_q",
            f"{_CANARIES}::test_a_correct_training_passes_its_truth_check_and_is_not_contradicted[gradient]",
        ),
    ),
    Planted(
        "canaries are counted in N",
        "training/loop.py",
        "recipe, len(self.data.train), lambda: self.ordinary",
        "recipe, len(data.train), lambda: self.ordinary",
        (
            f"{_CANARIES}::test_budget_and_batch_are_those_of_the_examples_alone[mislabelled]",
            f"{_CANARIES}::test_a_correct_training_passes_its_truth_check_and_is_not_contradicted[mislabelled]",
        ),
    ),
]

HARMLESS = [
    Planted(
        "the decay's warm-up is written otherwise",
        "training/averaging.py",
        "d = min(decay, (1 + update) / (10 + update))",
        "d = min((update + 1) / (update + 10), decay)",
        (f"{_UPDATES}::test_average_follows_its_formula",),
    ),
    Planted(
        "the cosine schedule by a square",
        "training/descent.py",
        "rate = rate * (1 + math.cos(math.pi * (update / course.updates))) / 2",
        "rate = rate * math.cos(math.pi * update / course.updates / 2) ** 2",
        (_UPDATES,),
    ),
    Planted(
        "the scatter of OBS as a quotient",
        "training/batch_size.py",
        "scatter = (a - b) / (1 / small_batch - 1 / large_batch)",
        "scatter = (a - b) * (small_batch * large_batch) / (large_batch - small_batch)",
        ("training/test_techniques.py",),
    ),
    Planted(
        "the perturbation's factor is computed first",
        "training/sharpness.py",
        "p.add_(direction[name].to(p.dtype), alpha=radius / norm)",
        "p.add_(direction[name].to(p.dtype) * (radius / norm))",
        (f"{_UPDATES}::test_perturbed_restores_to_the_bit",),
    ),
]
