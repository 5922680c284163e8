"""Writes the parts of the documentation that come from the code.

MkDocs calls the functions whose names begin with ``on_`` (``hooks`` in mkdocs.yml).
"""

import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.configuration import reference

_FORMULA = re.compile(
    r"^\$\$\n(?P<block>.*?)\n\$\$$|(?<![\w\\`$])\$(?P<inline>[^\s$][^$\n]*?)\$(?!\w)",
    re.MULTILINE | re.DOTALL,
)
_formulas: list[str] = []


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Inserts the fields of ``configs/base.py`` and sets formulas aside."""
    if page.file.src_uri == "configuration.md":
        markdown = markdown.replace("<!-- reference -->", reference())
    _formulas.clear()
    return _FORMULA.sub(_set_aside, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Puts formulas back as MathML, which Markdown would take for paragraphs."""
    return re.sub(r"FORMULA(\d+)END", lambda found: _formulas[int(found[1])], html)


def _set_aside(found: re.Match[str]) -> str:
    display = "block" if found["block"] else "inline"
    _formulas.append(convert(found["block"] or found["inline"], display=display))
    return f"FORMULA{len(_formulas) - 1}END"
