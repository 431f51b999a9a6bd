"""The page of the definitions: every figure has its anchor, and text stays text."""

from __future__ import annotations

import re
from html import unescape

import pytest

from api.definitions import definitions_page, definitions_text, markdown_html
from storage.record.glossary import GLOSSARY


def test_markdown_by_hand() -> None:
    """Headings with anchors, stress, code, links, lists, fences and tables, as HTML by hand."""
    text = (
        "# A *b*\n\nOne `<c>` and **two**,\nm* = [x](#y-z) [file](z.md).\n\n"
        "- i\n  j\n- k\n\n1. p\n\n```\n<l>\n```\n\n| m | n |\n|---|--:|\n| a \\| b | `q` |\n"
    )
    assert markdown_html(text) == (
        '<h1 id="a-b">A <em>b</em></h1>\n'
        "<p>One <code>&lt;c&gt;</code> and <strong>two</strong>,\nm* = "
        '<a href="definitions#y-z">x</a> file.</p>\n'
        "<ul>\n<li>i\nj</li>\n<li>k</li>\n</ul>\n<ol>\n<li>p</li>\n</ol>\n"
        "<pre><code>&lt;l&gt;\n</code></pre>\n"
        '<div class="scroll" tabindex="0" role="region" aria-label="Table 1">\n<table>\n<thead>\n'
        '<tr>\n<th scope="col">m</th>\n<th scope="col">n</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n'
        "<td>a | b</td>\n<td><code>q</code></td>\n</tr>\n</tbody>\n</table>\n</div>\n"
    )


def test_rows_of_the_glossary_alone_have_anchors_of_figures() -> None:
    """A table before the glossary may begin with the same name: its row has no anchor."""
    table = "| name |\n|---|\n| `spot` |\n| `not a name` |\n"
    page = markdown_html(f"## Inputs\n\n{table}\n## Glossary\n\n{table}")
    assert page.count("<tr id=") == 1
    assert page.index("Glossary</h2>") < page.index('<tr id="figure-spot">')


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a <b>c</b> & d", "<p>a &lt;b&gt;c&lt;/b&gt; &amp; d</p>\n"),
        ("<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>\n"),
        ("`</code><i>`", "<p><code>&lt;/code&gt;&lt;i&gt;</code></p>\n"),
        ("![x](https://example.com/x.png)", "<p>!x</p>\n"),
        ("[x](https://example.com) <https://example.com/>", "<p>x https://example.com/</p>\n"),
        ("[x](javascript:alert)", "<p>[x](javascript:alert)</p>\n"),
        ('[x](#a"onclick=b)', '<p><a href="definitions#a%22onclick=b">x</a></p>\n'),
        ('## a" onclick="b', '<h2 id="a-onclickb">a&quot; onclick=&quot;b</h2>\n'),
    ],
)
def test_text_stays_text(text: str, html: str) -> None:
    """Markup in the text is shown and not obeyed; nothing of another host is linked or loaded."""
    assert markdown_html(text) == html


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
