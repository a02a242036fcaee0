"""What a run writes as it goes: TensorBoard's events and ``metrics.csv``, one curve however often it is resumed."""

import contextlib
import csv
import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

log = logging.getLogger(__name__)


def without_epoch(metrics: Mapping[str, float]) -> dict[str, float]:
    """Lightning adds an epoch to what validation and test measure; as a metric it says less than the step does."""
    return {name: value for name, value in metrics.items() if name != "epoch"}


@contextlib.contextmanager
def quiet_writing_thread() -> Iterator[None]:
    """Say nothing of an error in TensorBoard's writing thread: it is raised again where something is logged next."""
    before = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not (issubclass(args.exc_type, OSError) and type(args.thread).__name__ == "_AsyncWriterThread"):
            before(args)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before


class RunTensorBoard(TensorBoardLogger):
    """TensorBoard's events in the run folder; events from ``first_step`` on, written before, are purged.

    Args:
        run_dir: the run folder.
        first_step: the first step that will be logged.
    """

    def __init__(self, run_dir: Path, first_step: int) -> None:
        root, experiment, version = run_dir.parent.parent, run_dir.parent.name, run_dir.name
        purge_step = first_step if any(run_dir.glob("events.*")) else None
        super().__init__(root, experiment, version, default_hp_metric=False, purge_step=purge_step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(without_epoch(metrics), step)

    def save(self) -> None:
        self.experiment.flush()  # and no hparams.yaml: config.yaml says it all


class RunMetricsFile(CSVLogger):
    """``metrics.csv`` in the run folder, a row for each logged step; rows from ``first_step`` on are cut off first.

    Args:
        run_dir: the run folder.
        first_step: the first step that will be logged.
    """

    def __init__(self, run_dir: Path, first_step: int) -> None:
        super().__init__(run_dir.parent.parent, run_dir.parent.name, run_dir.name)
        self._experiment = AppendingWriter(run_dir, first_step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(without_epoch(metrics), step)


class AppendingWriter(ExperimentWriter):
    """Lightning's writer deletes an existing file; this one goes on with what came before ``first_step``."""

    def __init__(self, run_dir: Path, first_step: int) -> None:
        super().__init__(str(run_dir))
        path = Path(self.metrics_file_path)
        if path.exists():
            # A process that was killed may have written half a line.
            lines = path.read_text(errors="replace").splitlines(keepends=True)
            reader = csv.DictReader(line for line in lines if line.endswith("\n"))
            is_known = "step" in (reader.fieldnames or [])
            self.metrics_keys = list(reader.fieldnames or []) if is_known else []
            rows = [row for row in reader if (row.get("step") or "").isdecimal()] if is_known else []
            num_damaged = len(lines) - len(rows) - int(is_known)
            if num_damaged > 0:
                log.warning(
                    "%s: %d line%s damaged, and left out.", path, num_damaged, " is" if num_damaged == 1 else "s are"
                )
            self._write_anew([row for row in rows if int(row["step"]) < first_step])

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(newline="") as file:
            self._write_anew(list(csv.DictReader(file)))

    def _write_anew(self, rows: list[dict[str, str]]) -> None:
        """Replace the file by these rows under the header ``metrics_keys``, at once: a kill must not cost a curve."""
        path = Path(self.metrics_file_path)
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(path)

    def _check_log_dir_exists(self) -> None:
        """Where Lightning's writer deletes the file."""

    def save(self) -> None:
        super(ExperimentWriter, self).save()  # no hparams.yaml
