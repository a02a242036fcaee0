"""``metrics.csv`` and TensorBoard's events are one curve, however often they are opened again."""

import csv
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.loggers import RunMetricsFile, RunTensorBoard


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_metrics_file_is_cut_back_and_appended_to(tmp_path: Path) -> None:
    run_dir = tmp_path / "exp" / "version_3"
    logger = RunMetricsFile(run_dir, 0)
    for step in range(6):
        logger.log_metrics({"train/loss": step / 10}, step)
        logger.save()
    logger.log_metrics({"val/loss": 0.7}, 5)
    logger.save()
    logger = RunMetricsFile(run_dir, 4)
    assert [row["step"] for row in rows(run_dir)] == ["0", "1", "2", "3"]
    logger.log_metrics({"train/loss": 9.0, "new": 1.0}, 4)
    logger.save()
    assert [(row["step"], row["train/loss"], row["val/loss"], row["new"]) for row in rows(run_dir)] == [
        *((str(step), str(step / 10), "", "") for step in range(4)),
        ("4", "9.0", "", "1.0"),
    ]
    assert [path.name for path in run_dir.iterdir()] == ["metrics.csv"]


def test_half_a_line_is_cut_off(tmp_path: Path) -> None:
    run_dir = tmp_path / "exp" / "version_0"
    run_dir.mkdir(parents=True)
    (run_dir / "metrics.csv").write_text("step,train/loss\r\n11,0.5\r\n1")
    RunMetricsFile(run_dir, 20)
    assert rows(run_dir) == [{"step": "11", "train/loss": "0.5"}]


def test_rows_that_are_no_rows_are_cut_off(tmp_path: Path) -> None:
    run_dir = tmp_path / "exp" / "version_0"
    run_dir.mkdir(parents=True)
    (run_dir / "metrics.csv").write_bytes(b"step,train/loss\n1,0.5\n\xff\xfe,1\n,2\n3,0.7,8,9\n")
    RunMetricsFile(run_dir, 9)
    assert rows(run_dir) == [{"step": "1", "train/loss": "0.5"}, {"step": "3", "train/loss": "0.7"}]
    (run_dir / "metrics.csv").write_bytes(b"other\n1\n")
    RunMetricsFile(run_dir, 9)
    assert rows(run_dir) == []


@pytest.mark.parametrize(
    ("content", "kept", "told"),
    [
        (b"step,train/loss\n0,0.5\n1,0.4", 1, "1 damaged line was removed"),
        (b"step,train/loss\n0,0.5\n\xff\x00,\n1,0.4\n", 2, "1 damaged line was removed"),
        (b"\xff\xfe,x\n3,4\n", 0, "2 damaged lines were removed"),
        (b"step,train/loss\n0,0.5\n1,0.4\n", 2, ""),
        (b"", 0, ""),
    ],
)
def test_damaged_rows_are_removed_and_reported(
    content: bytes, kept: int, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = tmp_path / "exp" / "version_0"
    run_dir.mkdir(parents=True)
    (run_dir / "metrics.csv").write_bytes(content)
    logger = RunMetricsFile(run_dir, 7)
    logger.log_metrics({"train/loss": 0.1}, 7)
    logger.save()
    assert len(rows(run_dir)) == kept + 1
    assert told in caplog.text and bool(told) == bool(caplog.text)


def test_a_kill_while_a_column_is_added_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = tmp_path / "exp" / "version_0"
    logger = RunMetricsFile(run_dir, 0)
    logger.log_metrics({"train/loss": 0.5}, 0)
    logger.save()

    def killed(*args: object) -> None:
        raise SystemExit

    monkeypatch.setattr(csv.DictWriter, "writerows", killed)
    logger.log_metrics({"val/loss": 0.5}, 0)
    with pytest.raises(SystemExit):
        logger.save()
    assert rows(run_dir) == [{"step": "0", "train/loss": "0.5"}]


def test_an_empty_metrics_file_is_accepted(tmp_path: Path) -> None:
    run_dir = tmp_path / "exp" / "version_0"
    run_dir.mkdir(parents=True)
    (run_dir / "metrics.csv").touch()
    logger = RunMetricsFile(run_dir, 0)
    logger.log_metrics({"train/loss": 0.5}, 0)
    logger.save()
    assert rows(run_dir) == [{"step": "0", "train/loss": "0.5"}]


def test_tensorboard_purges_what_will_be_logged_again(tmp_path: Path) -> None:
    run_dir = tmp_path / "exp" / "version_0"
    for first_step, value in ((0, 1.0), (3, 2.0)):
        logger = RunTensorBoard(run_dir, first_step)
        for step in range(first_step, 6):
            logger.log_metrics({"train/loss": value}, step)
        logger.save()
        logger.finalize("success")
    events = EventAccumulator(str(run_dir)).Reload().Scalars("train/loss")
    assert [(e.step, e.value) for e in events] == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]
    assert all(path.name.startswith("events.") for path in run_dir.iterdir())
