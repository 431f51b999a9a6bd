"""The page of the definitions: ``docs/definitions.md`` as HTML, for readers without a network.

Every heading has an anchor, and so has every figure of the glossary: ``figure-`` and its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The numbers: definitions</title>
<link rel="icon" href="static/icon.svg">
<script src="static/theme.js"></script>
<link rel="stylesheet" href="static/app.css">
<link rel="stylesheet" href="static/boxes.css">
</head>
<body class="document">
<nav aria-label="Back"><a href="./">Back to the page</a></nav>
<main>
{body}
</main>
</body>
</html>
"""
_TABLE_BOX = '<div class="scroll" tabindex="0" role="region" aria-label="Table {number}">\n'
_NAME = re.compile(r"`([a-z0-9_]+)`")


def definitions_text() -> str:
    """Return the text of ``docs/definitions.md``: of the wheel, or of the source tree.

    Returns
    -------
    str
        Markdown.
    """
    packaged = resources.files("api").joinpath("definitions.md")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    source = Path(__file__).resolve().parents[1] / "docs/definitions.md"
    return source.read_text(encoding="utf-8")


def definitions_page() -> str:
    """Return the definitions as a page.

    Returns
    -------
    str
        HTML.
    """
    return _PAGE.format(body=markdown_html(definitions_text()))


def markdown_html(text: str) -> str:
    """Turn Markdown into HTML. Links to other files become plain text: they are not served.

    Parameters
    ----------
    text : CommonMark with tables. HTML in it is shown as text.

    Returns
    -------
    str
        HTML without a head; nothing of the text can become markup of its own.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = _served_tokens(parser.parse(text))
    return str(parser.renderer.render(tokens, parser.options, {}))


def _served_tokens(tokens: Sequence[Token]) -> list[Token]:
    """A document's tokens with anchors, and with each table in a box that scrolls by itself."""
    served: list[Token] = []
    heading, tables = "", 0
    for index, token in enumerate(tokens):
        # The policy of the page refuses styles in attributes: a column's alignment is one.
        token.attrs.pop("style", None)
        if token.children:
            token.children = _served_links(token.children)
        if token.type == "heading_open":
            heading = tokens[index + 1].content
            token.attrs["id"] = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        elif token.type == "table_open":
            tables += 1
            served.append(_markup(_TABLE_BOX.format(number=tables)))
        elif token.type == "th_open":
            token.attrs["scope"] = "col"
        elif token.type == "tr_open" and heading == "Glossary":
            # The row begins, its first cell begins, and then comes what the cell has.
            name = _NAME.fullmatch(tokens[index + 2].content)
            token.attrs |= {"id": f"figure-{name[1]}"} if name else {}
        served.append(token)
        if token.type == "table_close":
            served.append(_markup("</div>\n"))
    return served


def _served_links(tokens: Sequence[Token]) -> list[Token]:
    """A line's tokens, where only links within the document are links."""
    served, is_within = [], False
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrs["href"])
            is_within = target.startswith("#")
            token.attrs["href"] = f"definitions{target}"
        if is_within or token.type not in ("link_open", "link_close"):
            served.append(token)
    return served


def _markup(html: str) -> Token:
    return Token("html_block", "", 0, content=html)
