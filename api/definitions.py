"""The page of the definitions: ``docs/definitions.md`` as HTML, for readers without a network.

Only the Markdown that the document uses is read: headings, paragraphs, lists, tables, fences, code,
stress and links. Every figure of the glossary has an anchor, ``figure-`` and its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from importlib import resources
from pathlib import Path

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
_ITEM = re.compile(r"[-*] +")
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
    text : Markdown as the definitions use it.

    Returns
    -------
    str
        HTML without a head; nothing of the text can become markup of its own.
    """
    parts: list[str] = []
    heading, tables = "", 0
    lines = text.splitlines()
    while lines:
        line = lines.pop(0)
        if not line.strip():
            continue
        if line.startswith("```"):
            block = _take(lines, lambda each: not each.startswith("```"))
            del lines[:1]
            parts.append(f"<pre><code>{escape(chr(10).join(block))}</code></pre>")
        elif match := re.match(r"(#{1,4}) (.+)", line):
            level, heading = len(match[1]), match[2]
            parts.append(f'<h{level} id="{_anchor(heading)}">{_inline(heading)}</h{level}>')
        elif line.startswith("|"):
            rows = [line, *_take(lines, lambda each: each.startswith("|"))]
            tables += 1
            parts.append(_table(rows, tables, figures=heading == "Glossary"))
        elif _ITEM.match(line):
            items = [line, *_take(lines, lambda each: bool(_ITEM.match(each)) or each[:1] == " ")]
            parts.append(_list(items))
        else:
            rest = _take(lines, lambda each: bool(each.strip()) and not each.startswith(("|", "#")))
            parts.append(f"<p>{_inline(' '.join([line, *rest]))}</p>")
    return "\n".join(parts)


def _take(lines: list[str], belongs: Callable[[str], bool]) -> list[str]:
    """The first lines that belong together; they are taken off the list."""
    taken = []
    while lines and belongs(lines[0]):
        taken.append(lines.pop(0))
    return taken


def _anchor(heading: str) -> str:
    """The name that links within the document give a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _list(lines: list[str]) -> str:
    items: list[str] = []
    for line in lines:
        if _ITEM.match(line):
            items.append(_ITEM.sub("", line, count=1))
        else:
            items[-1] += " " + line.strip()
    return "<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>"


def _table(lines: list[str], number: int, *, figures: bool) -> str:
    rows = [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
        if not re.fullmatch(r"[|\s:-]+", line)
    ]
    head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in rows[0])
    body = []
    for row in rows[1:]:
        name = _NAME.fullmatch(row[0]) if figures else None
        anchor = f' id="figure-{name[1]}"' if name else ""
        body.append(
            f"<tr{anchor}>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>"
        )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table {number}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _inline(text: str) -> str:
    """A line's code, stress and links; what stands in code is left as it is."""
    pieces = re.split(r"`([^`]+)`", text)
    return "".join(
        f"<code>{escape(piece)}</code>" if k % 2 else _words(piece)
        for k, piece in enumerate(pieces)
    )


def _words(text: str) -> str:
    written = escape(re.sub(r"\\([\\|*_`])", r"\1", text))
    written = re.sub(r"\[([^\]]*)\]\((#[\w-]+)\)", r'<a href="definitions\2">\1</a>', written)
    written = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", written)
    written = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", written)
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*?)\*(?![\w*])", r"<em>\1</em>", written)
