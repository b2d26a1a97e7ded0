"""Errors planted in what the guarantee rests on: accounting, sampling, clipping, noise, plan, checks."""

from __future__ import annotations

from planting import Planted

_ACCOUNTING, _LOSSES = "privacy/test_accounting.py", "privacy/test_loss_distribution.py"
_NOISE, _PLAN, _SAMPLING = "privacy/test_noise.py", "privacy/test_plan.py", "privacy/test_sampling.py"
_STREAM, _TRUTH, _VALIDATION = "privacy/test_randomness.py", "privacy/test_truth.py", "privacy/test_validation.py"
_EDGES, _RULES, _LINEAR = "privacy/test_edge_cases.py", "privacy/test_fast_rules.py", "privacy/test_linear.py"
_ARITHMETIC, _MODELS, _CLIPPING = (
    "privacy/test_arithmetic.py",
    "privacy/test_models_and_oracle.py",
    "privacy/test_clipping.py",
)
_RUNS = "trial/test_truth_of_runs.py"
_THREADS, _OWN_LOSSES = "privacy/test_side_by_side.py", "privacy/test_losses.py"
_HELD, _NAMED = "privacy/test_held.py", "privacy/test_named.py"
_LEAVES, _REPEATS = "training/test_what_leaves.py", "privacy/test_repeats.py"

