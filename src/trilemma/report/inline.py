"""Adapt a matplotlib SVG for inlining: its colors follow the page, and its ids clash with no other's."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from trilemma.report.style import COLORS

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
_VARIABLES = {color: f"var(--{name}, {color})" for name, color in COLORS.items()}
_COLOR = re.compile("|".join(map(re.escape, _VARIABLES)), re.IGNORECASE)
_FONT = re.compile(r"font: ((?:bold |[0-9]{3} )?)([0-9.]+px) [^;]+")
_LONG = re.compile(r"[0-9]+\.[0-9]{3,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline_svg(svg: bytes, prefix: str, alt: str) -> str:
    """The element alone, for HTML.

    Args:
      svg: as matplotlib writes it.
      prefix: put before every id; give each drawing of a page its own.
      alt: the text for screen readers.
    """
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(svg)
    referenced = set()
    for element in root.iter():
        referenced |= {element.get(_HREF, "").removeprefix("#")}
        referenced |= set(_REFERENCE.findall(" ".join(element.attrib.values())))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{{{_SVG}}}metadata":
                parent.remove(child)
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name is not None and name in referenced:
            element.set("id", f"{prefix}-{name}")
        elif name is not None and name.startswith("halo"):
            element.set("class", "halo")
        for key, value in list(element.attrib.items()):
            if key == _HREF and value.startswith("#"):
                del element.attrib[key]
                element.set("href", f"#{prefix}-{value[1:]}")
            elif key in ("style", "fill", "stroke", "clip-path"):
                element.set(key, _restyled(value, prefix))
            elif key in ("d", "x", "y", "transform"):
                element.set(key, _LONG.sub(lambda match: f"{float(match.group(0)):.2f}", value))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"class": "chart", "role": "img", "aria-label": alt, "focusable": "false"}
    return ET.tostring(root, encoding="unicode")


def _restyled(value: str, prefix: str) -> str:
    value = _REFERENCE.sub(lambda match: f"url(#{prefix}-{match.group(1)})", value)
    value = _COLOR.sub(lambda match: _VARIABLES[match.group(0).lower()], value)
    return _FONT.sub(lambda match: f"font: {match.group(1)}{match.group(2)} var(--chart-font, sans-serif)", value)
