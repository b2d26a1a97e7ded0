"""The page in a real browser, opened from disk with the network off.

Needs Debian's chromium and chromium-driver (skipped without).  ``TRILEMMA_AXE`` may name another axe.min.js than the
one that comes with axe-core-python.
"""

import base64
import importlib.util
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from hostile_text import CHUNKS, FAMILIES, hostile_page
from trilemma.cli.main import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver: apt-get install chromium chromium-driver"
)

WIDE, PHONE = (1280, 900), (390, 844)
SMALLEST_TEXT = 9.0


class Browser:
    """Chromium on one page."""

    def __init__(self):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "--headless=new",
            "--no-sandbox",  # tests may run as root
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_script_timeout(300)  # seconds: axe reads the whole page, on cores that other tests share
        self.cdp("Network.enable")
        self.cdp("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def cdp(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def open(self, page, size=WIDE, dark=False, scripts=True):
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        width, height = size
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.cdp("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.driver.get(page.as_uri())
        if scripts:
            self.run("try { localStorage.clear() } catch (e) {}; delete document.documentElement.dataset.theme")

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def complaints(self):
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def click(self, selector):
        self.run(
            "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector
        )
        self.find(selector).click()

    def screenshot(self, path):
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        image = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(image["data"]))


@pytest.fixture(scope="module")
def browser():
    instance = Browser()
    yield instance
    instance.driver.quit()


LAYOUT = """
const box = (e) => {
  const r = e.getBoundingClientRect();
  return [r.left, r.top + scrollY, r.right, r.bottom + scrollY];
};
const height = (c, t) => parseFloat(getComputedStyle(t).fontSize) * c.getBoundingClientRect().width / 360;
const charts = [...document.querySelectorAll('svg.chart')];
return {
  inner: innerWidth, page: document.documentElement.scrollWidth,
  charts: charts.map(box),
  panels: [...document.querySelectorAll('.panel')].map(box),
  figures: [...document.querySelectorAll('figure.figure')].map(box),
  texts: charts.map((c) => [...c.querySelectorAll('text')]
    .filter((t) => !/rotate\\(-?(?!0)/.test(t.getAttribute('transform') || ''))
    .map((t) => [t.textContent, height(c, t), ...box(t)])),
};
"""


def overlap(a, b, slack=1.0):
    return min(a[2], b[2]) - max(a[0], b[0]) > slack and min(a[3], b[3]) - max(a[1], b[1]) > slack


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1280", "390"])
@pytest.mark.parametrize("name", ["small_page", "large_page"])
def test_figures_are_visible_and_nothing_overlaps(browser, request, name, size):
    browser.open(request.getfixturevalue(name), size)
    layout = browser.run(LAYOUT)
    assert layout["inner"] == size[0]
    assert layout["page"] <= size[0], "the page scrolls sideways"
    assert len(layout["charts"]) > 5
    for left, top, right, bottom in layout["charts"]:
        assert right - left > 240
        assert bottom - top > 140
        assert left >= 0
        assert right <= size[0]
    for kind in ("charts", "panels", "figures"):
        boxes = layout[kind]
        for index, box in enumerate(boxes):
            assert not any(overlap(box, other) for other in boxes[index + 1 :]), kind
    for texts in layout["texts"]:
        for index, (words, height, *box) in enumerate(texts):
            assert height >= SMALLEST_TEXT, (words, height)
            for other_words, _, *other in texts[index + 1 :]:
                assert not overlap(box, other, slack=2.0), (words, other_words)


FOLD = """
const inside = (r) => r.height > 0 && r.top >= 0 && r.bottom <= innerHeight;
const seen = (e) => inside(e.getBoundingClientRect());
const chart = document.querySelector('svg.chart');
return {
  studied: [...document.querySelectorAll('.studied')].filter(seen).map((e) => e.innerText),
  findings: [...document.querySelectorAll('.headlines li')].filter(seen).map((e) => e.innerText),
  all: [...document.querySelectorAll('.headlines li')].length,
  figure: document.querySelector('figure.tradeoff').getBoundingClientRect().bottom <= innerHeight,
  chart: seen(chart) && chart.getBoundingClientRect().width,
};
"""


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["1280", "390"])
@pytest.mark.parametrize("name", ["small_page", "large_page"])
def test_the_first_screen_says_what_was_studied_and_found(browser, request, name, size):
    """Visible without scrolling: one sentence, at least three findings with numbers, and the trade-off."""
    browser.open(request.getfixturevalue(name), size)
    answer = browser.run(FOLD)
    assert len(answer["studied"]) == 1
    assert 3 <= len(answer["findings"]) <= answer["all"] <= 5
    if size[0] == 1280:
        assert len(answer["findings"]) == answer["all"]
    for words in answer["findings"][:3]:
        assert re.search(r"0\.\d{3} \[0\.\d{3}, [01]\.\d{3}\]", words), words
        assert "_" not in words
    assert answer["chart"] > 300
    if name == "small_page":  # the titles and notices of several studies take their room
        assert answer["figure"], "the figure's words are cut off"