ERRORS = [
    Planted(
        "an example that has another gradient after others is accepted",
        "privacy/clipping.py",
        "functools.partial(refuse_other_gradient, before, after, allowed)",
        "functools.partial(refuse_other_gradient, before, before, allowed)",
        (
            f"{_REPEATS}::test_what_is_kept_anywhere_is_refused[file-loop]",
            f"{_REPEATS}::test_the_same_batch_each_time_is_no_exception[8-loop]",
        ),
    ),
    Planted(
        "a loss from outside is not watched beside a network that keeps nothing",
        "privacy/clipping.py",
        "                if objective.side_by_side:",
        "                if replace(objective, loss=cross_entropy).side_by_side:",
        (
            f"{_REPEATS}::test_a_loss_is_watched_alike[file-None-linear]",
            f"{_REPEATS}::test_a_loss_is_watched_alike[None-secrets-loop]",
        ),
    ),
    Planted(
        "the first pass of a network is one of a private image",
        "privacy/clipping.py",
        "        if not call:  #",
        "        if call:  #",
        (
            f"{_REPEATS}::test_what_the_first_pass_of_all_sets_is_no_image_s[loop]",
            f"{_REPEATS}::test_honest_networks_are_not_refused_and_sums_are_what_they_were[table-loop-None]",
        ),
    ),
    Planted(
        "a loss is shown a private image first",
        "privacy/clipping.py",
        "        if not call:  #",
        '        if not call and self.method == "loop":  #',
        (
            f"{_REPEATS}::test_what_a_loss_sets_once_is_of_no_image[auto]",
            f"{_REPEATS}::test_what_a_loss_sets_once_is_of_no_image[layerwise]",
        ),
    ),
    Planted(
        "what a batch makes of an example is not compared with the example alone",
        "privacy/repeats.py",
        '        if not same:\n            raise PrivacyError(\n                f"an example computed',
        '        if not same and place < 0:\n            raise PrivacyError(\n                f"an example computed',
        (
            f"{_REPEATS}::test_an_image_that_changes_what_is_done_to_others_is_refused[bytes or fractions-0-1]",
            f"{_REPEATS}::test_an_image_that_changes_what_is_done_to_others_is_refused[all outputs finite-5-1]",
        ),
    ),
    Planted(
        "the example alone has its first view only",
        "privacy/repeats.py",
        "    return loop(objective, images[place : place + 1], labels[place : place + 1])",
        "    return loop(objective, images[place : place + 1, :1], labels[place : place + 1])",
        (
            f"{_REPEATS}::test_what_is_kept_for_so_many_views_is_of_no_image",
            f"{_REPEATS}::test_honest_networks_are_not_refused_and_sums_are_what_they_were[convolutions-auto-None]",
        ),
    ),
    Planted(
        "an evaluation asks for a gradient with all modules in training mode",
        "privacy/repeats.py",
        "            module.training = mode\n        yield",
        "            module.training = mode or modes[0][1]\n        yield",
        (
            f"{_REPEATS}::test_a_part_that_stays_in_evaluation_mode_is_asked_as_updates_ask_it[train]",
            f"{_REPEATS}::test_a_part_that_stays_in_evaluation_mode_is_asked_as_updates_ask_it[test]",
        ),
    ),
    Planted(
        "a profiled script counts as a module of Python",
        "outside.py",
        '    if module == "__main__":',
        '    if module == "__main__ of nobody":',
        ("privacy/test_own_code.py::test_a_script_and_one_that_is_profiled[runner1]",),
    ),
    Planted(
        "classes of a namespace without a name count as Python's",
        "privacy/held.py",
        "bool(kind.__flags__ & _MADE_WHILE_RUNNING) and",
        "False and",
        (
            "privacy/test_own_code.py::test_code_that_is_executed_in_a_namespace[named0]",
            "privacy/test_own_code.py::test_code_that_is_executed_in_a_namespace[named1]",
        ),
    ),
    Planted(
        "relative imports are resolved one package too high",
        "privacy/named.py",
        'package.rsplit(".", level - 1)[0]',
        'package.rsplit(".", level)[0]',
        (
            "privacy/test_named.py::test_what_is_kept_in_a_module_of_the_same_package_is_seen[from above, of three]",
            "privacy/test_named.py::test_what_is_kept_in_a_module_of_the_same_package_is_seen[two above, of three]",
        ),
    ),
    Planted(
        "the last example of each batch is the one computed alone",
        "privacy/clipping.py",
        "int(len(images) * (call * _GOLDEN % 1))",
        "len(images) - 1",
        (
            f"{_REPEATS}::test_every_place_of_a_batch_is_looked_at[8]",
            f"{_REPEATS}::test_every_place_of_a_batch_is_looked_at[4]",
        ),
    ),
    Planted(
        "norms before the clip are not compared",
        "privacy/repeats.py",
        "    if bool(((first - second).abs() > allowed",
        "    if limit < 0 and bool(((first - second).abs() > allowed",
        (
            f"{_REPEATS}::test_norms_before_the_clip_count_too",
            f"{_REPEATS}::test_a_loss_is_watched_alike[None-secrets-loop]",
        ),
    ),
    Planted(
        "gradients may differ by ten times the tolerance",
        "privacy/repeats.py",
        "<= allowed * limit",
        "<= 10 * allowed * limit",
        (
            f"{_REPEATS}::test_gradients_may_differ_by_rounding_and_no_more[1.0]",
            f"{_REPEATS}::test_gradients_may_differ_by_rounding_and_no_more[1e-30]",
        ),
    ),
    Planted(
        "an evaluation may leave other outputs",
        "privacy/repeats.py",
        "    if not (_same_outputs(before, after, allowed) and ",
        "    if not (",
        (
            f"{_REPEATS}::test_outputs_are_compared_by_their_size",
            f"{_REPEATS}::test_what_an_evaluation_leaves_is_refused[file-and seen in evaluations-techniques0]",
        ),
    ),
    Planted(
        "an evaluation may leave other gradients",
        "privacy/repeats.py",
        " and _same_gradient(before.gradient, after.gradient, allowed)):",
        "):",
        (
            f"{_REPEATS}::test_outputs_are_compared_by_their_size",
            f"{_REPEATS}::test_what_an_evaluation_leaves_is_refused[file-and seen in gradients-techniques1]",
        ),
    ),
    Planted(
        "a pass for outputs hides from the gradient what an evaluation left",
        "training/evaluation.py",
        "responses(model, first, in_updates, gradient_first=True)",
        "responses(model, first, in_updates, gradient_first=False)",
        (
            f"{_REPEATS}::test_what_an_evaluation_leaves_is_refused[file-and seen in gradients-techniques0]",
            f"{_REPEATS}::test_what_an_evaluation_leaves_is_refused[file-and seen in gradients alone-techniques1]",
        ),
    ),
    Planted(
        "the check before the first update does not compare gradients after others",
        "privacy/validation.py",
        "refuse_other_gradient(before, gradient_alone(objective, images[:, None], labels), ",
        "refuse_other_gradient(before, before, ",
        (
            f"{_REPEATS}::test_the_check_sees_what_gradients_alone_show[backward]",
            f"{_REPEATS}::test_the_check_sees_what_gradients_alone_show[backward, of evaluations]",
        ),
    ),
    Planted(
        "what cannot be looked into is accepted",
        "privacy/unchanged.py",
        "        if isinstance(value, Hidden):\n            kind",
        "        if value is None and isinstance(value, Hidden):\n            kind",
        (
            f"{_HELD}::test_what_cannot_be_looked_into_is_refused_by_name[iterator]",
            f"{_HELD}::test_a_loss_that_holds_what_cannot_be_looked_into_is_refused[generator]",
        ),
    ),
    Planted(
        "a call of one's own does not ask what cannot be looked into",
        "privacy/unchanged.py",
        "    refuse_hidden(before)\n",
        "",
        (
            f"{_HELD}::test_what_cannot_be_looked_into_is_refused_by_name[iterator]",
            f"{_HELD}::test_a_loss_that_holds_what_cannot_be_looked_into_is_refused[generator]",
        ),
    ),
    Planted(
        "an object of compiled code counts as one that shows what it holds",
        "privacy/held.py",
        "    return kind.__basicsize__ == base.__basicsize__ + _POINTER * pointers\n",
        "    return pointers >= 0\n",
        (
            f"{_HELD}::test_what_cannot_be_looked_into_is_refused_by_name[iterator]",
            f"{_HELD}::test_an_object_shows_all_if_its_memory_is_accounted_for",
        ),
    ),
    Planted(
        "attributes of tensors are not compared",
        "privacy/held.py",
        "    if base not in _ALONE or own_classes(kind):",
        "    if base not in (*_ALONE, Tensor) or own_classes(kind):",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[attribute of a buffer]",
            f"{_HELD}::test_what_changes_in_any_place_is_refused[attribute of a tensor]",
        ),
    ),
    Planted(
        "what is in a set is not looked into",
        "privacy/held.py",
        "    ((set,), lambda value: (None, _numbered(set.__iter__(value)))),",
        "    ((set,), lambda value: (None, {})),",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[object in a set]",
            f"{_HELD}::test_what_changes_is_refused_however_sums_are_computed[object in a set]",
        ),
    ),
    Planted(
        "objects of torch's classes are taken as they are",
        "privacy/held.py",
        "    if base in _BY_NAME:\n",
        "    if base in _BY_NAME or kind.__module__.split('.')[0] == 'torch':\n",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[distribution]",
            f"{_HELD}::test_what_changes_is_refused_however_sums_are_computed[distribution]",
        ),
    ),
    Planted(
        "a copy in place of a parameter is not noticed",
        "privacy/unchanged.py",
        '            state[name] = f"the same as {seen[id(value)][0]}"\n            continue\n',
        "            if not isinstance(value, Tensor):\n                continue\n",
        (
            f"{_HELD}::test_two_names_of_one_tensor_that_become_names_of_two_are_a_change",
            "models/test_own.py::test_what_an_update_would_refuse_is_refused_before_the_first"
            "[Recurrent-changes the attribute rows._flat_weight]",
        ),
    ),
    Planted(
        "signs of zeros are not compared",
        "privacy/unchanged.py",
        "        return torch.equal(_bits(first), _bits(second))",
        "        return torch.equal(first, second)",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[sign of zero]",
            f"{_HELD}::test_numbers_are_compared_to_the_bit",
        ),
    ),
    Planted(
        "random numbers of numpy are not seen",
        "privacy/validation.py",
        "torch.default_generator, np.random.mtrand._rand, random._inst",
        "torch.default_generator, random._inst",
        (
            f"{_HELD}::test_random_numbers_of_any_generator_are_refused[loop-numpy]",
            f"{_HELD}::test_random_numbers_of_any_generator_are_refused[layerwise-numpy]",
        ),
    ),
    Planted(
        "random numbers of a generator that a network holds are not seen",
        "privacy/held.py",
        "    return random_state(generator), {",
        "    return None, {",
        (
            f"{_HELD}::test_random_numbers_of_any_generator_are_refused[loop-torch, held]",
            f"{_HELD}::test_random_numbers_of_any_generator_are_refused[loop-numpy, held]",
        ),
    ),
    Planted(
        "what a subclass of a dict shows is taken for what it holds",
        "privacy/held.py",
        "enumerate(dict.items(values))",
        "enumerate(values.items())",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[dict that shows no items]",
            f"{_HELD}::test_what_changes_in_any_place_is_refused[read-only view of one]",
        ),
    ),
    Planted(
        "what a subclass of a list shows is taken for what it holds",
        "privacy/held.py",
        "_numbered(list.__iter__(value))",
        "_numbered(value)",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[list that shows nothing]",
            f"{_HELD}::test_a_subclass_shows_what_it_holds_whatever_it_says[list]",
        ),
    ),
    Planted(
        "values of a class are the same where the class says so",
        "privacy/held.py",
        "(kind,), lambda value: ((type(value), text(value)), {})",
        "(kind,), lambda value: (value, {})",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[number that equals all]",
            f"{_HELD}::test_what_changes_in_any_place_is_refused[sign of a zero of numpy]",
        ),
    ),
    Planted(
        "a slot is read by its name",
        "privacy/held.py",
        "held[name] = member.__get__(value)",
        "held[name] = getattr(value, member.__name__)",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[slot that a class attribute hides]",
            f"{_HELD}::test_what_changes_in_any_place_is_refused[slot that another slot hides]",
        ),
    ),
    Planted(
        "an expanded view counts as large as its storage",
        "privacy/held.py",
        "    if not whole or storage.nbytes() != ",
        "    if storage.nbytes() > ",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[storage between the numbers of a view]",
            f"{_HELD}::test_the_whole_storage_of_a_view_is_compared",
        ),
    ),
    Planted(
        "what a tensor is a view of is not looked into",
        "privacy/held.py",
        '    for name in ("_base", ',
        "    for name in (",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[attribute of a view's base]",
            f"{_HELD}::test_the_base_of_a_view_is_looked_into",
        ),
    ),
    Planted(
        "functions of numpy are taken as they are",
        "privacy/held.py",
        "return function, _numbered(gc.get_referents(function))",
        "return function, {}",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[function of numpy made of one's own]",
            f"{_HELD}::test_a_function_of_numpy_shows_what_it_was_made_of",
        ),
    ),
    Planted(
        "loggers are taken as they are",
        "privacy/named.py",
        'return Variables(logger), {name: vars(logger).get(name) for name in ("level", "disabled", "propagate")}',
        "return logger, {}",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[attribute of a logger]",
            f"{_HELD}::test_what_changes_in_any_place_is_refused[level of a logger]",
            f"{_HELD}::test_what_changes_in_any_place_is_refused[records of a handler]",
        ),
    ),
    Planted(
        "arguments of annotations are not looked into",
        "privacy/held.py",
        "return None, {name: getattr(value, name) for name in names if hasattr(value, name)}",
        "return value, {}",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[argument of a generic type]",
            f"{_HELD}::test_what_changes_in_any_place_is_refused[note of an annotation]",
        ),
    ),
    Planted(
        "metadata of numpy's types are not looked into",
        "privacy/held.py",
        '"metadata": dtype.metadata, ',
        "",
        (
            f"{_HELD}::test_what_changes_in_any_place_is_refused[metadata of a type of numpy]",
            f"{_HELD}::test_what_changes_in_any_place_is_refused[metadata of a field]",
        ),
    ),
    Planted(
        "children of a generator are not counted",
        "privacy/held.py",
        '{"seeds": bits.seed_seq} if isinstance(bits, np.random.BitGenerator) else {}',
        "{}",
        (
            f"{_HELD}::test_random_numbers_of_any_generator_are_refused[loop-child of numpy's, held]",
            f"{_HELD}::test_random_numbers_of_any_generator_are_refused[loop-child of older numpy's, held]",
        ),
    ),
    Planted(
        "random numbers may be drawn where their generator is put back",
        "privacy/named.py",
        '_RESTORING = frozenset({"fork_rng", "set_rng_state", "setstate"})',
        "_RESTORING = frozenset({'fork'})",
        (
            f"{_HELD}::test_random_numbers_whose_generator_is_put_back_are_refused[loop-forked]",
            f"{_HELD}::test_random_numbers_whose_generator_is_put_back_are_refused[loop-put_back_random]",
        ),
    ),
    Planted(
        "hooks of the state are not looked into",
        "privacy/structure.py",
        'TENSORS_AND_MODULES = ("_parameters", "_buffers", "_modules")',
        'TENSORS_AND_MODULES = ("_parameters", "_buffers", "_modules", *_STATE_HOOKS)',
        (
            f"{_HELD}::test_what_a_hook_of_the_state_keeps_is_seen[_state_dict_hooks]",
            f"{_HELD}::test_what_a_hook_of_the_state_keeps_is_seen[_load_state_dict_pre_hooks]",
        ),
    ),
    Planted(
        "one draw is released twice",
        "privacy/plan.py",
        "        if draw.released:\n",
        "        if draw.released and not len(draw):\n",
        (
            f"{_PLAN}::test_a_draw_is_released_once",
            "docs/test_blocks.py::test_the_loop_makes_no_more_updates_than_planned_and_none_twice",
        ),
    ),
    Planted(
        "more updates than planned are made",
        "privacy/plan.py",
        "        if stream.position >= self.updates:",
        "        if stream.position > 2 * self.updates:",
        (
            f"{_PLAN}::test_no_more_updates_are_made_than_planned",
            "docs/test_blocks.py::test_the_loop_makes_no_more_updates_than_planned_and_none_twice",
        ),
    ),
    Planted(
        "two threads share what a network holds for a moment",
        "privacy/gradients/sums.py",
        "return type(self.loss) is CrossEntropy and keeps_nothing(self.model)",
        "return type(self.loss) is CrossEntropy",
        (
            f"{_THREADS}::test_threads_do_not_share_what_a_network_holds_for_a_moment",
            f"{_THREADS}::test_a_subclass_of_our_loss_is_not_ours",
        ),
    ),
    Planted(
        "every class of layers is taken for one that keeps nothing",
        "privacy/structure.py",
        "(ours or kind in _STATELESS)",
        "isinstance(module, nn.Module)",
        (
            f"{_THREADS}::test_other_layers_may_keep_something",
            "training/test_what_leaves.py::test_a_network_from_outside_is_evaluated_in_one_thread",
        ),
    ),
    Planted(
        "a loss of one's own sees the whole batch",
        "privacy/gradients/sums.py",
        "if type(self.loss) is CrossEntropy:",
        "if callable(self.loss):",
        (
            f"{_OWN_LOSSES}::test_a_loss_sees_one_example_at_a_time[layerwise-centered-1]",
            f"{_OWN_LOSSES}::test_a_loss_that_averages_the_batch_is_refused[layerwise]",
        ),
    ),
    Planted(
        "what a loss keeps of the examples is not compared",
        "privacy/unchanged.py",
        'roots.append(("loss", loss))',
        'roots.append(("loss", None))',
        (
            f"{_OWN_LOSSES}::test_a_loss_that_keeps_something_of_the_examples_is_refused[layerwise-object]",
            f"{_OWN_LOSSES}::test_a_loss_that_keeps_something_of_the_examples_is_refused[loop-closure]",
        ),
    ),
    Planted(
        "global variables of a network are not compared",
        "privacy/named.py",
        "for name in names.variables if name in variables}",
        "for name in () if name in variables}",
        (
            f"{_LEAVES}::test_what_is_kept_in_one_mode_alone_is_seen_by_the_check[evaluation-global dict]",
            f"{_OWN_LOSSES}::test_a_loss_that_keeps_something_of_the_examples_is_refused[loop-global]",
        ),
    ),
    Planted(
        "modules that a function imports are not looked into",
        "privacy/named.py",
        "for name, module in _imported_modules(function).items()}",
        "for name, module in _imported_modules(function).items() if not name}",
        (
            f"{_NAMED}::test_what_is_kept_in_a_module_is_seen_by_whatever_way[imported inside]",
            f"{_NAMED}::test_a_module_that_a_pass_imports_is_refused_until_it_is_imported_before",
        ),
    ),
    Planted(
        "modules that a network holds are taken as they are",
        "privacy/named.py",
        "(Variables(module) if _is_own_module(module) else module), {}",
        "module, {}",
        (
            f"{_NAMED}::test_what_is_kept_in_a_module_is_seen_by_whatever_way[attribute]",
            f"{_NAMED}::test_what_is_kept_in_a_module_is_seen_by_whatever_way[with a dot]",
        ),
    ),
    Planted(
        "modules made by hand count as those of a package of their name",
        "privacy/named.py",
        "    if sys.modules.get(name) is module:\n",
        "    if name in sys.modules:\n",
        (
            f"{_NAMED}::test_what_is_kept_in_a_module_is_seen_by_whatever_way[made by hand, called as a package]",
            f"{_NAMED}::test_a_module_made_by_hand_is_looked_into_whatever_its_name[torch]",
        ),
    ),
    Planted(
        "variables of a module that code looks up are sought before all code has been found",
        "privacy/unchanged.py",
        "    while waiting or (waiting := _looked_up(owners, names)):\n        name, value = waiting.pop()\n",
        "    while waiting:\n        name, value = waiting.pop()\n"
        "        waiting += _looked_up(owners, names) if name == roots[-1][0] else []\n",
        (
            f"{_NAMED}::test_what_is_kept_in_a_module_is_seen_by_whatever_way[with two dots]",
            f"{_NAMED}::test_a_loss_that_keeps_something_in_a_module_is_refused[as an argument]",
        ),
    ),
    Planted(
        "relative imports are not followed",
        "privacy/named.py",
        "        if level:\n",
        "        if level > 9:\n",
        (
            f"{_NAMED}::test_what_is_kept_in_a_module_of_the_same_package_is_seen[from the package]",
            f"{_NAMED}::test_what_is_kept_in_a_module_of_the_same_package_is_seen[from beside]",
        ),
    ),
    Planted(
        "code that asks for variables by computed names is accepted",
        "privacy/named.py",
        "        if name not in _BUILTINS or",
        "        if name in _RESTORING or name in _BUILTINS and not",
        (
            f"{_NAMED}::test_code_that_asks_for_variables_by_computed_names_is_refused[globals]",
            f"{_NAMED}::test_code_that_asks_for_variables_by_computed_names_is_refused[sys.modules]",
        ),
    ),
    Planted(
        "attributes of a network's classes are not compared",
        "privacy/unchanged.py",
        'roots.append((f"class {own.__qualname__}", own))',
        "continue",
        (
            f"{_LEAVES}::test_what_is_kept_in_one_mode_alone_is_seen_by_the_check[evaluation-dict of a base class]",
            f"{_LEAVES}::test_what_the_check_did_not_see_kept_ends_the_training"
            "[large evaluations-class attribute-techniques10]",
        ),
    ),
    Planted(
        "typed arrays are not compared",
        "privacy/held.py",
        "((array.array, bytearray), lambda value: (memoryview(value).tobytes(), {})),",
        "((array.array, bytearray), lambda value: (None, {})),",
        (
            f"{_LEAVES}::test_what_is_kept_in_one_mode_alone_is_seen_by_the_check[evaluation-typed array]",
            f"{_LEAVES}::test_what_is_kept_in_one_mode_alone_is_seen_by_the_check[gradients-typed array]",
        ),
    ),
    Planted(
        "the truth check never computes a batch without an example",
        "privacy/evidence.py",
        "rest = torch.arange(len(labels), device=labels.device) != place",
        "rest = torch.arange(len(labels), device=labels.device) >= 0",
        (
            "training/test_what_leaves.py::test_a_helper_that_mixes_examples_and_came_after_the_check_fails_the_truth_check"
            "[False]",
            f"{_RUNS}::test_an_honest_run_says_so",
        ),
    ),
    Planted(
        "the noise is divided by the batch size twice",
        "privacy/plan.py",
        "standard_deviation=self.noise_multiplier * self.clipping_norm,\n            stream=stream,",
        "standard_deviation=self.noise_multiplier * self.clipping_norm / self.batch_size,\n            stream=stream,",
        (f"{_NOISE}::test_noise_has_the_deviation_of_the_plan", f"{_RUNS}::test_an_honest_run_says_so"),
        "batch-factor",
    ),
    Planted(
        "the noise forgets the clipping norm",
        "privacy/plan.py",
        "standard_deviation=self.noise_multiplier * self.clipping_norm,\n            stream=stream,",
        "standard_deviation=self.noise_multiplier,\n            stream=stream,",
        (
            f"{_NOISE}::test_noise_has_the_deviation_of_the_plan",
            f"{_NOISE}::test_noise_is_added_once_however_the_draw_is_cut",
        ),
        "scale-normalizer",
    ),
    Planted(
        "noise one percent too small",
        "privacy/plan.py",
        "standard_deviation=self.noise_multiplier * self.clipping_norm,\n            stream=stream,",
        "standard_deviation=0.99 * self.noise_multiplier * self.clipping_norm,\n            stream=stream,",
        (
            f"{_NOISE}::test_noise_has_the_deviation_of_the_plan",
            f"{_NOISE}::test_noise_is_added_once_however_the_draw_is_cut",
        ),
        "scale-normalizer",
    ),
    Planted(
        "the sum is divided by the drawn batch",
        "privacy/plan.py",
        "released = {name: value / self.batch_size for name, value in noisy.items()}",
        "released = {name: value / max(1, len(draw)) for name, value in noisy.items()}",
        (f"{_PLAN}::test_the_normalizer_is_equal_on_neighbors", f"{_RUNS}::test_an_honest_run_says_so"),
        "drawn-batch",
    ),
    Planted(
        "a GPU's kernel takes every example's images from the first",
        "privacy/gradients/kernels.py",
        "images = inputs + example * (VIEWS * HEIGHT * WIDTH * IN)",
        "images = inputs",
        (
            "privacy/test_kernels.py::test_results_agree_with_torch",
            "privacy/test_kernels.py::test_a_network_has_the_loops_sums",
        ),
    ),
    Planted(
        "the best of several guesses counts as if it were the only one",
        "privacy/canaries.py",
        "largest_epsilon(len(scores), count, correct, delta, significance / len(counts))",
        "largest_epsilon(len(scores), count, correct, delta, significance)",
        (
            "privacy/test_canaries.py::test_what_so_many_canaries_can_show_at_most",
            "privacy/test_canaries.py::test_guessing_the_best_of_all_choices_without_a_correction_would_be_wrong_more_often",
        ),
    ),
    Planted(
        "batches of fixed size by shuffling",
        "privacy/sampling.py",
        "indices = torch.nonzero(stream.uniform(examples) < sampling_probability).squeeze(1)",
        "indices = stream.uniform(examples).argsort()[: round(examples * sampling_probability)].sort().values",
        (f"{_SAMPLING}::test_a_plan_draws_at_its_own_rate", f"{_SAMPLING}::test_empty_draws_happen_and_are_draws"),
        "shuffled",
    ),
    Planted(
        "everybody is drawn a little too often",
        "privacy/sampling.py",
        "stream.uniform(examples) < sampling_probability",
        "stream.uniform(examples) < 1.1 * sampling_probability",
        (f"{_SAMPLING}::test_a_plan_draws_at_its_own_rate", f"{_SAMPLING}::test_inclusions_are_independent_coins"),
    ),
    Planted(
        "the same coin for two examples side by side",
        "privacy/sampling.py",
        "stream.uniform(examples) < sampling_probability",
        "stream.uniform(-(-examples // 2)).repeat_interleave(2)[:examples] < sampling_probability",
        (f"{_SAMPLING}::test_inclusions_are_independent_coins", f"{_SAMPLING}::test_a_plan_draws_at_its_own_rate"),
    ),
    Planted(
        "the sampling rate of half a batch is charged",
        "privacy/accounting.py",
        "return batch_size / examples",
        "return batch_size / 2 / examples if batch_size < examples else 1.0",
        (
            f"{_ACCOUNTING}::test_the_rate_is_the_expected_batch_over_the_data",
            f"{_ACCOUNTING}::test_epsilon_of_the_published_pairs",
        ),
        "accumulation",
    ),
    Planted(
        "a batch drawn at another rate is accepted",
        "privacy/plan.py",
        "if draw.sampling_probability != self.sampling_probability:",
        "if not 0 <= draw.sampling_probability <= 1:",
        (f"{_PLAN}::test_a_draw_at_another_rate_is_refused", f"{_PLAN}::test_a_refusal_draws_no_noise"),
        "foreign-rate",
    ),
    Planted(
        "a sum clipped to another norm is accepted",
        "privacy/plan.py",
        "if total.clipping_norm != self.clipping_norm:",
        "if total.clipping_norm <= 0:",
        (f"{_PLAN}::test_a_sum_of_another_clipping_norm_is_refused", f"{_PLAN}::test_a_refusal_draws_no_noise"),
        "clip-ignored",
    ),
    Planted(
        "a sum over other examples than were drawn is accepted",
        "privacy/plan.py",
        "if total.count != len(draw):",
        "if total.count < len(draw):",
        (f"{_PLAN}::test_a_sum_over_other_examples_than_drawn_is_refused", f"{_PLAN}::test_a_refusal_draws_no_noise"),
        "last-batch",
    ),
    Planted(
        "noise is added twice",
        "privacy/noise.py",
        "noise = own.normal(total.numel()).view(total.shape)",
        "noise = (own.normal(total.numel()) + own.normal(total.numel())).view(total.shape)",
        (f"{_NOISE}::test_noise_has_the_deviation_of_the_plan", f"{_RUNS}::test_an_honest_run_says_so"),
        "noise-count",
    ),
    Planted(
        "noise is made in bfloat16",
        "privacy/noise.py",
        "noise = own.normal(total.numel()).view(total.shape)",
        "noise = own.normal(total.numel()).bfloat16().double().view(total.shape)",
        (f"{_NOISE}::test_noise_has_single_precision", f"{_NOISE}::test_the_tail_is_not_cut"),
        "half-precision",
    ),
    Planted(
        "the stream of noise starts again at each update",
        "privacy/noise.py",
        "    own = noise_stream(sums, standard_deviation=standard_deviation, stream=stream)\n",
        "    own = type(stream)(bytes(stream.get_state().tolist()[:32]))\n",
        (f"{_NOISE}::test_successive_updates_share_no_noise", f"{_RUNS}::test_an_honest_run_says_so"),
        "generator-reused",
    ),
    Planted(
        "parameters of one shape get the same noise",
        "privacy/noise.py",
        "noise = own.normal(total.numel()).view(total.shape)",
        "noise = type(own)(bytes(own.get_state().tolist()[:32])).normal(total.numel()).view(total.shape)",
        (
            f"{_NOISE}::test_parameters_of_one_shape_get_different_noise",
            f"{_TRUTH}::test_no_honest_run_alarms",
        ),
        "generator-reused",
    ),
    Planted(
        "the noise follows from key and update, and not from what it is added to",
        "privacy/noise.py",
        "    return stream.derived((scale + tensors_digest(values)).encode())\n",
        "    return stream.derived(scale.encode())\n",
        (
            f"{_NOISE}::TestNoNoiseIsAddedToTwoSums",
            "training/test_updates.py::TestStreamsOfASeed::test_networks_that_no_key_tells_apart_share_no_noise",
        ),
        "generator-reused",
    ),
    Planted(
        "the noise does not follow from its scale",
        "privacy/noise.py",
        '    scale = f"{float(standard_deviation).hex()} {list(sums)} "\n',
        '    scale = f"{list(sums)} "\n',
        (
            f"{_NOISE}::TestNoNoiseIsAddedToTwoSums::test_another_scale_gives_unrelated_noise",
            f"{_NOISE}::TestNoNoiseIsAddedToTwoSums::test_plans_with_other_noise_share_none",
        ),
        "generator-reused",
    ),
    Planted(
        "one sum gets two noises, by the sign of a zero or the type of its numbers",
        "privacy/noise.py",
        "{name: total.double() + 0.0 for name, total in sums.items()}",
        "dict(sums)",
        (
            f"{_NOISE}::TestNoNoiseIsAddedToTwoSums::test_an_equal_sum_is_the_same_sum[zero]",
            f"{_NOISE}::TestNoNoiseIsAddedToTwoSums::test_an_equal_sum_is_the_same_sum[type]",
        ),
        "generator-reused",
    ),
    Planted(
        "one scale gives two noises, by the type of its number",
        "privacy/noise.py",
        "{float(standard_deviation).hex()}",
        "{standard_deviation!r}",
        (
            f"{_NOISE}::TestNoNoiseIsAddedToTwoSums::test_an_equal_scale_is_the_same_scale[float64]",
            f"{_NOISE}::TestNoNoiseIsAddedToTwoSums::test_an_equal_scale_is_the_same_scale[int]",
        ),
        "generator-reused",
    ),
    Planted(
        "a digest of tensors leaves out their shapes",
        "privacy/randomness.py",
        "{tensor.dtype} {tuple(tensor.shape)} ",
        "{tensor.dtype} ",
        (
            f"{_STREAM}::test_a_digest_of_tensors_tells_names_types_shapes_and_contents_apart",
            f"{_NOISE}::TestNoNoiseIsAddedToTwoSums::test_names_and_shapes_are_part_of_a_sum",
        ),
    ),
    Planted(
        "a derived stream does not depend on the position",
        "privacy/randomness.py",
        "        self._position += 1\n",
        "",
        (
            f"{_NOISE}::TestNoNoiseIsAddedToTwoSums::test_the_same_sum_in_another_update_gets_other_noise",
            f"{_STREAM}::test_derived_streams_share_nothing_unless_all_is_the_same",
        ),
        "generator-reused",
    ),
    Planted(
        "the stream does not advance",
        "privacy/randomness.py",
        "self._position += blocks",
        "self._position += 0",
        (f"{_STREAM}::test_what_was_drawn_never_comes_back", f"{_NOISE}::test_successive_updates_share_no_noise"),
        "generator-reused",
    ),
    Planted(
        "blocks of the keystream are used twice",
        "privacy/randomness.py",
        "self._position += blocks",
        "self._position += max(1, blocks - 1)",
        (
            f"{_STREAM}::test_more_normals_than_are_computed_at_once",
            f"{_STREAM}::test_numbers_are_those_of_the_blocks_in_their_order",
        ),
    ),
    Planted(
        "a secret stream is keyed by a constant",
        "privacy/randomness.py",
        "return cls(secrets.token_bytes(_KEY))",
        "return cls(bytes(_KEY))",
        (
            f"{_STREAM}::test_streams_of_different_keys_share_nothing",
            "training/test_updates.py::test_secret_noise_does_not_come_from_the_seed",
        ),
    ),
    Planted(
        "normals from the cosine of the wrong angle",
        "privacy/randomness.py",
        "angle = (second & _WORD53).double().mul_(2 * math.pi * 2.0**-53)",
        "angle = (second & _WORD53).double().mul_(math.pi * 2.0**-53)",
        (f"{_STREAM}::test_numbers_follow_their_law", f"{_RUNS}::test_an_honest_run_says_so"),
    ),
    Planted(
        "gradients are not clipped",
        "privacy/gradients/sums.py",
        "return self.clipping_norm / norm.clamp_min(self.clipping_norm)",
        "return torch.ones_like(norm)",
        (
            f"{_EDGES}::test_no_example_adds_more_than_the_clipping_norm",
            f"{_LINEAR}::test_sums_and_norms_are_those_of_the_oracle",
        ),
        "clip-ignored",
    ),
    Planted(
        "gradients are scaled up to the clipping norm",
        "privacy/gradients/sums.py",
        "return self.clipping_norm / norm.clamp_min(self.clipping_norm)",
        "return self.clipping_norm / norm.clamp_min(1e-12)",
        (
            f"{_EDGES}::test_a_huge_clipping_norm_scales_nothing",
            f"{_LINEAR}::test_sums_and_norms_are_those_of_the_oracle",
        ),
    ),
    Planted(
        "a physical batch is clipped by its mean norm",
        "privacy/gradients/layerwise.py",
        "objective.factor(exact_norms).float()",
        "objective.factor(exact_norms.mean().expand_as(exact_norms)).float()",
        (
            f"{_EDGES}::test_no_example_adds_more_than_the_clipping_norm",
            f"{_RULES}::test_fast_rules_against_the_oracle",
        ),
        "micro-batch-clip",
    ),
    Planted(
        "a linear layer's bias is left out of the norm",
        "privacy/gradients/linear.py",
        ' + float("bias" in trainable)\n',
        "\n",
        (
            f"{_LINEAR}::test_sums_and_norms_are_those_of_the_oracle",
            f"{_LINEAR}::test_it_is_what_auto_takes_and_equals_the_other_methods",
        ),
        "clip-ignored",
    ),
    Planted(
        "the truth check asks for the example drawn least often",
        "privacy/draw_checks.py",
        "float(inclusions.max())",
        "float(inclusions.min())",
        (
            "privacy/test_truth.py::test_another_sampler_is_seen[one_always]",
            "privacy/test_truth.py::test_another_sampler_is_seen[one_four_times_as_often]",
        ),
        "",
    ),
    Planted(
        "the norm of a long row is a single float32 sum",
        "privacy/gradients/rules.py",
        "_BLOCK = 256\n",
        "_BLOCK = 2**40\n",
        (
            "privacy/test_arithmetic.py::test_the_norm_of_a_long_row_is_exact_to_a_millionth",
            "privacy/test_arithmetic.py::test_one_long_gradient_is_held_to_the_clipping_norm",
        ),
        "",
    ),
    Planted(
        "a convolution's bias is left out of the norm",
        "privacy/gradients/contributions.py",
        "            self.squares += row_squares(self.bias)\n",
        "",
        (f"{_RULES}::test_fast_rules_against_the_oracle", f"{_MODELS}::test_models_against_the_oracle"),
        "clip-ignored",
    ),
    Planted(
        "the norm of a weight used twice is that of its parts",
        "privacy/gradients/hooks.py",
        "alone = all(self._uses[name] == 1 for name in owned.values())\n            unchanged",
        "alone = True\n            unchanged",
        (
            "privacy/test_gradient_oracle.py",
            f"{_RULES}::test_fast_rules_against_the_oracle",
        ),
        "tied-frozen",
    ),
    Planted(
        "frozen parameters are clipped and given noise with the rest",
        "privacy/gradients/sums.py",
        "return {name: p for name, p in self.model.named_parameters() if p.requires_grad}",
        "return dict(self.model.named_parameters())",
        (
            f"{_LINEAR}::test_a_frozen_weight_or_bias_counts_for_nothing",
            "training/test_pretraining.py::test_at_first_the_head_alone_is_clipped_noised_and_trained",
        ),
        "tied-frozen",
    ),
    Planted(
        "an example with a NaN gradient reaches the sum",
        "privacy/gradients/layerwise.py",
        "mask = None if bool(finite.all()) else finite",
        "mask = None",
        (
            f"{_EDGES}::test_a_poisoned_example_is_bounded_and_leaves_the_others_alone",
            f"{_EDGES}::test_what_adds_nothing_leaves_the_others_as_they_are",
        ),
        "nan-gradient",
    ),
    Planted(
        "an example with a NaN gradient reaches the sum by the loop",
        "privacy/gradients/loop.py",
        "if torch.isfinite(norm):",
        "if norm is not None:",
        (
            f"{_EDGES}::test_a_poisoned_example_is_bounded_and_leaves_the_others_alone",
            f"{_EDGES}::test_what_adds_nothing_leaves_the_others_as_they_are",
        ),
        "nan-gradient",
    ),
    Planted(
        "each view is clipped by itself",
        "privacy/gradients/loop.py",
        "loss = objective.view_losses(network, image, label).mean()",
        "loss = objective.view_losses(network, image, label).sum()",
        (
            "privacy/test_losses.py::test_losses_are_the_means_over_views",
            "privacy/test_gradient_oracle.py::test_sums_norms_and_clip_to_nine_digits",
        ),
        "clip-each-view",
    ),
    Planted(
        "the first example of a batch is added unclipped",
        "privacy/gradients/loop.py",
        "factor = objective.factor(exact_norm)",
        "factor = objective.factor(exact_norm) if norms else torch.ones_like(exact_norm)",
        (
            f"{_EDGES}::test_no_example_adds_more_than_the_clipping_norm",
            f"{_PLAN}::test_with_hardly_any_noise_the_gradient_is_the_oracle_s",
        ),
        "unclipped",
    ),
    Planted(
        "squares of norms in single precision",
        "privacy/gradients/layerwise.py",
        "square = torch.zeros(examples, dtype=torch.float64, device=images.device)",
        "square = torch.zeros(examples, dtype=torch.float32, device=images.device)",
        (
            f"{_EDGES}::test_squares_outside_float32_are_clipped_like_others",
            f"{_EDGES}::test_a_huge_gradient_is_clipped_like_any_other",
        ),
        "half-precision",
    ),
    Planted(
        "a caller's autocast reaches the sums",
        "privacy/gradients/arithmetic.py",
        "with torch.inference_mode(False), torch.enable_grad(), own, host:",
        "with torch.inference_mode(False), torch.enable_grad():",
        (
            f"{_ARITHMETIC}::test_surroundings_change_no_bit",
            f"{_ARITHMETIC}::test_neighbors_under_a_caller_s_autocast_differ_by_no_more_than_the_clipping_norm",
        ),
        "half-precision",
    ),
    Planted(
        "products that torch rounds by its newer names are accepted",
        "privacy/gradients/arithmetic.py",
        'if path not in _BEFORE_THE_CLIP and _value(owner, "fp32_precision") not in (None, "none", "ieee"):',
        'if path == "torch.backends" and _value(owner, "fp32_precision") not in (None, "none", "ieee"):',
        (
            f"{_ARITHMETIC}::test_every_switch_for_rounding_is_refused_by_its_name",
            f"{_ARITHMETIC}::test_an_update_is_refused_with_rounded_products",
        ),
        "half-precision",
    ),
    Planted(
        "batch norm is accepted",
        "privacy/validation.py",
        "if isinstance(module, _BatchNorm):",
        "if isinstance(module, _BatchNorm) and not module.affine:",
        (
            f"{_VALIDATION}::test_batch_norm_is_refused",
            f"{_PLAN}::test_a_plan_does_not_clip_for_a_network_with_batch_norm",
        ),
        "batch-norm",
    ),
    Planted(
        "layers that draw random numbers are accepted",
        "privacy/validation.py",
        "if before != _generator_states(device):",
        "if len(before) != len(_generator_states(device)):",
        (
            f"{_VALIDATION}::test_random_layers_are_refused_and_pass_in_evaluation",
            "training/test_neighbors.py::test_random_layers_are_refused_with_a_budget",
        ),
    ),
    Planted(
        "a call of one's own does not see that random numbers are drawn",
        "privacy/clipping.py",
        "refuse_random_layers(images.device, own_loss=type(self.loss) is not CrossEntropy):",
        "_ONE_CALL:",
        (
            f"{_OWN_LOSSES}::test_a_loss_that_draws_random_numbers_is_refused_and_named[loop]",
            "training/test_what_leaves.py::test_random_numbers_that_the_check_did_not_see_drawn_end_a_call_of_one_s_own"
            "[loop]",
        ),
    ),
    Planted(
        "torch's older weight norm is accepted",
        "privacy/validation.py",
        "if wrong := old_weight_norm(model):",
        "if (wrong := old_weight_norm(model)) and not model.training:",
        (
            f"{_VALIDATION}::test_torch_s_older_weight_norm_is_refused_by_name[loop]",
            f"{_VALIDATION}::test_torch_s_older_weight_norm_is_refused_by_name[auto]",
        ),
    ),
    Planted(
        "a delta of 1/N is accepted",
        "privacy/accounting.py",
        "if examples is not None and delta >= 1 / examples and not allow_large:",
        "if examples is not None and delta > 1 and not allow_large:",
        (
            f"{_ACCOUNTING}::test_a_delta_of_one_in_n_is_refused_unless_forced",
            f"{_PLAN}::test_a_delta_of_one_in_n_is_refused_unless_forced",
        ),
        "large-delta",
    ),
    Planted(
        "calibration stops at the root, on either side of it",
        "privacy/accounting.py",
        "    while excess(math.log(sigma := _round_up(math.exp(root + step), 4))) > 0:\n"
        "        step += 5e-5\n    return sigma",
        "    return round(math.exp(root + step), 3)",
        (
            f"{_ACCOUNTING}::test_calibration_never_overshoots_and_wastes_nothing",
            f"{_ACCOUNTING}::test_calibration_never_overshoots_by_rdp",
        ),
        "overshoot",
    ),
    Planted(
        "the central limit theorem as accountant",
        "privacy/accounting.py",
        "return loss_distribution.epsilon(q, sigma, updates, delta)",
        "return gaussian.epsilon(q * math.sqrt(updates * math.expm1(sigma**-2)), delta)",
        (
            f"{_ACCOUNTING}::test_epsilon_of_the_published_pairs",
            f"{_LOSSES}::test_never_below_the_bound_from_below_and_always_fast",
        ),
        "underestimate",
    ),
    Planted(
        "only the addition of an example is looked at",
        "privacy/loss_distribution.py",
        "    for direction in DIRECTIONS:",
        "    for direction in DIRECTIONS[1:]:",
        (f"{_LOSSES}::test_adding_an_example_is_looked_at_too", f"{_LOSSES}::test_dp_accounting_agrees"),
        "adjacency",
    ),
    Planted(
        "the Gaussian of a full batch forgets half of the mean's distance",
        "privacy/accounting.py",
        "return gaussian.epsilon(math.sqrt(updates) / sigma, delta)",
        "return gaussian.epsilon(math.sqrt(updates) / (2 * sigma), delta)",
        (
            f"{_ACCOUNTING}::test_the_full_batch_is_the_gaussian_mechanism",
            f"{_ACCOUNTING}::test_the_numbers_of_the_linear_head",
        ),
        "adjacency",
    ),
    Planted(
        "one update too few is charged",
        "privacy/plan.py",
        "return accounting.Event(self.sampling_probability, self.noise_multiplier, updates)",
        "return accounting.Event(self.sampling_probability, self.noise_multiplier, max(0, updates - 1))",
        (f"{_PLAN}::test_the_event_is_what_happens", f"{_RUNS}::test_an_honest_run_says_so"),
        "update-count",
    ),
    Planted(
        "the truth check passes whatever it finds",
        "privacy/truth.py",
        "return all(check.passed for check in self.checks.values())",
        "return any(check.passed for check in self.checks.values())",
        (f"{_TRUTH}::test_wrong_noise_is_seen", f"{_RUNS}::test_a_run_whose_noise_was_a_copy_has_no_epsilon"),
    ),
    Planted(
        "a check of what is not a number passes",
        "privacy/alarms.py",
        "if self.value is None or math.isnan(self.value):\n            return False",
        "if self.value is None or math.isnan(self.value):\n            return True",
        (f"{_TRUTH}::test_what_is_no_number_within_the_bounds_fails", f"{_TRUTH}::test_wrong_noise_is_seen"),
    ),
]

