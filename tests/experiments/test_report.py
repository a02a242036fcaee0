"""The report has the numbers of the results, and every file that it mentions exists."""

import json
import re
import shutil
from pathlib import Path

import pytest

import cli
from experiments.report import FIGURES, digits, learned_to, lost_from, read_sample, read_table, render
from models.networks import LSTM

DOCS = Path(__file__).parent.parent.parent / "docs"
TEMPLATES = [*sorted(DOCS.glob("*.md.jinja")), DOCS.parent / "README.md.jinja"]
REPORT = (DOCS / "report.md").read_text(encoding="utf-8")
RESULTS = DOCS / "results"
QUESTIONS = ("1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "2.1", "2.2", "2.3", "3.1", "3.2", "3.3", "3.4")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    shutil.copytree(DOCS / "results", tmp_path / "results")
    for template in DOCS.glob("*.md.jinja"):
        shutil.copy(template, tmp_path)
    return tmp_path


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_page_has_the_numbers_of_the_results(template: Path) -> None:
    page = template.with_suffix("").read_text(encoding="utf-8")
    assert render(template, DOCS) == page, "python cli.py report writes it again"


def test_the_report_changes_with_the_results(docs: Path) -> None:
    path = docs / "results" / "spread" / "spread.csv"
    path.write_text(re.sub(r"(?m)^(gcn_lstm,\d),[0-9.]+", r"\1,0.5", path.read_text()))
    assert "| GCN and LSTM | 0.5000 (0.5000 to 0.5000) |" in render(docs / "report.md.jinja", docs)


def test_the_readme_says_what_the_figure_shows() -> None:
    """Counted here from the table: the lengths that all seeds learn, and those that none does."""
    rows = [
        row
        for row in read_table(RESULTS / "accuracy_vs_length" / "accuracy_vs_length.csv")
        if row["training"] == "uniform"
    ]
    best, worst = (
        {
            network: {
                T: pick(r["test_accuracy"] for r in rows if (r["network"], r["length"]) == (network, T))
                for T in lengths
            }
            for network, lengths in (("rnn", {r["length"] for r in rows}), ("lstm", {r["length"] for r in rows}))
        }
        for pick in (max, min)
    )
    said = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    (of_rnn, of_lstm, at_chance) = map(
        int, re.findall(r"up to T = (\d+) digits on all .* LSTM up to T = (\d+)\. From T = (\d+)", said)[0]
    )
    for network, longest in (("rnn", of_rnn), ("lstm", of_lstm)):
        assert all(accuracy >= 0.99 for T, accuracy in worst[network].items() if longest >= T)
        assert any(accuracy < 0.99 for T, accuracy in worst[network].items() if longest < T)
    assert all((accuracy <= 0.15) == (at_chance <= T) for T, accuracy in best["lstm"].items())


def test_the_sample_in_the_readme_is_that_of_the_results() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```text\n(\$ python cli\.py generate .*?)\n(.*?)\n```", readme, flags=re.DOTALL)
    command, text = block
    there = read_sample(RESULTS / "text_grimm" / "taus.txt", command)
    assert " ".join(text.split()) == " ".join(there.split())


def test_each_question_has_its_heading_in_order() -> None:
    assert tuple(re.findall(r"(?m)^## (?:Bonus q|Q)uestion (\d\.\d)", REPORT)) == QUESTIONS


def test_files_that_the_report_mentions_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)", REPORT):
        assert (DOCS / link).exists(), link
    values: dict[str, list[str]] = {}  # of the variables of loops in the shell
    for variable, names in re.findall(r"for (\w+) in ([\w ]+);", REPORT):
        values.setdefault(variable, []).extend(names.split())
    for config in re.findall(r"--(?:config|base) (\S+\.yaml)", REPORT):
        (variable,) = re.findall(r"\$(\w+)", config) or [""]
        for name in values.get(variable, [""]):
            assert (DOCS.parent / config.replace(f"${variable}", name)).exists(), config