@pytest.mark.parametrize("name", ["small_page", "large_page", "model_page"])
def test_every_term_of_the_first_sentence_opens_its_meaning(browser, request, name):
    """Guards: a data set or network whose name nothing explains, and a button that opens nothing."""
    browser.open(request.getfixturevalue(name))
    terms = browser.run("""
    return [...document.querySelectorAll('button.term')].map((e) => [e.innerText, document.getElementById(
      e.getAttribute('popovertarget'))?.innerText ?? '', Boolean(e.closest('.studied, h1'))]);
    """)
    assert all(meaning for _, meaning, _ in terms)
    first = [word for word, _, leads in terms if leads]
    assert any(re.match("digits|cifar", word) for word in first), first
    assert name != "small_page" or any(re.match("wrn|convnet", word) for word in first), first


def test_a_term_opens_its_meaning_where_it_stands(browser, small_page):
    browser.open(small_page)
    term = browser.find("#glance button.term[popovertarget='term-auc']")
    shown = "return document.querySelector('#term-auc').checkVisibility()"
    assert not browser.run(shown)
    term.click()
    assert browser.run(shown)
    assert "½ is guessing" in browser.find("#term-auc").text
    body = browser.find("body")
    from selenium.webdriver.common.keys import Keys

    body.send_keys(Keys.ESCAPE)
    assert not browser.run(shown)


def test_the_main_measures_of_all_numbers_need_no_scrolling_on_a_desk(browser, small_page):
    """Guards: a last column, of seeds, that lies beyond the edge."""
    browser.open(small_page, WIDE)
    script = "const t = document.querySelector('#results .scroll'); return [t.clientWidth, t.scrollWidth];"
    width, needed = browser.run(script)
    assert needed <= width


@pytest.mark.parametrize("name", ["small_page", "large_page"])
def test_tables_on_a_phone_show_a_number_before_any_scrolling(browser, request, name):
    browser.open(request.getfixturevalue(name), PHONE)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    script = """
    return [...document.querySelectorAll('.scroll table')].map((table) => {
      const first = (row) => [...row.cells].find((c) => c.classList.contains('n') && !c.hidden);
      const cells = [...table.tBodies[0].rows].map(first).filter(Boolean);
      const edge = table.closest('.scroll').getBoundingClientRect().right;
      const right = Math.max(...cells.map((c) => c.getBoundingClientRect().right));
      return [table.caption.textContent.slice(0, 40), right, edge];
    });
    """
    tables = browser.run(script)
    assert len(tables) > 5
    for caption, right, edge in tables:
        assert right <= edge <= PHONE[0], (caption, right)
    # Guards: "technique" on one line and its "s" on the next, and the words of a caption beyond the edge.
    script = """
    const lines = (node, start, end) => {
      const range = document.createRange();
      range.setStart(node, start); range.setEnd(node, end);
      return new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size;
    };
    const heads = [...document.querySelectorAll('.scroll tbody th')].filter((e) => e.checkVisibility());
    const texts = heads.flatMap((e) => [...e.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE));
    const broken = texts.flatMap((n) => [...n.textContent.matchAll(/[\\w-]{2,12}/g)]
      .filter((m) => lines(n, m.index, m.index + m[0].length) > 1).map((m) => m[0]));
    const captions = [...document.querySelectorAll('.scroll caption > span')].filter((e) => e.checkVisibility());
    const beyond = captions.filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.innerText);
    return [heads.length, broken, captions.length, beyond];
    """
    heads, broken, captions, beyond = browser.run(script)
    assert heads > 5
    assert captions > 3
    assert broken == beyond == []


