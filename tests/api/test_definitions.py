"""The page of the definitions: every figure has its anchor, and text stays text."""

from __future__ import annotations

import re
from html import unescape

from api.definitions import definitions_page, definitions_text, markdown_html
from storage.record.glossary import GLOSSARY


def test_markdown_by_hand() -> None:
    """Each construct that the definitions use, beside its HTML written by hand."""
    text = (
        "# A *b*\n\nOne `<c>` and **two**,\nm* = [x](#y-z) [file](z.md).\n\n"
        "- i\n  j\n- k\n\n```\n<l>\n```\n\n| m | n |\n|---|---|\n| a \\| b | <i> |\n"
    )
    assert markdown_html(text) == (
        '<h1 id="a-b">A <em>b</em></h1>\n'
        "<p>One <code>&lt;c&gt;</code> and <strong>two</strong>, m* = "
        '<a href="definitions#y-z">x</a> file.</p>\n'
        "<ul><li>i j</li><li>k</li></ul>\n"
        "<pre><code>&lt;l&gt;</code></pre>\n"
        '<div class="scroll" tabindex="0" role="region" aria-label="Table 1"><table><thead><tr>'
        '<th scope="col">m</th><th scope="col">n</th></tr></thead><tbody><tr><td>a | b</td>'
        "<td>&lt;i&gt;</td></tr></tbody></table></div>"
    )


def test_every_figure_has_an_anchor() -> None:
    """An explanation's link leads to the figure's line, and no link leads nowhere."""
    page = definitions_page()
    anchors = set(re.findall(r' id="([^"]+)"', page))
    assert {f"figure-{name}" for name in GLOSSARY} <= anchors
    assert set(re.findall(r'href="definitions#([^"]+)"', page)) <= anchors
    words = unescape(re.sub(r"<[^>]+>", "", page))
    # The last words of the document are there: nothing was swallowed on the way.
    assert definitions_text().split()[-1].strip("`*.") in words
    assert "](" not in words
