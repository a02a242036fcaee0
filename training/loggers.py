"""The loggers of a run: TensorBoard's events and ``metrics.csv``. A resumed run continues the same curves."""

import contextlib
import csv
import io
import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from tensorboard.summary.writer import event_file_writer

from training.files import write_atomically

log = logging.getLogger(__name__)

# The files of a process are numbered, and TensorBoard reads those of the same second in the order of their names. So 9
# would come after 10.
event_file_writer._global_uid = event_file_writer.AtomicCounter(1_000_000)


@contextlib.contextmanager
def silent_writer_thread() -> Iterator[None]:
    """Do not print errors of TensorBoard's writing thread: they are raised again at the next log."""
    before = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not (issubclass(args.exc_type, OSError) and type(args.thread).__name__ == "_AsyncWriterThread"):
            before(args)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before


class StepLogger(Logger):
    """Logs no epoch, which Lightning adds in validation and test: the step says more."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        shown = {name: value for name, value in metrics.items() if name != "epoch"}
        super().log_metrics(shown, step)


class RunTensorBoard(StepLogger, TensorBoardLogger):
    """TensorBoard's events in the run folder. Those from ``first_step`` on, which will be logged again, are purged."""

    def __init__(self, run_dir: Path, first_step: int) -> None:
        root, experiment, version = run_dir.parent.parent, run_dir.parent.name, run_dir.name
        purge_step = first_step if any(run_dir.glob("events.*")) else None
        super().__init__(root, experiment, version, default_hp_metric=False, purge_step=purge_step)

    def save(self) -> None:
        self.experiment.flush()  # without hparams.yaml, because config.yaml has everything


class RunMetricsFile(StepLogger, CSVLogger):
    """``metrics.csv`` in the run folder, a row for each logged step."""

    def __init__(self, run_dir: Path, first_step: int) -> None:
        super().__init__(run_dir.parent.parent, run_dir.parent.name, run_dir.name)
        self._experiment = AppendingWriter(run_dir, first_step)


class AppendingWriter(ExperimentWriter):
    """Continues an existing file, which Lightning's writer would delete. Rows from ``first_step`` on are removed."""

    def __init__(self, run_dir: Path, first_step: int) -> None:
        super().__init__(str(run_dir))
        path = Path(self.metrics_file_path)
        if path.exists():
            # A killed process may have written half a line.
            lines = path.read_text(errors="replace").splitlines(keepends=True)
            reader = csv.DictReader(line for line in lines if line.endswith("\n"))
            names = list(reader.fieldnames or [])
            self.metrics_keys = names if "step" in names else []
            rows = [row for row in reader if (row.get("step") or "").isdecimal()]
            num_damaged = len(lines) - len(rows) - ("step" in names)
            if num_damaged > 0:
                lines_were = "line was" if num_damaged == 1 else "lines were"
                log.warning("%s: %d damaged %s removed.", path, num_damaged, lines_were)
            self._replace([row for row in rows if int(row["step"]) < first_step])

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(newline="") as file:
            self._replace(list(csv.DictReader(file)))

    def _replace(self, rows: list[dict[str, str]]) -> None:
        """Replace the file by these rows under the header ``metrics_keys``, so that a killed process loses no rows."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.metrics_keys, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(Path(self.metrics_file_path), text.getvalue())

    def _check_log_dir_exists(self) -> None:
        """Lightning's writer deletes the file here."""

    def save(self) -> None:
        super(ExperimentWriter, self).save()  # no hparams.yaml