def test_the_command_writes_the_report_and_its_figures(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", f"--docs_dir={docs}"]) == 0
    assert (docs / "report.md").read_text(encoding="utf-8") == REPORT
    drawn = {path.name for path in (docs / "figures").glob("*.png")}
    assert {path.name for path in (docs / "figures").glob("*.svg")} == {name[:-3] + "svg" for name in drawn}
    assert drawn == {"hops.png", "remembered.png"} | {f"{name}.png" for name in FIGURES}
    elsewhere = {
        "every_digit.png",
        "longest.png",
        "patterns.png",
        "proof.png",
        "remembered.png",
        "stack.png",
        "strings.png",
    }
    assert drawn == set(re.findall(r"\(figures/(\S+)\)", REPORT)) | elsewhere
    told = capsys.readouterr().out
    assert str(docs / "report.md") in told and f"and {2 + len(FIGURES)} figures" in told


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results/spread/spread.csv", None, "spread.csv cannot be read: No such file or directory"),
        ("results/spread/spread.csv", "network,seed\ngcn,1\n", "does not match the results"),
        ("results/text_grimm/taus.txt", "nothing\n", "taus.txt has no "),
        ("*.md.jinja", None, "has no page.md.jinja"),
        ("report.md.jinja", "{{ nothing }}", "'nothing' is undefined"),
        ("report.md.jinja", "{% if %}", "does not match the results"),
    ],
)
def test_wrong_input_ends_in_one_line(
    name: str, content: str | None, message: str, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in docs.glob(name):
        path.unlink()
    if content is not None:
        (docs / name).write_text(content)
    assert cli.main(["report", f"--docs_dir={docs}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (docs / "report.md").exists()


def test_the_number_of_parameters_is_that_of_the_formula() -> None:
    d, n, K = 10, 128, 10
    assert sum(p.numel() for p in LSTM(d, n, K).parameters()) == 4 * n * (d + n + 1) + K * (n + 1)
    assert f"{4 * n * (d + n + 1):,}" in REPORT and f"{K * (n + 1):,}" in REPORT


def test_where_a_table_comes_from(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = {
        "command": "python a.py",
        "date": "2026-11-03",
        "processor": "P",
        "threads": 2,
        "torch": "2.13.0",
        "note": "Why.",
    }
    figure = about | {"command": "python b.py", "date": "2026-11-04", "made_from": [about, about]}
    (docs / "results" / "spread" / "about.json").write_text(json.dumps({"spread.csv": figure, "other.csv": about}))
    (docs / "report.md.jinja").write_text('{{ source("spread/spread.csv") }} {{ source("spread/other.csv") }}')
    assert render(docs / "report.md.jinja", docs) == (
        "[spread.csv](results/spread/spread.csv): `python a.py`, `python b.py`; 3 November 2026, P, 2 threads, torch 2.13.0. Why. "
        "[other.csv](results/spread/other.csv): `python a.py`; 3 November 2026, P, 2 threads, torch 2.13.0. Why."
    )
    (docs / "report.md.jinja").write_text('{{ source("spread/nothing.csv") }}')
    assert cli.main(["report", f"--docs_dir={docs}"]) == 2
    assert "about.json has no record of nothing.csv" in capsys.readouterr().err


def test_a_setting_is_that_of_the_config(docs: Path) -> None:
    (docs / "report.md.jinja").write_text('{{ setting("lstm_T20", "data.init_args.length") }}')
    assert render(docs / "report.md.jinja", docs) == "20"


def test_significant_digits(tmp_path: Path) -> None:
    assert [digits(v) for v in (0, 0.5432, 104.6, 1.234, 0.00123, 6.5e-23)] == [
        "0",
        "0.54",
        "105",
        "1.2",
        "1.2e-3",
        "6.5e-23",
    ]
    (tmp_path / "t.csv").write_text("a,b,c\n1,0.5,x\n")
    assert read_table(tmp_path / "t.csv") == [{"a": 1, "b": 0.5, "c": "x"}]
    (tmp_path / "s.txt").write_text("--- one\na\n\nb\n\n--- two\nc\n")
    assert read_sample(tmp_path / "s.txt", "--- one") == "a\n\nb" and read_sample(tmp_path / "s.txt", "--- two") == "c"


def test_lengths_learned_by_every_seed_and_by_none() -> None:
    accuracies = {5: (1.0, 1.0), 10: (1.0, 0.9995), 20: (0.9, 1.0), 30: (0.1, 1.0), 40: (0.1, 0.12), 50: (0.1, 0.1)}
    rows = [
        {"network": "rnn", "training": "uniform", "length": length, "test_accuracy": accuracy}
        for length, of_seeds in accuracies.items()
        for accuracy in of_seeds
    ]
    rows.append({"network": "lstm", "training": "uniform", "length": 10, "test_accuracy": 0.1})
    assert learned_to(rows, "rnn", "uniform") == 10
    assert lost_from(rows, "rnn", "uniform") == 40
