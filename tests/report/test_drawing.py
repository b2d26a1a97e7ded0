"""What the drawings look like from outside: bytes that repeat, ids that do not clash, labels that do not meet."""

import itertools
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from trilemma.errors import InputError
from trilemma.report import drawing, style
from trilemma.report.drawing import panel_svg, save_figure, y_limits
from trilemma.report.figure import Figure, Look, Panel, Point, Series
from trilemma.report.figures.catalog import draw_numbers
from trilemma.report.inline import inline_svg
from trilemma.report.label_placement import Box, place_labels
from trilemma.report.numbers import Number
from trilemma.report.style import COLORS


def number(value, half=0.02):
    return Number(value, value - half, value + half, 3, "seeds", "accuracy", "c", ("a", "b", "c"))


def figure(names=("BL", "all"), title="panel", series="no budget"):
    points = tuple(Point(float(index), name, number(0.5 + index / 10)) for index, name in enumerate(names))
    ticks = tuple((float(index), name) for index, name in enumerate(names))
    panel = Panel(title, "accuracy", "techniques", (Series(series, points, Look("blue", "circle")),), ticks=ticks)
    return Figure("accuracy", "Accuracy", "about", (panel,))


def inlined(drawing, prefix="a", alt="alt"):
    return inline_svg(panel_svg(drawing.panels[0], y_limits(drawing)[0]), prefix, alt)


def test_a_figure_that_a_study_has_nothing_for_is_refused(tmp_path):
    """Guards: a division by zero where a block of the gallery is tried on another study."""
    with pytest.raises(InputError, match="has measured what “Accuracy” draws"):
        save_figure(replace(figure(), panels=()), tmp_path, "accuracy")


def test_the_same_numbers_give_the_same_files(small, tmp_path, monkeypatch, small_fonts):
    """Guards: fonts in a PDF that journals refuse (Type 3), which other tests have."""
    monkeypatch.setitem(style._STYLE, "pdf.fonttype", small_fonts)
    shown = draw_numbers("tradeoff", small.results, small.study)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save_figure(shown, tmp_path / folder, "tradeoff")
    for kind in ("svg", "pdf", "png"):
        first, second = ((tmp_path / folder / f"tradeoff.{kind}").read_bytes() for folder in ("one", "two"))
        assert first == second
        assert len(first) > 1000
    assert (tmp_path / "one" / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    pdf = (tmp_path / "one" / "tradeoff.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf
    root = ET.parse(tmp_path / "one" / "tradeoff.svg").getroot()
    assert root.tag.endswith("svg")
    words = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"BL", "all", "bias", "AUC of the strongest attack"} <= words  # text, not outlines


def test_two_images_in_one_page_share_no_id():
    texts = [inlined(figure(), "a"), inlined(figure(), "b")]
    ids = [re.findall(r'\bid="([^"]+)"', text) for text in texts]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    for text, own in zip(texts, ids, strict=True):
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
        assert {a or b for a, b in used} == set(own)


def test_an_inlined_image_says_what_it_shows_and_follows_the_page():
    text = inlined(figure(), alt='from 0.5 to 0.6 "& <more>')
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'from 0.5 to 0.6 "& <more>'
    assert "width" not in root.attrib
    assert "var(--blue, #0072b2)" in text
    assert "metadata" not in text
    assert "date" not in text.lower()
    bare = re.sub(r"var\(--[a-z-]+, #[0-9a-f]{6}\)", "", text)
    assert not re.search(r"#[0-9a-f]{6}", bare), "a color that does not follow the page"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "$\\frac{1}{0}$", "a$b", "\\undefined", "日本語", "\"'&"]
)
def test_names_are_only_names(name):
    named = figure((name, "all"), title=name, series=name)
    text = inlined(named)
    assert name in [element.text for element in ET.fromstring(text).iter() if element.text]
    assert "<script" not in text


def test_names_in_files_are_only_names(tmp_path):
    names = ("<script>alert(1)</script>", "$\\frac{1}{0}$ 日本語")
    save_figure(figure(names, title=names[0], series=names[1]), tmp_path, "x")
    assert set(names) <= {element.text for element in ET.parse(tmp_path / "x.svg").iter()}