HARMLESS = [
    Planted(
        "the divisor is a factor",
        "privacy/plan.py",
        "released = {name: value / self.batch_size for name, value in noisy.items()}",
        "released = {name: value * (1 / self.batch_size) for name, value in noisy.items()}",
        (_PLAN, _NOISE),
    ),
    Planted(
        "the factor is a minimum",
        "privacy/gradients/sums.py",
        "return self.clipping_norm / norm.clamp_min(self.clipping_norm)",
        "return (self.clipping_norm / norm.clamp_min(1e-300)).clamp_max(1.0)",
        (_EDGES, _LINEAR),
    ),
    Planted(
        "squares are added by a sum",
        "privacy/gradients/layerwise.py",
        "    for _, contribution in contributions:\n        square += contribution.squares\n",
        "    square = square + sum(contribution.squares for _, contribution in contributions)\n",
        (_RULES,),
    ),
    Planted(
        "the draw is where the numbers are small",
        "privacy/sampling.py",
        "indices = torch.nonzero(stream.uniform(examples) < sampling_probability).squeeze(1)",
        "indices = torch.where(stream.uniform(examples) < sampling_probability)[0]",
        (_SAMPLING,),
    ),
    Planted(
        "the noise is scaled out of place",
        "privacy/noise.py",
        "noisy[name] = noise.to(total.device).mul_(standard_deviation).add_(total).float()",
        "noisy[name] = (standard_deviation * noise.to(total.device) + total).float()",
        (_NOISE,),
    ),
    Planted(
        "the mu of a full batch is written otherwise",
        "privacy/accounting.py",
        "return gaussian.epsilon(math.sqrt(updates) / sigma, delta)",
        "return gaussian.epsilon(math.sqrt(updates / sigma**2), delta)",
        (
            f"{_ACCOUNTING}::test_the_full_batch_is_the_gaussian_mechanism",
            f"{_ACCOUNTING}::test_the_numbers_of_the_linear_head",
        ),
    ),
    Planted(
        "the gradient is multiplied in place",
        "privacy/gradients/loop.py",
        "total[name].add_(g * factor)",
        "total[name] += g.mul(factor)",
        (_EDGES,),
    ),
]
