"""What the site needs besides Markdown: formulas as MathML, without a network, and the names of links to code."""

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
LINK_UP = re.compile(r"\[([^]]+)\]\((\.\./[^)#]+)[^)]*\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **kwargs: Any) -> str:
    """Links that lead out of the documentation, to code, become what they are called."""
    docs = Path(config.docs_dir)
    folder = (docs / page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        return link[0] if (folder / link[2]).resolve().is_relative_to(docs) else link[1]

    return LINK_UP.sub(kept, markdown)


def on_page_content(content: str, **kwargs: Any) -> str:
    return FORMULA.sub(lambda found: in_mathml(found[1], html.unescape(found[2])), content)


def in_mathml(element: str, formula: str) -> str:
    return convert(formula, display="block" if element == "div" else "inline")