def test_long_labels_are_slanted_and_stay_inside():
    names = tuple(f"OBS+GN+WS+{k}" for k in range(7))
    root = ET.fromstring(inlined(figure(names)))
    assert sum("rotate(-40" in (e.get("transform") or "") for e in root.iter()) == 7
    short = ET.fromstring(inlined(figure(("BL", "+OBS", "+GN", "+WS", "+AM", "+PA", "+SAT"))))
    assert not any("rotate(-40" in (e.get("transform") or "") for e in short.iter())


def test_panels_that_share_an_axis_have_the_same(large):
    shown = draw_numbers("budget", large.results[large.results["studies"] == "budget"], large.study)
    limits = dict(zip((panel.y_title for panel in shown.panels), y_limits(shown), strict=True))
    assert limits["strongest AUC, matched"] == limits["strongest AUC, unmatched"]
    assert limits["accuracy"] != limits["score"]
    assert limits["bias"][0] <= 0 < 0.01 - limits["bias"][0]


def test_noise_is_not_blown_up_to_fill_an_axis():
    points = tuple(Point(float(index), "x", number(0.5 + index / 1000, 0.001)) for index in range(2))
    panel = Panel("", "AUC", "", (Series("s", points, Look("blue", "circle")),), ticks=((0.0, "a"), (1.0, "b")))
    low, high = y_limits(Figure("leakage", "", "", (panel,)))[0]
    assert high - low >= 0.1


def test_an_axis_has_no_number_that_its_measure_cannot_be():
    points = tuple(Point(float(index), "x", number(value)) for index, value in enumerate((0.02, 0.98)))
    panel = Panel("", "accuracy", "", (Series("s", points, Look("blue", "circle")),))
    assert min(y_limits(Figure("accuracy", "", "", (panel,)))[0]) < 0  # room for whole markers
    assert drawing._ticks(panel, (-0.2, 1.2)) == [0, 0.5, 1]
    other = replace(panel, series=(replace(panel.series[0], points=(replace(points[0], y=replace(points[0].y,
                                                                    measure="seconds")),)),))  # fmt: skip
    assert max(drawing._ticks(other, (-0.2, 1.6))) > 1


def test_numbers_without_interval_are_drawn():
    lone = Number(0.5, math.nan, math.nan, 1, "", "accuracy", "c", ("a",))
    panel = Panel("", "y", "", (Series("s", (Point(0.0, "a", lone),), Look("blue", "circle")),), ticks=((0.0, "a"),))
    assert "svg" in inlined(Figure("accuracy", "", "", (panel,)))


@pytest.mark.parametrize("crowd", [4.0, 12.0, 30.0])
def test_labels_of_two_paths_do_not_meet(crowd):
    points = [(120 + crowd * k, 80 + 14 * k) for k in range(7)] + [(110 + 3 * k, 60 + 13 * k) for k in range(7)]
    bounds = Box(40, 30, 400, 290)
    labels = place_labels(points, [(28, 11)] * 14, [], bounds)
    assert len({label.index for label in labels}) == len(labels) >= 11
    for first, other in itertools.combinations(labels, 2):
        assert first.box.overlap(other.box) == 0
    for label in labels:
        assert label.box.overlap(bounds) == pytest.approx(28 * 11)
        for x, y in points:
            assert label.box.overlap(Box(x - 2, y - 2, x + 2, y + 2)) == 0


def labels_and_points(svg):
    """(words, middle, own point, all points of its axes) of every point's label, read from an SVG of matplotlib's."""
    placed = []
    for axes in (e for e in ET.fromstring(svg).iter() if re.fullmatch(r"axes_\d+", e.get("id", ""))):
        places = {}
        for line in (e for e in axes.iter() if e.get("id", "").startswith("series-")):
            uses = [e for e in line.iter() if e.tag.endswith("}use")]
            places[line.get("id")] = [(float(e.get("x")), float(e.get("y"))) for e in uses]
        everything = [place for of in places.values() for place in of]
        for label in (e for e in axes.iter() if e.get("id", "").startswith("halo-")):
            _, panel, series, point = label.get("id").split("-")
            (text,) = [e for e in label.iter() if e.tag.endswith("}text")]
            x, y = map(float, (text.get("x"), text.get("y")))
            own = places[f"series-{panel}-{series}"][int(point)]
            placed.append((text.text, (x, y), own, everything))
    return placed


