"""Writes the parts of the documentation that come from the code.

MkDocs calls the functions whose names begin with ``on_`` (``hooks`` in mkdocs.yml).
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.configuration import reference
from docs.mathml import MathML


def on_config(config: Any) -> None:
    """Adds the extension for formulas, of pages and docstrings."""
    config.markdown_extensions.append(MathML())


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Inserts the fields of ``configs/base.py``."""
    if page.file.src_uri == "configuration.md":
        markdown = markdown.replace("<!-- reference -->", reference())
    return markdown
