"""Writes the report as a PDF: ``python -m docs.pdf``, after ``python cli.py report``."""

import re
from pathlib import Path

import pypandoc
import typst

DOCS = Path(__file__).parent


def write_pdf(page: Path, pdf: Path) -> None:
    """Set a page with the template ``report.typ``; its figures are the SVG files beside the PNG files that it shows."""
    text = re.sub(r"(\]\(figures/\w+)\.png\)", r"\1.svg)", page.read_text(encoding="utf-8"))
    title = text.splitlines()[0].removeprefix("# ")
    # Without the number of columns pandoc would give the columns of a long table the widths of its dashes.
    options = [f"--template={DOCS / 'report.typ'}", f"--metadata=title:{title}", "--columns=10000"]
    source = page.with_suffix(".out.typ")
    source.write_text(pypandoc.convert_text(text, "typst", "gfm", extra_args=options), encoding="utf-8")
    try:
        typst.compile(source, output=pdf)
    finally:
        source.unlink()


if __name__ == "__main__":
    write_pdf(DOCS / "report.md", DOCS / "report.pdf")
