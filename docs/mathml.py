"""A Markdown extension that renders LaTeX as MathML, which browsers show by themselves.

It reads ``$…$`` within a line, ``$$`` on lines around a formula, and the directive and
the role ``math`` of docstrings.
"""

import re
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor

_BLOCK = re.compile(
    r"^\$\$\n(?P<page>.+?)\n\$\$$|"
    r"^\.\. math::[ \t]*(?P<docstring>[^\n]*\n(?:[ \t]*\n|[ \t]+[^\n]+\n?)*)",
    re.MULTILINE | re.DOTALL,
)
_PAGE = r"(?<![\w\\$])\$([^\s$][^$\n]*?)\$(?!\w)"
_DOCSTRING = r":math:`([^`]+)`"


class MathML(Extension):
    """Registers both kinds of formulas before Markdown interprets underscores."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Adds the processors to ``md``."""
        md.preprocessors.register(_Blocks(md), "mathml_blocks", 24)
        # Code, whose dollars are none of ours, has priority 190.
        md.inlinePatterns.register(_Inline(_DOCSTRING, md), "mathml_docstring", 195)
        md.inlinePatterns.register(_Inline(_PAGE, md), "mathml_page", 185)


class _Blocks(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return _BLOCK.sub(self._store, "\n".join(lines)).split("\n")

    def _store(self, found: re.Match[str]) -> str:
        latex = (found["page"] or found["docstring"]).strip()
        html = convert(latex, display="block")
        return f"\n{self.md.htmlStash.store(html)}\n\n"


class _Inline(InlineProcessor):
    def handleMatch(
        self, m: re.Match[str], data: str
    ) -> tuple[Element | str, int, int]:
        del data
        html: Any = self.md.htmlStash.store(convert(m[1]))
        return html, m.start(0), m.end(0)
