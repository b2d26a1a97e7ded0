"""A series' line and marker beside its name in a legend of the page."""

from __future__ import annotations

from markupsafe import Markup

from trilemma.report.figure import Look

_MARKERS = {
    "circle": '<circle cx="14" cy="6" r="3.6"/>',
    "square": '<rect x="10.8" y="2.8" width="6.4" height="6.4"/>',
    "triangle": '<path d="M14 1.8 18 9.4H10z"/>',
    "diamond": '<path d="M14 1.6 18.4 6 14 10.4 9.6 6z"/>',
    "down": '<path d="M14 10.2 18 2.6H10z"/>',
    "plus": '<path d="M12.6 2h2.8v2.6H18v2.8h-2.6V10h-2.8V7.4H10V4.6h2.6z"/>',
    "cross": '<path d="m10.4 3.6 1.8-1.8L14 3.8l1.8-2 1.8 1.8L15.8 6l1.8 2.4-1.8 1.8-1.8-2-1.8 2-1.8-1.8L12.2 6z"/>',
}
_DASHES = {"": "", "dashed": "4.5 2", "dotted": "1.2 1.8"}


def swatch(look: Look) -> Markup:
    """A line and a marker as they are in the figure."""
    ink = f"var(--{look.ink})"
    dash = f' stroke-dasharray="{_DASHES[look.dash]}"' if look.dash else ""
    width = 1 if look.faint else 1.6
    line = f'<path d="M1 6h26" stroke="{ink}" stroke-width="{width}"{dash} fill="none"/>' if look.joined else ""
    fill = "var(--card)" if look.hollow else ink
    size = ' transform="translate(4.9 2.1) scale(.65)"' if look.faint else ""
    marker = f'<g fill="{fill}" stroke="{ink}" stroke-width="1.2"{size}>{_MARKERS[look.marker]}</g>'
    opacity = ' opacity=".75"' if look.faint else ""
    return Markup(
        '<svg class="swatch" viewBox="0 0 28 12" aria-hidden="true" focusable="false">'
        f"<g{opacity}>{line}{marker}</g></svg>"
    )
