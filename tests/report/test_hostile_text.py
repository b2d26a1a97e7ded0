"""Text from outside stays text: on the page, in figures, in CSV files and in a real browser."""

import csv
import re
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from hostile_text import CHUNKS, FIELDS, PAYLOADS, hostile_page, placed, results_of
from trilemma import paper
from trilemma.report.drawing import panel_svg, y_limits
from trilemma.report.figures.catalog import figure_of
from trilemma.report.glossary import GLOSSARY
from trilemma.report.inline import inline_svg
from trilemma.report.numbers import Numbers
from trilemma.spreadsheet import csv_text, write_csv
from trilemma.words import clean


class Elements(HTMLParser):
    """Every element with its attributes, the text, and all else that a page may hold."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.words, self.others = [], [], []
        self.feed(page)
        self.close()
        self.text = "".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def handle_comment(self, data):
        self.others.append(data)

    def handle_decl(self, decl):
        self.others.append(decl)

    unknown_decl = handle_pi = handle_comment

    @property
    def structure(self):
        """How often each element stands there with which attributes; classes depend on the length of a text.

        Without the buttons of the glossary, which stand on its words wherever they occur.
        """
        counted = [(tag, attrs) for tag, attrs in self.elements if attrs.get("class") != "term"]
        return Counter((tag, *sorted(set(attrs) - {"class"})) for tag, attrs in counted)


@pytest.fixture(scope="module", params=range(len(CHUNKS)))
def payloads(request):
    return CHUNKS[request.param]


@pytest.fixture(scope="module")
def page(payloads, made_up, tmp_path_factory):
    return hostile_page(made_up(), tmp_path_factory.mktemp("hostile"), payloads)


@pytest.fixture(scope="module")
def elements(page):
    return Elements(page.read_text("utf-8"))


def test_there_are_enough_of_them():
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 300
    assert len(FIELDS) >= 12


def test_every_payload_is_shown_as_the_text_that_it_is(payloads, elements):
    lost = [
        (field, payload[:60])
        for field, shown in FIELDS.items()
        for index, payload in enumerate(payloads)
        if shown(placed(payload, field, index)) not in elements.text
    ]
    assert lost == []


def test_no_element_attribute_or_address_comes_from_a_payload(payloads, elements, made_up, tmp_path):
    plain = [f"plain {index}" for index in range(len(payloads))]
    harmless = Elements(hostile_page(made_up(), tmp_path, plain).read_text("utf-8"))
    assert elements.structure == harmless.structure
    assert elements.others == harmless.others == ["DOCTYPE html"]
    for tag, attrs in elements.elements:
        assert not any(name.startswith("on") or name in ("srcdoc", "action") for name in attrs), tag
        if "style" in attrs:  # of a drawing, made by matplotlib from numbers
            assert tag in {name.removeprefix(SVG) for name in DRAWN}
            assert not re.search(r"url\((?!#glance-)|[<>@\\]", attrs["style"]), attrs["style"]
        for name in ("href", "src", "xlink:href", "data", "srcset", "poster"):
            value = "" if attrs.get(name) == paper.URL else attrs.get(name, "")
            assert re.fullmatch(r"#[\w-]+|data:,|results\.(csv|parquet)|", value, re.ASCII), attrs
        if attrs.get("class") == "term":
            assert attrs.keys() == {"type", "class", "popovertarget"}
            assert attrs["popovertarget"].removeprefix("term-") in GLOSSARY
        assert re.fullmatch(r"[\w-]*", attrs.get("id", ""), re.ASCII), attrs


def test_the_policy_lets_only_the_pages_own_script_run(elements):
    policy = next(a["content"] for t, a in elements.elements if t == "meta" and "http-equiv" in a)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    assert re.fullmatch(r"'sha256-[\w+/=]+'", rules["script-src"])
    assert set(rules) == {"default-src", "base-uri", "form-action", "img-src", "script-src", "style-src"}


def test_the_results_beside_the_page_hold_no_formula(page):
    check_cells(page.with_name("results.csv"))


def check_cells(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    assert {len(row) for row in rows} == {len(rows[0])}
    for cell in (cell for row in rows for cell in row):
        is_number = re.fullmatch(r"-?(\d+(\.\d*)?(e[+-]?\d+)?|inf)", cell)
        assert is_number or cell.lstrip()[:1] not in tuple("=+-@＝＋－＠"), cell
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", cell), cell
    return rows


def test_a_csv_file_holds_every_text_and_no_formula(tmp_path):
    numbers = ["-1", "+2.5", "-1e-05"]
    table = pd.DataFrame({"text": pd.Series([*PAYLOADS, *numbers], dtype=object), "number": -0.5, "count": -1})
    write_csv(table, tmp_path / "table.csv")
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))[1:]
    assert [row[0] for row in rows] == [csv_text(text) for text in table["text"]]
    assert [row[0] for row in rows[-3:]] == numbers
    assert {tuple(row[1:]) for row in rows} == {("-0.5", "-1")}
    for payload, (cell, *_) in zip(PAYLOADS, rows, strict=False):
        assert cell in (clean(payload), f"'{clean(payload)}")
    write_csv(table[:-3], tmp_path / "texts.csv")
    check_cells(tmp_path / "texts.csv")


def test_all_csv_files_are_written_by_the_one_helper():
    source = Path(write_csv.__code__.co_filename).parent
    writes = re.compile(r"\.to_csv\(|csv\.(writer|DictWriter)")
    writers = [path.name for path in source.rglob("*.py") if writes.search(path.read_text("utf-8"))]
    assert writers == ["spreadsheet.py"]


SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {SVG + name for name in ("svg", "g", "path", "text", "tspan", "defs", "use", "clipPath", "rect", "style")}


def test_figures_draw_payloads_as_text(made_up):
    """Ten groups and a data set to a panel; in its SVG for the page they stand as text, the names in the legend too."""
    made = made_up()
    made.new_study("all", "All", ["groups"], seeds=(0,))
    size = 12
    for start in range(0, len(PAYLOADS), size):
        groups = [placed(payload, "g", start + index) for index, payload in enumerate(PAYLOADS[start : start + size])]
        made.trial({"name": placed(PAYLOADS[start], "d", start)}, 0, groups=groups)
    figure = figure_of("groups", Numbers(results_of(made), made.study), images={})
    limits = y_limits(figure)
    seen = ""
    for index, panel in enumerate(figure.panels):
        root = ET.fromstring(inline_svg(panel_svg(panel, limits[index]), f"f{index}", panel.alt))
        for element in root.iter():
            assert element.tag in DRAWN, element.tag
            assert not any(name.startswith("on") for name in element.attrib)
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert re.fullmatch(r"#[\w-]+", value, re.ASCII), value
        assert "<script" not in inline_svg(panel_svg(panel, limits[index]), "f", panel.alt).lower()
        seen += "\n".join([*root.itertext(), root.get("aria-label", "")])
    names = [clean(placed(payload, "g", index)) for index, payload in enumerate(PAYLOADS)]
    assert [name for name in names if name not in seen] == []
