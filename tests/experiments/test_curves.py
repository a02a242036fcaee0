"""Curves show the values that a run has logged."""

import csv
from pathlib import Path

import pytest

import cli


def test_the_rows_are_the_logged_values(text_run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "curves"
    assert cli.main(["curves", f"--runs=[{text_run_dir.parent}]", f"--output_dir={output}"]) == 0
    with (text_run_dir / "metrics.csv").open(newline="") as file:
        logged = list(csv.DictReader(file))
    with (output / "curves.csv").open(newline="") as file:
        drawn = list(csv.DictReader(file))
    for split, steps in (("train", ["3", "6"]), ("val", ["4", "7"])):
        ours = [row for row in drawn if row["split"] == split]
        theirs = [row for row in logged if row[f"{split}/loss"]]
        assert [row["step"] for row in ours] == steps
        assert [(row["loss"], row["accuracy"]) for row in ours] == [
            (row[f"{split}/loss"], row[f"{split}/accuracy"]) for row in theirs
        ]
    assert {row["run"] for row in drawn} == {"text"} and (output / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--runs=[]"], "runs is empty; give at least one run's folder"),
        (["--runs=[/no/such/run]"], "runs has /no/such/run, which has no metrics.csv"),
        (["--runs=[{empty}]"], "no loss and accuracy have been logged in"),
        (["--show_from=5"], "show_from"),
        (["--output_dir=/dev/null/x"], "cannot write to /dev/null/x"),
        ([], "runs has a run twice"),
    ],
)
def test_wrong_input_ends_in_one_line(
    args: list[str], message: str, text_run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = f"--runs=[{text_run_dir}]" if args else f"--runs=[{text_run_dir},{text_run_dir.parent}]"
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "metrics.csv").write_text("step,train/loss\n3,0.5\n")
    args = [word.replace("{empty}", str(empty)) for word in args]
    capsys.readouterr()
    assert cli.main(["curves", runs, f"--output_dir={tmp_path / 'out'}", *args]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