@pytest.fixture(scope="module")
def model_page(finished, tmp_path_factory):
    """The page of one model of the tiny study, with a budget."""
    runs = (path.parent for path in sorted(finished.path.glob("runs/*/result.json")))
    private = next(run for run in runs if json.loads((run / "result.json").read_text())["privacy"])
    out = tmp_path_factory.mktemp("model")
    assert main(["report", str(private), "--out", str(out)]) == 0
    return out / "model.html"


def test_the_page_of_one_model_fits_a_phone(browser, model_page):
    """Guards: a table that is cut at the edge or below a frame, and names of attacks that are broken within a word."""
    browser.open(model_page, PHONE)
    assert browser.run("return document.documentElement.scrollWidth") <= PHONE[0]
    hidden = "(t) => [t.scrollWidth - t.clientWidth, t.scrollHeight - t.clientHeight]"
    assert browser.run(f"return [...document.querySelectorAll('.scroll')].map({hidden})") == [[0, 0], [0, 0]]
    heads = (
        "return [...document.querySelectorAll('.scroll')[0].querySelectorAll('tbody th')].map((e) => e.offsetHeight)"
    )
    assert max(browser.run(heads)) < 80  # "loss", "threshold", and which one it is, in three lines


def test_the_page_of_one_model_can_be_read_in_dark_colors(browser, model_page):
    color = "return getComputedStyle(document.body).backgroundColor"
    browser.open(model_page)
    light = browser.run(color)
    browser.click("#theme")
    assert browser.run(color) != light
    browser.run("localStorage.clear()")


@pytest.mark.parametrize("name", ["small_page", "large_page", "model_page"])
def test_no_card_is_half_empty(browser, request, name):
    """Guards: a card that is as high as its neighbor, with half as much in it."""
    browser.open(request.getfixturevalue(name), (1280, 800))
    assert browser.run("return [...document.querySelectorAll('figure.lone > details')].every((d) => d.open)")
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    cards = browser.run("""
    return [...document.querySelectorAll('figure.figure, .card')].map((card) => {
      const words = document.createRange();
      words.selectNodeContents(card);
      const parts = [...words.getClientRects()].filter((r) => r.width && r.height && r.height < card.offsetHeight);
      const box = card.getBoundingClientRect();
      return [card.innerText.slice(0, 40), box.height, box.bottom - Math.max(...parts.map((r) => r.bottom))];
    });
    """)
    assert len(cards) >= 3
    assert [card for card in cards if card[2] > card[1] / 3] == []


@pytest.mark.parametrize("name", ["small_page", "large_page"])
def test_nothing_is_complained_of_or_asked_for(browser, request, name, nasty):
    browser.open(request.getfixturevalue(name))
    assert browser.complaints() == []
    assert all(url.startswith(("file:", "data:")) for url in browser.requests())
    assert browser.run("return [...document.scripts].length") == 1
    if name == "large_page":
        assert nasty in browser.find("main").text


@pytest.mark.parametrize("chunk", CHUNKS, ids=["1", "2", "3"])
def test_text_from_outside_runs_nothing_and_asks_for_nothing(browser, made_up, tmp_path, chunk):
    browser.open(hostile_page(made_up(), tmp_path, chunk))
    assert browser.run("return window.owned ?? null") is None
    assert browser.complaints() == [], "the policy had something to refuse"
    assert all(url.startswith(("file:", "data:")) for url in browser.requests())
    assert browser.run("return document.scripts.length") == 1
    assert browser.run("return document.querySelectorAll('iframe,object,embed,form,base,img,script[src]').length") == 0
    assert browser.run("return document.querySelectorAll('[srcdoc],[action],[onload],[onerror]').length") == 0


