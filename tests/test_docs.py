"""The documentation becomes a site without a warning, which checks its links, and its formulas need no network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))]


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={tmp_path / 'site'}"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr
    page = (tmp_path / "site" / "report" / "index.html").read_text(encoding="utf-8")
    assert "<math" in page and "arithmatex" not in page and "W_{hh}" not in page
    assert "https://" not in "".join(line for line in page.splitlines() if "<script" in line)
    assert "../models/" not in page
    decision = (tmp_path / "site" / "design" / "backward" / "index.html").read_text(encoding="utf-8")
    assert 'href="../../performance/"' in decision and 'models/networks/bptt.py"' not in decision


def claims() -> list[list[str]]:
    """Claim, command and what was measured, of each row of the README's table."""
    (table,) = re.findall(
        r"(?m)^\| claim \|.*\n\|---.*\n((?:\|.*\n)+)", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]


@pytest.mark.parametrize("row", claims(), ids=lambda row: row[0][:40])
def test_claims_of_the_readme_are_in_the_linked_pages(row: list[str]) -> None:
    _, command, measured = row
    pages = re.findall(r"\]\((docs/\w+\.md)", measured)
    assert pages and command.startswith("`")
    there = "".join((ROOT / page).read_text(encoding="utf-8") for page in pages)
    known = [number.replace(",", "") for number in re.findall(r"\d[\d,]*(?:\.\d+)?", there)]
    for number in re.findall(r"\d+\.\d+", re.sub(r"\]\([^)]*\)", "", measured)):
        places = len(number.split(".")[1])
        assert any(abs(float(value) - float(number)) <= 0.5001 * 10**-places for value in known), number


@pytest.mark.parametrize("page", PAGES)
def test_links_of_pages_lead_to_files(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        assert link.startswith("https://") or ((ROOT / page).parent / link).exists(), link