def nearest_to_their_points(svg):
    """How many labels there are; each must be nearer to its own point than to any other that is not at its place."""
    labels = labels_and_points(svg)
    for words, (x, y), own, everything in labels:
        middle = (x, y - 4)  # from the foot of the letters to their middle
        others = [math.dist(middle, other) for other in everything if math.dist(own, other) > 1]
        assert math.dist(middle, own) < min(others, default=math.inf), words
    return len(labels)


@pytest.mark.parametrize(
    ("study", "seeds"), [("quickstart", 3), ("quickstart", 2), ("quickstart", 1), ("techniques", 3), ("budget", 3)]
)
def test_a_label_is_nearer_to_its_own_point_than_to_any_other(small, large, tmp_path, monkeypatch, study, seeds):
    """Guards: "all" beside the baseline's point.  On the page and in the file, of every figure with labels."""
    monkeypatch.setattr(drawing, "FORMATS", ("svg",))
    made = small if study == "quickstart" else large
    results = made.results[(made.results["studies"] == study) & (made.results["seed"] < seeds)]
    figure = draw_numbers("tradeoff", results, made.study)
    count = 0
    for panel, limits in zip(figure.panels, y_limits(figure), strict=True):
        points = sum(len(series.points) for series in panel.series)
        labels = nearest_to_their_points(panel_svg(panel, limits))
        assert labels >= 0.6 * points
        count += nearest_to_their_points(panel_svg(panel, limits, taller=0))
    assert count
    (path,) = save_figure(figure, tmp_path, "t")
    assert nearest_to_their_points(path.read_text("utf-8")) >= 0.6 * count


def test_a_crowd_of_points_keeps_each_label_with_its_own():
    rng = np.random.default_rng(5)
    for _ in range(30):
        points = [tuple(point) for point in rng.normal((200, 150), (25, 20), (9, 2))]
        for label in place_labels(points, [(28, 11)] * 9, [], Box(40, 30, 400, 290)):
            distances = [math.dist((label.x, label.y), point) for point in points]
            assert min(distances) == distances[label.index]
            edges = [label.box.distance(point) for point in points]
            assert min(edges) == edges[label.index]


def test_labels_of_points_in_one_place_do_not_meet():
    labels = place_labels([(200, 150)] * 6, [(28, 11)] * 6, [], Box(40, 30, 400, 290))
    assert all(a.box.overlap(b.box) == 0 for a, b in itertools.combinations(labels, 2))


def test_two_labels_do_not_read_as_one():
    """Guards: "BL" right above "+GN+WS", each beside its own point."""
    points = [(150.0, 150.0), (156.0, 151.0), (300.0, 60.0)]
    sizes = [(14.0, 8.0), (50.0, 8.0), (14.0, 8.0)]
    first, second, _ = sorted(place_labels(points, sizes, [], Box(40, 30, 400, 290)), key=lambda label: label.index)
    assert first.box.grown(4).overlap(second.box) == 0


def test_a_line_has_a_gap_where_a_number_is_missing():
    whole = figure(("a", "b", "c"))
    points = whole.panels[0].series[0].points
    series = (Series("no budget", (points[0], points[2]), Look("blue", "circle")),)
    broken = Figure("accuracy", "", "", (replace(whole.panels[0], series=series),))
    strokes = []
    for line in (whole, broken):
        paths = [e for e in ET.fromstring(inlined(line)).iter() if "stroke-width: 1.4" in (e.get("style") or "")]
        strokes.append(sum(path.get("d", "").count("L") for path in paths))
    assert strokes == [2, 0]


def test_inks_are_told_apart_by_lightness_or_marker():
    assert len({COLORS[ink] for ink in ("blue", "vermilion", "green", "purple", "black", "orange", "sky")}) == 7