def test_a_naive_page_would_run_them(browser, tmp_path):
    """The payloads are live: without it, the test above would show nothing."""
    for family in ("script", "event handlers", "SVG and MathML"):
        page = tmp_path / f"{family}.html"
        page.write_text(f"<!DOCTYPE html><meta charset=utf-8>{' '.join(FAMILIES[family])}", "utf-8")
        browser.open(page)
        assert browser.run("return window.owned ?? null") == 1, family
    page.write_text(f"<!DOCTYPE html>{' '.join(FAMILIES['styles'])}", "utf-8")
    browser.open(page)
    assert any("evil.example" in url for url in browser.requests())


def column(browser, title):
    script = """
    const heads = [...document.querySelectorAll('#results thead th')];
    const at = heads.findIndex((h) => h.dataset.name === arguments[0]);
    const rows = [...document.querySelectorAll('#results tbody tr')].filter((r) => !r.hidden);
    return rows.map((r) => r.cells[at].dataset.sort);
    """
    return browser.run(script, title)


def test_the_table_sorts_and_says_so(browser, small_page):
    browser.open(small_page)
    head = '#results th[data-name="accuracy"]'
    browser.click(f"{head} button")
    values = [float(v) for v in column(browser, "accuracy")]
    assert values == sorted(values, reverse=True)
    assert browser.find(head).get_attribute("aria-sort") == "descending"
    assert browser.find("#results .count").text == "4 rows, sorted by accuracy, descending"
    browser.click(f"{head} button")
    values = [float(v) for v in column(browser, "accuracy")]
    assert values == sorted(values)
    assert browser.find(head).get_attribute("aria-sort") == "ascending"
    browser.click('#results th[data-name="budget"] button')
    assert column(browser, "budget") == ["8.0", "8.0", "1e999", "1e999"]
    assert browser.find(head).get_attribute("aria-sort") is None


def test_the_table_filters_by_words_and_choices(browser, small_page):
    from selenium.webdriver.support.ui import Select

    browser.open(small_page)
    search = browser.find("#results input")
    search.send_keys("BL 90")
    assert browser.find("#results .count").text == "2 of 4 rows"
    Select(browser.find('#results select[data-facet="2"]')).select_by_visible_text("ε = 8")
    assert browser.find("#results .count").text == "1 of 4 rows"
    assert len(column(browser, "accuracy")) == 1
    search.clear()
    search.send_keys("nothing like it")
    assert browser.find("#results .count").text == "0 of 4 rows"
    shown = (
        "return [...document.querySelectorAll('#results th')].filter((h) => h.offsetWidth).map((h) => h.dataset.name)"
    )
    assert "accuracy" in browser.run(shown)
    Select(browser.find("#results select[data-columns]")).select_by_visible_text("every attack")
    assert "AUC, random forest, unmatched" in browser.run(shown)
    assert "accuracy" not in browser.run(shown)
    assert "techniques" in browser.run(shown)


