"""Errors planted in data, files, studies' analysis, and the page."""

from __future__ import annotations

from planting import Planted

_LEDGER, _COMPARISONS, _ADDITIVE = (
    "analysis/test_ledger.py",
    "analysis/test_comparisons.py",
    "statistics/test_additive.py",
)
_SKEW, _LOAD, _FILES, _PAGE = "data/sets/test_skew.py", "data/test_load.py", "test_files.py", "report/test_page.py"

ERRORS = [
    Planted(
        "a caller's smaller number of threads is overridden",
        "study/pool.py",
        "if asked.isdigit() and 0 < int(asked) < int(threads):",
        "if False:",
        ("study/test_pool.py::test_fewer_threads_that_the_caller_asks_for_are_kept",),
    ),
    Planted(
        "seconds of a busy machine's clock are taken for those of computing",
        "study/shadow_job.py",
        "min(passed, began.computed(threads))",
        "passed",
        ("study/test_shadow_job.py::test_other_work_on_the_machine_is_told_apart_from_the_time_that_shadows_compute",),
    ),
    Planted(
        "a study is charged with its dearest trial alone",
        "analysis/ledger.py",
        "composed = min(cost.all_released(), composed_rdp)",
        "composed = min(max(cost.one_released(t.event, t.delta) for t in counted), composed_rdp)",
        (
            f"{_LEDGER}::test_the_strictest_delta_counts",
            f"{_LEDGER}::test_the_ledger_charges_at_least_the_composed_trials",
        ),
        "tuning",
    ),
    Planted(
        "trials on skewed copies of the same images are another family",
        "analysis/ledger.py",
        "families.setdefault(trial.family, []).append(trial)",
        "families.setdefault(trial.family + trial.label[:1], []).append(trial)",
        (f"{_LEDGER}::test_trials_are_charged_with_their_family_and_no_other",),
        "tuning",
    ),
    Planted(
        "trials that share their noise are composed",
        "analysis/ledger.py",
        "why = chosen + _shared(trials, noise_uses)",
        "why = chosen",
        (f"{_LEDGER}::test_trials_with_the_same_noise_are_not_covered_together",),
        "generator-reused",
    ),
    Planted(
        "a training set that a model chose is covered",
        "analysis/ledger.py",
        "counted = [trial for trial in trials if trial.chosen_by is None]",
        "counted = list(trials)",
        (f"{_LEDGER}::test_a_training_set_that_a_model_chose_is_not_covered",),
    ),
    Planted(
        "a price is rounded down",
        "analysis/ledger.py",
        'return f"{math.ceil(epsilon * scale - 1e-9) / scale:g}"',
        'return f"{math.floor(epsilon * scale) / scale:g}"',
        (f"{_LEDGER}::test_a_sentence_never_rounds_a_price_down",),
    ),
    Planted(
        "a report far below its event is accepted",
        "analysis/ledger.py",
        "if spent > 1.5 * reported + 0.1:",
        "if spent > 150 * reported + 10:",
        (f"{_LEDGER}::test_a_report_far_below_its_event_is_refused",),
    ),
    Planted(
        "comparisons are not corrected for how many there are",
        "statistics/additive.py",
        "least = max(least, min(1.0, (len(p) - rank) * p[index]))",
        "least = max(least, min(1.0, p[index]))",
        (f"{_ADDITIVE}::test_holm_is_the_step_down_rule",),
    ),
    Planted(
        "a p-value is one-sided",
        "statistics/additive.py",
        "p = float(2 * stdtr(df, -abs(difference) / error))",
        "p = float(stdtr(df, -abs(difference) / error))",
        (f"{_COMPARISONS}::test_two_conditions_are_the_paired_t_test",),
    ),
    Planted(
        "the standard error of a difference forgets one of its two ends",
        "statistics/additive.py",
        "pooled = math.sqrt(2 * variance / n)",
        "pooled = math.sqrt(variance / n)",
        (f"{_COMPARISONS}::test_blocks_are_the_least_squares_fit_of_condition_and_seed",),
    ),
    Planted(
        "the interval of a mean is a normal one",
        "statistics/intervals.py",
        "return float(stdtrit(df, 0.5 + level / 2)) * standard_error",
        "return float(stdtrit(1e9, 0.5 + level / 2)) * standard_error",
        ("statistics/test_intervals.py::test_the_interval_of_a_mean_is_students",),
    ),
    Planted(
        "gray is the mean of the channels",
        "data/sets/skew.py",
        "red *= 19595",
        "red *= 21845",
        (f"{_SKEW}::test_luma_equals_pillow_in_every_color",),
    ),
    Planted(
        "the dominant group is the other one",
        "data/sets/skew.py",
        "dominant = COLOR if label in color else GRAY",
        "dominant = GRAY if label in color else COLOR",
        (f"{_SKEW}::test_counts_are_exact_for_any_skew",),
    ),
    Planted(
        "a declared size is not limited",
        "data/limits.py",
        "if declared > cap:",
        "if declared > cap * 2**40:",
        ("data/readers/test_npz.py::test_a_bomb_is_refused_before_it_is_unpacked",),
        "bombs",
    ),
    Planted(
        "names from outside are markup",
        "report/templates.py",
        "autoescape=True,",
        "autoescape=False,",
        (f"{_PAGE}::test_names_from_outside_are_only_names",),
        "traversal",
    ),
    Planted(
        "links may lead out of a folder of images",
        "data/readers/class_folders.py",
        "inside = path.resolve().is_relative_to(root)",
        "inside = path.is_relative_to(path.anchor) or path.resolve().is_relative_to(root)",
        ("data/readers/test_class_folders.py::test_links_may_not_lead_out",),
        "traversal",
    ),
    Planted(
        "two processes write to one folder",
        "files.py",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n            except",
        "fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)\n            except",
        (f"{_FILES}::test_one_process_holds_a_folder",),
        "stale-locks",
    ),
    Planted(
        "a flipped bit of a run passes",
        "checksums.py",
        "if name != path.name and file.exists() and _sha256(file) != expected:",
        "if name != path.name and file.exists() and not expected:",
        ("trial/test_checksums.py::test_what_is_sealed_is_what_was_given",),
    ),
    Planted(
        "a flipped bit of a result passes",
        "checksums.py",
        "if not own or hashlib.sha256(sealed).hexdigest() != own[-1].decode():",
        "if not own or len(own[-1]) != 64:",
        ("trial/test_checksums.py::test_what_is_sealed_is_what_was_given",),
    ),
    Planted(
        "keys of TOML may be of any length",
        "files.py",
        "_MOST_DOTS = 200",
        "_MOST_DOTS = 20_000",
        ("test_files.py::test_a_long_key_of_toml_is_refused",),
        "bombs",
    ),
    Planted(
        "images are decoded in chunks of any size",
        "data/decode.py",
        "size = max(1, min(_CHUNK, _CHUNK_BYTES // pixels.nbytes))",
        "size = _CHUNK",
        ("data/test_decode.py::test_few_large_images_are_held_at_a_time",),
        "bombs",
    ),
    Planted(
        "a file is read by a loader that can run code",
        "files.py",
        "def write_json(path: Path, values: Any, *, private: bool = False) -> None:",
        "def read_old(path: Path) -> Any:\n    import pickle\n\n    return pickle.loads(path.read_bytes())\n\n\n"
        "def write_json(path: Path, values: Any, *, private: bool = False) -> None:",
        ("test_surface.py::test_nothing_in_the_tree_can_run_a_strangers_code",),
        "pickle",
    ),
]

HARMLESS = [
    Planted(
        "Student's quantile by symmetry",
        "statistics/intervals.py",
        "return float(stdtrit(df, 0.5 + level / 2)) * standard_error",
        "return -float(stdtrit(df, 0.5 - level / 2)) * standard_error",
        ("statistics/test_intervals.py",),
    ),
    Planted(
        "Holm's minimum is taken last",
        "statistics/additive.py",
        "least = max(least, min(1.0, (len(p) - rank) * p[index]))",
        "least = min(1.0, max(least, p[index] * (len(p) - rank)))",
        (_ADDITIVE,),
    ),
    Planted(
        "half an image's rounding is added before the others",
        "data/sets/skew.py",
        "        red += green\n        red += blue\n        red += 0x8000\n",
        "        red += 0x8000\n        red += blue\n        red += green\n",
        (_SKEW,),
    ),
    Planted(
        "a limit is compared the other way round",
        "data/limits.py",
        "if declared > cap:",
        "if cap < declared:",
        ("data/readers/test_npz.py",),
    ),
]
