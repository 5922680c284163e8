"""The frame of every HTML page: one file, one style, no script, nothing from outside.

Text that comes from outside goes through `escape` before it is put into a page.
"""

import base64
import html
import math
from collections.abc import Iterable, Sequence

from abaw_jax.releases.names import printable

DASH = "\N{EN DASH}"
"""Stands in a table where there is no number."""


def escape(text: str) -> str:
    """The text for a page: no tag, no end of an attribute, nothing unprintable."""
    return html.escape(printable(text))


def html_page(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """The whole page.

    Args:
      title: plain text.
      parts: of the body, HTML.
      style: rules of this page besides the common ones.
    """
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}{style}</style>
<main>
{body}
</main>
</html>
"""


def data_address(content: bytes, kind: str) -> str:
    """The address that holds a picture itself; ``kind`` as in "image/jpeg"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, name: str) -> str:
    """A table that scrolls in itself where the window is narrow.

    Args:
      heads: of the columns, HTML.
      rows: cells, HTML; the first of a row is its head.
      name: of the table for screen readers, plain text.
    """
    top = "".join(f"<th scope=col>{head}</th>" for head in heads)
    body = "\n".join(
        f"<tr><th scope=row>{first}</th>{''.join(f'<td>{cell}</td>' for cell in rest)}"
        for first, *rest in rows
    )
    return (
        f"<div class=wide tabindex=0 role=region aria-label='{escape(name)}'>"
        f"<table><thead><tr>{top}</thead><tbody>\n{body}</tbody></table></div>"
    )


def number(value: float | None, form: str = ".3f") -> str:
    """The number in a format of Python, or a dash for None, NaN and infinities."""
    if value is None or not math.isfinite(value):
        return DASH
    return format(value, form)


_STYLE = """
:root { --ink: #222; --dim: #767676; --line: #ddd; --bar: #0072B2; --page: #fff; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.dim { color: var(--dim); } p.dim { font-size: .85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.wide th, .wide td { text-align: right; padding: .2rem .8rem;
  border-bottom: 1px solid var(--line); font-weight: normal; white-space: nowrap; }
.wide th:first-child { text-align: left; padding-left: 0; }
.wide thead th { color: var(--dim); font-size: .85rem; }
.charts { display: grid; gap: 1.5rem 2.5rem;
  grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); }
figure { margin: 0; } figcaption { font-size: .85rem; margin-bottom: .3rem; }
.charts figcaption { font-weight: 600; }
details { margin: .2rem 0; } summary { cursor: pointer; }
ul { margin: .3rem 0; padding-left: 1.2rem; font-size: .85rem; }
code { overflow-wrap: anywhere; }
"""
