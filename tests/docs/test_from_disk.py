"""What keeps the site from being read from disk is found, and the search's worker runs there (``make docs`` checks the
site itself)."""

import importlib.util
import re
import shutil

import pytest

from documented import ROOT

spec = importlib.util.spec_from_file_location("from_disk", ROOT / "docs" / "from_disk.py")
from_disk = importlib.util.module_from_spec(spec)
spec.loader.exec_module(from_disk)


@pytest.fixture
def site(tmp_path):
    for name, text in {
        "index.html": '<link rel="stylesheet" href="a.css"><a href="sub/b.html#there">b</a><a href="https://x.org">x</a>',
        "sub/b.html": '<h2 id="there">b</h2><a href="../index.html">up</a><a href="#there">it</a><img src="../i.png">',
        "a.css": "body { background: url(i.png) }",
        "i.png": "",
        "search/search_index.js": "",
        "404.html": '<script src="/assets/a.js"></script>',
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("index.html", "sub/b.html#there", "sub/c.html", "index.html leads to sub/c.html, which is not there"),
        ("index.html", "#there", "#nowhere", "which has no such place"),
        ("sub/b.html", "../i.png", "https://x.org/i.png", "sub/b.html fetches https://x.org/i.png from a network"),
        ("index.html", "a.css", "//x.org/a.css", "index.html fetches //x.org/a.css from a network"),
        ("a.css", "url(i.png)", "url('https://x.org/f')", "a.css fetches from a network"),
        ("sub/b.html", "../i.png", "../gone.png", "sub/b.html leads to ../gone.png, which is not there"),
    ],
)
def test_each_fault_is_found(site, file, old, new, told):
    assert from_disk.faults(site) == []
    text = (site / file).read_text()
    assert old in text
    (site / file).write_text(text.replace(old, new))
    (found,) = from_disk.faults(site)
    assert told in found


def test_a_site_without_its_index_is_found(site):
    (site / "search" / "search_index.js").unlink()
    assert len(from_disk.faults(site)) == 1


def test_the_theme_fetches_no_script_of_its_own_and_this_is_the_last_check():
    """Guards: the plugin "offline", which names a script on a network where the site names none of that name."""
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    (script,) = re.findall(r"polyfills: \[([\w.-]+)\]", config)
    assert "iframe-worker" in script
    assert (ROOT / "docs" / script).is_file()
    assert from_disk.on_post_build.mkdocs_priority < -100


@pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium")
def test_a_worker_answers_on_a_page_from_disk(tmp_path):
    """And the search looks for an option as for a word: a minus before a word would leave it out."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    for name in ("iframe-worker.js", "site.js"):
        shutil.copy(ROOT / "docs" / name, tmp_path)
    (tmp_path / "worker.js").write_text("addEventListener('message', (e) => postMessage(e.data.data.toUpperCase()))")
    (tmp_path / "page.html").write_text(
        "<body><script src='iframe-worker.js'></script><script src='site.js'></script>"
        "<script>const w = new Worker('worker.js'); w.addEventListener('message', (e) => { document.title = e.data });"
        "w.postMessage({type: 2, data: '--rank -r well-known'})</script>"
    )
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get((tmp_path / "page.html").as_uri())
        script = "const done = arguments[0]; setInterval(() => { if (document.title) done(document.title) }, 20)"
        assert driver.execute_async_script(script) == "RANK R WELL-KNOWN"
    finally:
        driver.quit()