def test_the_keyboard_is_enough(browser, small_page):
    from selenium.webdriver.common.keys import Keys

    browser.open(small_page)
    body = browser.find("body")
    body.send_keys(Keys.TAB)
    assert browser.driver.switch_to.active_element.text == "Skip to the content"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return document.activeElement.id") == "main"
    browser.run("document.querySelector('#results select[data-columns]').focus()")
    seen = []
    for _ in range(8):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(
            browser.run("const e = document.activeElement; return e.closest('th')?.dataset.name ?? e.className")
        )
    assert seen[0] == "scroll"  # the region that scrolls takes the arrows
    assert "accuracy" in seen
    browser.run("document.querySelector('#results th[data-name=\"accuracy\"] button').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.find('#results th[data-name="accuracy"]').get_attribute("aria-sort") == "descending"
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    summary = browser.find("figure details summary")
    summary.send_keys(Keys.ENTER)
    assert browser.find("figure details").get_attribute("open") is not None


def test_colors_follow_the_readers_scheme(browser, small_page):
    color = "return getComputedStyle(document.body).backgroundColor"
    ink = "return getComputedStyle(document.querySelector('svg.chart text')).fill"
    browser.open(small_page)
    light = browser.run(color), browser.run(ink)
    browser.open(small_page, dark=True)
    dark = browser.run(color), browser.run(ink)
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    browser.click("#theme")
    assert browser.run(color) == light[0]
    assert browser.find("#theme").text == "Dark colors"
    browser.driver.refresh()
    assert browser.run(color) == light[0], "the choice is kept"
    browser.run("localStorage.clear()")


def test_without_scripts_everything_is_there(browser, small_page):
    browser.open(small_page, scripts=False)
    try:
        document = browser.cdp("DOM.getDocument")["root"]["nodeId"]
        for selector, visible in (("#results tbody tr", True), ("#results .controls", False), ("#theme", False)):
            node = browser.cdp("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
            assert node
            style = browser.cdp("CSS.enable") or browser.cdp("CSS.getComputedStyleForNode", nodeId=node)
            shown = {entry["name"]: entry["value"] for entry in style["computedStyle"]}["display"] != "none"
            assert shown == visible, selector
    finally:
        browser.cdp("Emulation.setScriptExecutionDisabled", value=False)


def test_the_page_prints_in_light_colors(browser, large_page):
    browser.open(large_page, dark=True)
    pdf = browser.cdp("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
    printed = base64.b64decode(pdf["data"])
    assert printed.startswith(b"%PDF")
    browser.cdp(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    # Guards: a table that goes on over the next sheet has no head there, if its head holds buttons.
    assert browser.run("return getComputedStyle(document.querySelector('th button')).display") == "contents"


def test_paper_shows_what_is_folded_away_on_the_screen(browser, large_page):
    """All but the tables of numbers that a figure draws, which are long and are in its CSV."""
    browser.open(large_page)
    folded = "return [...document.querySelectorAll('details')].filter((d) => !d.open && !d.closest('figure')).length"
    closed = browser.run(folded)
    assert closed > 5
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(folded) == 0
    browser.cdp("Emulation.setEmulatedMedia", media="print")
    shown = "return [...document.querySelectorAll('pre')].filter((e) => e.checkVisibility()).map((e) => e.ariaLabel)"
    assert browser.run(shown) == ["Commands"]  # recipes are for programs
    browser.cdp("Emulation.setEmulatedMedia", media="")
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run(folded) == closed


def axe_script():
    if "TRILEMMA_AXE" in os.environ:
        return Path(os.environ["TRILEMMA_AXE"])
    spec = importlib.util.find_spec("axe_core_python")
    return Path(spec.submodule_search_locations[0]) / "axe.min.js" if spec else None


@pytest.mark.parametrize(
    ("name", "size", "dark"),
    [("small_page", WIDE, False), ("small_page", PHONE, True), ("large_page", WIDE, True), ("model_page", PHONE, True)],
    ids=["small light", "small phone dark", "large dark", "model phone dark"],
)
def test_axe_finds_nothing(browser, request, name, size, dark):
    script = axe_script()
    if script is None or not script.is_file():
        pytest.skip("no axe-core: pip install axe-core-python")
    browser.open(request.getfixturevalue(name), size, dark=dark)
    if name != "large_page":  # what the large one hides is of the same making, and much
        browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    browser.run(script.read_text("utf-8"))
    # Asked for and looked at later: on a busy machine it takes longer than a driver waits.
    browser.run(
        "axe.run(document, {resultTypes: ['violations']})"
        ".then((r) => { window.found = r.violations }, (e) => { window.found = [{id: String(e)}] })"
    )
    end = time.monotonic() + 300
    while (answer := browser.run("return window.found ?? null")) is None and time.monotonic() < end:
        time.sleep(0.2)
    assert answer is not None, "axe does not come to an end"
    told = [(v["id"], v.get("impact"), [n["html"][:120] for n in v.get("nodes", [])][:3]) for v in answer]
    assert told == []
