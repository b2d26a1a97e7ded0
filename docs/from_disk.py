"""The built site can be read from disk, without a server or a network: checked after each build, which fails otherwise.

MkDocs checks the links of its Markdown; this reads the pages as they are, with the theme's own links and HTML in them.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

NOT_PAGES = ("404.html",)
"""Its links are absolute, for servers, and nothing leads to it from disk."""


class Page(HTMLParser):
    """Ids of a page, the addresses that it links to, and those that a browser fetches by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and {"stylesheet", "icon"} & set(given.get("rel", "").split()):
            self.fetched.append(given["href"])
        elif "src" in given:
            self.fetched.append(given["src"])


def faults(site: Path) -> list[str]:
    """What keeps a site from being read from disk, a sentence each."""
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    told = []
    for path, page in pages.items():
        if path.name in NOT_PAGES:
            continue
        name = path.relative_to(site.resolve())
        abroad = [url for url in page.fetched if urlsplit(url).scheme in ("http", "https") or url.startswith("//")]
        told += [f"{name} fetches {url} from a network" for url in abroad]
        for url in (*page.fetched, *page.links):
            parts = urlsplit(url)
            if parts.scheme or url.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                told.append(f"{name} leads to {url}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                told.append(f"{name} leads to {url}, which has no such place")
    for sheet in site.rglob("*.css"):
        if "url(http" in sheet.read_text("utf-8").replace('"', "").replace("'", ""):
            told.append(f"{sheet.relative_to(site)} fetches from a network")
    if not (site / "search" / "search_index.js").is_file():
        told.append(
            "search/search_index.js is not there: without the theme's plugin offline, no search works from disk"
        )
    return told


def on_post_build(config: Any) -> None:
    """MkDocs calls this when the site is written."""
    from mkdocs.exceptions import PluginError

    if told := faults(Path(config["site_dir"])):
        raise PluginError("\n".join(told))


on_post_build.mkdocs_priority = -200  # type: ignore[attr-defined]  # after the plugin "offline", which has -100
