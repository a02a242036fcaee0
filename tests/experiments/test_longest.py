"""The longest mastered lengths are read from run folders."""

import csv
from pathlib import Path

import pytest

import cli
from tests.callbacks.test_length_curriculum import curriculum_and
from tests.conftest import Command


@pytest.fixture
def runs(command: Command, tmp_path: Path) -> Path:
    """Two runs that mastered something."""
    for network in ("rnn", "lstm"):
        args = (f"--model.network={network}", "--data.length=20", "--data.num_val=20", "--trainer.max_steps=20")
        assert command("fit", *args, curriculum_and()) == 0
    return tmp_path / "runs" / "small"


def test_rows_have_the_values_of_the_runs(runs: Path, tmp_path: Path) -> None:
    assert cli.main(["longest", f"--runs=[{runs}]", f"--output_dir={tmp_path / 'out'}"]) == 0
    with (tmp_path / "out" / "longest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (tmp_path / "out" / "longest.png").read_bytes().startswith(b"\x89PNG")
    assert [row["network"] for row in rows] == ["lstm", "rnn"]
    for row, version in zip(rows, ("version_1", "version_0"), strict=True):
        with (runs / version / "metrics.csv").open(newline="") as file:
            logged = [r["train/mastered_length"] for r in csv.DictReader(file) if r["train/mastered_length"]]
        assert float(row["mastered_length"]) == float(logged[-1]) > 0
        assert (row["hidden_size"], row["threshold"], row["steps"], row["seed"]) == ("8", "0.05", "20", "42")


def test_other_callbacks_are_ignored(command: Command, tmp_path: Path) -> None:
    other = ', {"class_path": "callbacks.TrainingMetrics"}'
    assert command("fit", "--data.length=9", "--data.num_val=20", curriculum_and(other)) == 0
    runs = tmp_path / "runs" / "small"
    assert cli.main(["longest", f"--runs=[{runs}]", f"--output_dir={tmp_path / 'out'}"]) == 0


def test_a_single_run(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli.main(["longest", f"--runs=[{runs / 'version_1'}]", f"--output_dir={out}"]) == 0
    assert len((out / "longest.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--runs=[]", "--output_dir=x"], "runs is empty; give at least one run's folder"),
        (["--runs=[nowhere]", "--output_dir=x"], "runs has nowhere, which has no config.yaml"),
        (["--runs=[{run}]", "--output_dir=x"], "version_0 is not a finished run with a LengthCurriculum; leave it out"),
        (["--output_dir=x"], "runs"),
    ],
)
def test_wrong_input_ends_in_one_line(
    args: list[str], message: str, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cli.main(["longest", *(arg.replace("{run}", str(run_dir)) for arg in args)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_a_folder_that_cannot_be_written_to(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["longest", f"--runs=[{runs}]", f"--output_dir={tmp_path / 'file'}"]) == 2
    assert "choose another folder with --output_dir" in capsys.readouterr().err
