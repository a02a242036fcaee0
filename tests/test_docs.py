"""The documentation becomes a site without a warning, which checks its links, and its formulas need no network."""

import datetime
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.provenance import read_records

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


SOURCES = [
    *(page for page in PAGES if page != "CHANGELOG.md" and not (ROOT / f"{page}.jinja").exists()),
    *(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md.jinja"), *ROOT.glob("docs/*.md.jinja"))),
]
"""What people write: templates, and the pages that are made from none. A changelog has versions."""

SMALL = 12
"""Whole numbers up to this are names and counts, such as "two layers" or "question 3"."""

RESULTS = sorted(path for path in ROOT.glob("docs/results/**/*") if path.suffix in (".csv", ".txt"))


def prose(text: str) -> str:
    """A template or page without what it computes, code, formulas, pictures, headings, links and references."""
    text = re.sub(r"(?ms)^ *(```|~~~).*?^ *\1\s*$", "\n", text)
    text = re.sub(r"(?s)\{#.*?#\}|\{%.*?%\}|<!--.*?-->", " ", text)
    text = re.sub(r"(?s)\{\{.*?\}\}", "x", text)
    text = re.sub(r"(?s)\$\$.*?\$\$", "\n", text)
    text = re.sub(r"(?ms)^## References\n.*?(?=^## |\Z)|^References: .*?(?=^\s*$|\Z)", "\n", text)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "x", text)
    text = re.sub(r"(?m)^(#|!\[).*$|^\s*\d+\. ", "\n", text)
    return re.sub(r"\]\([^)]*\)|https?://\S+", "]", text)


def written_numbers(text: str) -> set[str]:
    """The numbers that a page's author wrote: not small whole numbers, years and references to questions or equations."""
    text = re.sub(r"\b(?:19|20)\d\d\b", "", prose(text))
    references = r"(?i)\b(?:questions?|sections?|equations?) (\d[\d.]*[a-d]?)(?:(?: and| to|-) ?\d[\d.]*[a-d]?)*"
    text = re.sub(references, "", text)
    found = re.findall(r"(?<![\w.^-])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text)
    numbers = {number.rstrip(",") for number in found}
    return {number for number in numbers if not (number.isdecimal() and int(number) <= SMALL)}


@pytest.mark.parametrize("page", SOURCES)
def test_a_number_is_computed_or_said_to_be_given(page: str) -> None:
    """Measured numbers come from docs/results. Settings, definitions and figures of others stand in a comment."""
    text = (ROOT / page).read_text(encoding="utf-8")
    given = re.findall(r"(?s)(?:\{#|<!--) Given: (.*?) (?:#\}|-->)", text)
    said = {number for numbers in given for number in re.split(r",?\s+", numbers)}
    assert written_numbers(text) == said


def test_numbers_of_a_page_are_found() -> None:
    page = (
        "# 99\n{# 98 #}\n12 and 13, `14`, $15$, [16](17), {{ 18 }}, in 1994, question 1.3, equations 14 to 17, 1.5 s, 1,000 and 2.5 %; 1e-6.\n"
        "```\n19\n```\n| 20 | T = 21 |\n\n## References\n\n22\n"
    )
    assert written_numbers(page) == {"13", "16", "1.5", "1,000", "2.5", "1e-6", "20", "21"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: str(path.relative_to(ROOT / "docs" / "results")))
def test_results_have_a_command_a_date_and_a_machine(path: Path) -> None:
    entry = read_records(path.parent)[path.name]
    measured = (entry, *entry.get("made_from", []))
    for record in measured:
        assert {"command", "date", "processor", "threads", "torch", "python"} <= record.keys()
        assert datetime.date.fromisoformat(record["date"]) <= datetime.datetime.now(datetime.UTC).date()
        program, script, *words = record["command"].split()
        module = Path(*words[0].split(".")).with_suffix(".py") if script == "-m" else Path(script)
        assert program == "python" and (ROOT / module).is_file(), record["command"]
        for config in re.findall(r"--(?:config|base)[= ](\S+\.yaml)", record["command"]):
            assert (ROOT / config).is_file(), config


def test_no_result_is_left_over() -> None:
    for folder in {path.parent for path in RESULTS}:
        assert set(read_records(folder)) == {path.name for path in RESULTS if path.parent == folder}


def claims() -> list[list[str]]:
    """Claim, command and what was measured, of each row of the table in the README's template."""
    text = (ROOT / "README.md.jinja").read_text(encoding="utf-8")
    (table,) = re.findall(r"(?m)^\| claim \|.*\n\|---.*\n((?:\|.*\n)+)", text)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in CALL.sub(hide_bars, table).splitlines()]


CALL = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")


def hide_bars(call: re.Match[str]) -> str:
    return call.group().replace(" | ", "|")


@pytest.mark.parametrize("row", claims(), ids=lambda row: row[0][:40])
def test_a_claim_of_the_readme_is_computed_and_linked(row: list[str]) -> None:
    claim, command, measured = row
    assert re.search(r"\]\((docs/\w+\.md)", measured) and command.startswith("`")
    assert "{{" in measured and not written_numbers(re.sub(r"\{\{.*?\}\}", "", measured))
    if re.search(r"\b(speed|time|seconds)\b", claim):
        assert "processor(" in measured, "speed depends on the processor"


@pytest.mark.parametrize("row", claims(), ids=lambda row: row[0][:40])
def test_numbers_of_a_claim_that_are_compared_are_of_one_column(row: list[str]) -> None:
    """One side against the other: both from the same column of the same file."""
    for ours, theirs in re.findall(r"(\{\{[^{}]*\}\}) against (\{\{[^{}]*\}\})", row[-1]):
        (ours_file, *_), (theirs_file, *_) = (re.findall(r'table\("([^"]+)"\)', side) for side in (ours, theirs))
        (ours_column, *_), (theirs_column, *_) = (re.findall(r'\[0\]\["([^"]+)"\]', side) for side in (ours, theirs))
        assert (ours_file, ours_column) == (theirs_file, theirs_column)
        assert ours_column in row[0] or ours_column.replace("block ", "blocks of ") in row[0]


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


@pytest.mark.slow
def test_the_report_becomes_a_pdf(tmp_path: Path) -> None:
    pytest.importorskip("typst")
    from docs.pdf import write_pdf

    shutil.copytree(ROOT / "docs" / "figures", tmp_path / "figures")
    page = tmp_path / "report.md"
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    sizes = []
    for part in (text, text[: len(text) // 2]):
        page.write_text(part, encoding="utf-8")
        write_pdf(page, tmp_path / "report.pdf")
        pdf = (tmp_path / "report.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        sizes.append(len(pdf))
    assert sizes[0] > sizes[1] > 100_000
    assert {path.name for path in tmp_path.iterdir()} == {"figures", "report.md", "report.pdf"}
    page.write_text("# A\n\n![B](figures/missing.png)\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="missing.svg"):
        write_pdf(page, tmp_path / "report.pdf")


@pytest.mark.parametrize("page", PAGES)
def test_rows_of_a_table_follow_each_other(page: str) -> None:
    """An empty line would end the table."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    for before, between, after, next_line in zip(lines, lines[1:], lines[2:], [*lines[3:], ""], strict=False):
        if before.startswith("|") and not between.strip() and after.startswith("|"):
            assert re.fullmatch(r"\|(-+\|)+", next_line), after  # another table begins


CITATION = r"([A-Z][\w-]+)(?:, [A-Z]\.)?(?: et al\.|(?:, [\w' -]+)* and [\w' -]+)? \(?((?:19|20)\d\d)\b"


def test_citations_and_references_of_the_report_belong_together() -> None:
    text, references = (ROOT / "docs" / "report.md").read_text(encoding="utf-8").split("## References\n")
    listed = {
        (
            re.findall(r"^- (?:[^\s,]+ )*?([^\s,]+(?:-\w+)?)(?:,| et| and)", line)[0],
            re.findall(r"\b((?:19|20)\d\d)\b", line)[-1],
        )
        for line in references.splitlines()
        if line.startswith("- ")
    }
    cited = set(re.findall(CITATION, " ".join(text.split())))
    assert listed - cited == set()
    assert {key for key in cited if key[0] not in MONTHS} - listed == set()


MONTHS = ("November",)
