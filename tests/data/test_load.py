"""``load_data``: its arguments, stratified limits, orders that stay, and the list of sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.data import describe_sources, load_data
from trilemma.data.limits import memory_cap
from trilemma.data.named import NAMED, takers
from trilemma.data.orders import raw_draws, seeded_order, stratified_order
from trilemma.errors import InputError
from trilemma.hints import listed


def test_nothing_slow_is_imported() -> None:
    code = (
        "import sys, trilemma.data; slow = ('torch', 'pyarrow', 'sklearn', 'scipy', 'datasets', 'PIL'); "
        "print([name for name in slow if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cifr10", {}, "unknown data 'cifr10' \\(did you mean 'cifar10'\\?\\)"),
        ("CIFAR-10", {}, "did you mean 'cifar10'"),
        (
            "unheard",
            {},
            f"unknown data 'unheard': no data set, folder or file has this name; choose {listed(NAMED)}, or",
        ),
        ("missing/", {}, "no file or folder missing/"),
        ("faces.npz", {}, "no file or folder faces.npz"),
        ("a/b/c.parquet", {}, "no file or folder"),
        ("digits", {"skew": 0.9}, f"skew does not apply to digits: it is for {listed(takers('skew'))}"),
        ("digits", {"target": "Male"}, f"target does not apply to digits: it is for {listed(takers('target'))}"),
        ("digits", {"size": 16}, "size does not apply to digits: leave it out"),
        ("cifar10s", {"classes_seed": 1}, "classes_seed does not apply to cifar10s"),
        ("digits-s", {"skew": 0.4}, r"skew must lie in \[0.5, 1\], not 0.4"),
        ("digits", {"limit": 0}, "limit must be a whole number of at least 1, not 0"),
        ("digits", {"limit": 10.5}, "limit must be a whole number"),
        ("digits", {"limit": 9}, "limit of 9 leaves classes without examples: give at least 10"),
        ("digits", {"seed": -1, "limit": 50}, "seed must be a whole number of at least 0"),
        ("digits", {"shift": 9}, "shift must be at most the image's side of 8"),
        ("digits", {"shift": -1}, "shift must be a whole number of at least 0"),
        ("cifar10", {"test_split": "dev"}, "test_split must be test or valid"),
        ("cifar10", {"size": 7}, "size must be at least 8"),
        ("cifar10", {"data_dir": "nowhere"}, "data_dir \\(--data-dir\\) names nowhere, which is not a folder"),
        ("digits", {"memory_gib": 0}, "memory limit must be a positive number of GiB"),
    ],
)
def test_unusable_arguments_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(name, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_files_of_no_kind(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(InputError, match="is a pickle"):
        load_data(tmp_path / "weights.pt")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="is not a kind of file that can be read"):
        load_data(tmp_path / "notes.txt")


def test_a_limit_is_stratified_nested_and_leaves_the_test_split_alone() -> None:
    whole = load_data("digits")
    small, larger = load_data("digits", limit=100), load_data("digits", limit=200)
    assert np.ptp(np.bincount(small.train.labels)) <= 2
    assert small.test.fingerprint == whole.test.fingerprint
    rows = {image.tobytes() for image in larger.train.images}
    assert all(image.tobytes() in rows for image in small.train.images)
    assert load_data("digits", limit=100, seed=1).train.fingerprint != small.train.fingerprint
    assert len(load_data("digits", limit=100, test_limit=50).test) == 50
    assert load_data("digits", limit=10**6).fingerprint == whole.fingerprint


def test_a_limit_comes_before_the_skew() -> None:
    data = load_data("digits-s", skew=0.9, limit=200)
    assert len(data.train) == 200
    assert data.train.groups is not None
    for label in range(10):
        groups = data.train.groups[data.train.labels == label]
        assert (groups == (0 if label % 2 else 1)).sum() == int(len(groups) * 0.9)


@given(
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=5),
    share=st.floats(0, 1),
    seed=st.integers(0, 10**9),
)
def test_every_prefix_of_a_stratified_order_has_the_mix(counts: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    order = stratified_order(labels, None, seed, "x")
    assert sorted(order.tolist()) == list(range(len(labels)))
    length = round(share * len(labels))
    got = np.bincount(labels[order[:length]], minlength=len(counts))
    assert (np.abs(got - length * np.array(counts) / len(labels)) <= 1 + len(counts) / 2).all()
    if length >= len(counts):
        assert (got > 0).all()


def test_orders_do_not_depend_on_the_numpy_version() -> None:
    # values of PCG64 and SeedSequence, both of which NumPy keeps stable
    assert seeded_order(8, 0, "skew").tolist() == [4, 7, 3, 5, 2, 0, 1, 6]
    assert (raw_draws(5, 0, "a") != raw_draws(5, 0, "b")).all()


def test_the_memory_limit_comes_from_the_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_cap() == 4 * 2**30
    monkeypatch.setenv("TRILEMMA_MEMORY_GIB", "0.5")
    assert memory_cap() == 2**29
    assert memory_cap(1) == 2**30
    monkeypatch.setenv("TRILEMMA_MEMORY_GIB", "lots")
    with pytest.raises(InputError, match="positive number of GiB, not 'lots'"):
        memory_cap()


def test_sources_without_any_data() -> None:
    sources = {source.name: source for source in describe_sources()}
    assert list(sources)[: len(NAMED)] == list(NAMED)
    assert (sources["digits"].found, sources["digits"].train) == (True, 1297)
    assert sources["digits-s"].test == 1000
    assert sources["cifar10"].found is False
    assert sources["FOLDER"].found is None


def test_sources_survive_damage(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    (folder / "train-00000-of-00001.parquet").write_bytes(b"broken")
    sources = {source.name: source for source in describe_sources(tmp_path / "data")}
    assert sources["cifar10"].found is False
    assert "cannot be read as Parquet" in sources["cifar10"].where


def test_real_sources_are_counted(shared: Path) -> None:
    sources = {source.name: source for source in describe_sources(shared)}
    assert (sources["celeba"].train, sources["celeba"].test) == (37_540, 4_640)
    assert sources["cifar10s"].test == 20_000
