"""The documentation becomes a site without a warning, which checks its links, and its formulas need no network."""

import os
import re
import statistics
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


def sentences(page: str) -> list[str]:
    """The sentences of a page's paragraphs and lists, without code, tables, headings, formulas, pictures and references."""
    text = re.sub(r"(?ms)^ *(```|~~~).*?^ *\1\s*$", "\n", page)
    text = re.sub(r"(?s)\$\$.*?\$\$|<!--.*?-->", "\n", text)
    text = re.sub(r"(?ms)^## References\n.*?(?=^## |\Z)|^References: .*?(?=^\s*$|\Z)", "\n", text)
    text = re.sub(r"(?m)^(\||#|!\[|>).*$", "\n", text)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "x", text)
    text = re.sub(r"\]\([^)]*\)", "]", text).replace("et al.", "et al")
    paragraphs = re.split(r"\n\s*\n|(?m:^\s*(?:[-*]|\d+\.)\s)", text)
    found = [sentence for paragraph in paragraphs for sentence in re.split(r"(?<=[.?!])[)*\"”’]*\s+", paragraph)]
    return [" ".join(sentence.split()) for sentence in found if re.search(r"\w", sentence)]


def words(sentence: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def test_a_sentence_ends_at_its_full_stop_and_not_in_code_or_a_table() -> None:
    page = (
        "# A heading. No.\n\nOne two `three. four`. Five\nsix (seven eight).\n\n- nine\n- ten $a. b$ y!\n\n| a. b |\n|---|\n"
        "\n```\ncode. code\n```\n\n## References\n\n- A. Author, 1994.\n"
    )
    assert sentences(page) == ["One two x.", "Five six (seven eight).", "nine", "ten x y!"]
    assert [words(sentence) for sentence in sentences(page)] == [3, 4, 1, 3]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_sentences_are_short(page: str) -> None:
    lengths = {sentence: words(sentence) for sentence in sentences((ROOT / page).read_text(encoding="utf-8"))}
    too_long = {sentence: length for sentence, length in lengths.items() if length > 40}
    assert not too_long, too_long
    assert not lengths or statistics.median(lengths.values()) <= 18
