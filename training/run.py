"""Runs of a model on data: fit, validate, test, predict. No command line is needed.

    from training.run import Run
    from training.trainer import Trainer, plain_values

    run = Run(PalindromeClassifier(), PalindromeDataModule(length=20), Trainer(max_steps=500), "runs/notebook")
    run.fit()

and later ``Run(model, data, trainer, "runs/notebook", ckpt_path="last").fit()`` to resume it.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import yaml
from pytorch_lightning import LightningDataModule, LightningModule

from callbacks.contracts import RunCallback
from models.contracts import ReportingModel
from training.errors import config_errors
from training.hints import Hints
from training.loggers import silent_writer_thread
from training.processes import print_rank_zero
from training.resume import OpenCheckpoint, config_to_record, open_to_evaluate, open_to_resume
from training.run_folder import RunFolder
from training.run_phases import (
    check_num_processes,
    count_earlier_seconds,
    explain_end,
    remove_new_folder,
    test_best,
    test_checkpoint,
    train,
)
from training.signals import InterruptedRun, SignalListener
from training.trainer import Trainer, plain_values

NOTHING_VALIDATED = "Nothing was validated: the split is empty, or trainer.limit_val_batches is 0."
NOTHING_PREDICTED = "Nothing was predicted: the test split is empty, or trainer.limit_predict_batches is 0."


@runtime_checkable
class ChecksState(Protocol):
    """A datamodule that compares itself with a checkpoint before weights are loaded, whose sizes depend on the data."""

    def check_state(self, state_dict: dict[str, Any]) -> None:
        """Raise a ValueError if the checkpoint with this state was trained on other data."""


class Run:
    """One run: a model, its data and a trainer, with a folder for checkpoints and curves.

    Args:
        model: any LightningModule; a ``ReportingModel`` describes its results itself.
        data: any LightningDataModule.
        trainer: of this project, and of this run alone.
        experiment_dir: the folder in which ``fit`` opens ``version_<k>``.
        ckpt_path: what to resume, or to evaluate: ``best``, ``last``, ``auto``, a file or a folder; or a checkpoint
            that is open already.
        config: the configuration, nested dictionaries of plain values; by default made from the objects' ``hparams``.
        save_config: writes the configuration to a path; by default ``config`` as YAML.
        hints: suggests what to type next.
        listener: receives signals; by default a new one, while the run lasts.
    """

    def __init__(
        self,
        model: LightningModule,
        data: LightningDataModule,
        trainer: Trainer,
        experiment_dir: str | Path = "runs/unnamed",
        ckpt_path: str | Path | OpenCheckpoint | None = None,
        config: dict[str, Any] | None = None,
        save_config: Callable[[Path], None] | None = None,
        hints: Hints | None = None,
        listener: SignalListener | None = None,
    ) -> None:
        if not isinstance(trainer, Trainer):
            raise ValueError(f"trainer is a {type(trainer).__module__}.Trainer; Run needs training.trainer.Trainer")
        if trainer.run_config is not None:
            raise ValueError("this trainer belongs to another run; make a new Trainer for each run")
        self.model = model
        self.data = data
        self.trainer = trainer
        self.experiment_dir = Path(experiment_dir)
        self.ckpt_path = ckpt_path
        self.config = config_of(model, data, trainer) if config is None else config
        self.save_config = save_config or self._save_config
        self.hints = hints or Hints()
        self.listener = listener or SignalListener()
        self.folder: RunFolder | None = None
        self.new_folders: list[Path] = []  # made by this run, the innermost first
        self.step_before = 0
        trainer.run_config = self.config
        trainer.recorded_config = config_to_record(self.config)
        trainer.stop_on_signal.listener = self.listener

    def fit(self) -> None:
        """Train the model, keep checkpoints and curves in a new folder, or in that of the resumed run, and test the
        best.

        Raises:
            UserError: the configuration is wrong, or the folder cannot be written.
            InterruptedRun: a signal stopped the run, which is saved.
            LostProcess: another process of the run has died.
        """
        with self._running():
            opened = self._open(open_to_resume)
            path, checkpoint = (None, {}) if opened is None else (opened.path, opened.checkpoint)
            self.step_before = checkpoint.get("global_step", 0)
            check_num_processes(self.trainer, path, checkpoint)
            count_earlier_seconds(self.trainer, checkpoint)
            del opened, checkpoint  # training may need the memory
            self.listener.waits_for_step = True
            train(self, path)
            if self.trainer.fast_dev_run:
                return
            assert self.folder is not None
            self.listener.waits_for_step = False
            explain_end(self.trainer, self.step_before)
            test_best(self, self.folder)
            if isinstance(self.model, ReportingModel) and (learned := self.model.describe_learning()):
                print_rank_zero(learned)
            print_rank_zero(
                f"The run is in {self.folder.path}: checkpoints, metrics.csv, and config.yaml, which repeats it."
            )
            next_command = self.model.next_command if isinstance(self.model, ReportingModel) else ""
            print_rank_zero(f"Next: {self.hints.what_next(self.folder, next_command)}")

    def validate(self) -> None:
        """Evaluate a checkpoint, or the model as it is, on the validation split."""
        with self._running():
            path = self._evaluated()
            if not any(self.trainer.validate(self.model, self.data, ckpt_path=path)):
                print_rank_zero(NOTHING_VALIDATED)

    def test(self) -> None:
        """Evaluate a checkpoint, or the model as it is, on the test split."""
        with self._running():
            path = self._evaluated()
            test_checkpoint(self, path)

    def predict(self) -> None:
        """Print what a checkpoint, or the model as it is, predicts for the first items of the test split."""
        with self._running():
            path = self._evaluated()
            predictions = self.trainer.predict(self.model, self.data, ckpt_path=path)
            if not predictions:
                print_rank_zero(NOTHING_PREDICTED)
                return
            is_reporting = isinstance(self.model, ReportingModel)
            lines = self.model.describe_predictions(predictions) if is_reporting else map(str, predictions[:10])
            for line in lines:
                print_rank_zero(line)

    def _save_config(self, path: Path) -> None:
        path.write_text(yaml.safe_dump(self.config))

    def unlock(self) -> None:
        """Let other processes write to the folder."""
        if self.folder is not None:
            self.folder.unlock()

    def _open(self, open_checkpoint: Callable[..., OpenCheckpoint | None]) -> OpenCheckpoint | None:
        """The checkpoint to start from. The run itself does not keep it in memory."""
        opened, self.ckpt_path = self.ckpt_path, None
        if isinstance(opened, str | Path):
            opened = open_checkpoint(str(opened), self.experiment_dir, self.config)
        self.folder = None if opened is None else opened.folder
        if opened is not None and opened.path is not None:
            state = opened.checkpoint.get(type(self.data).__qualname__)
            if state is not None and isinstance(self.data, ChecksState):
                self.data.check_state(state)
            self.trainer.checkpoint_io.provide(opened.path, opened.checkpoint)
        return opened

    def _evaluated(self) -> Path | None:
        opened = self._open(open_to_evaluate)
        return None if opened is None else opened.path

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Receive signals, and report errors before the work begins as errors of the configuration.

        A new folder with nothing in it is removed again.
        """
        try:
            is_setup = config_errors(is_setup=lambda: not self.trainer.has_begun)
            with self.listener.listening(), silent_writer_thread(), is_setup:
                yield
        except InterruptedRun as interrupted:
            interrupted.hint = self.hints.how_to_resume(self.folder)
            raise
        except Exception:
            if not self.trainer.has_begun:
                remove_new_folder(self)
            raise
        finally:
            self.unlock()


def config_of(model: LightningModule, data: LightningDataModule, trainer: Trainer) -> dict[str, Any]:
    """What a run without a command line records: classes, their plain arguments, and how gradients are used."""
    algorithm = trainer.gradient_clip_algorithm
    options = {
        "precision": None if trainer.precision == "32-true" else trainer.precision,  # None is the default
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "gradient_clip_val": trainer.gradient_clip_val,
        "gradient_clip_algorithm": None if algorithm is None else str(algorithm.value),
        "callbacks": [
            described(
                callback, {name: getattr(callback, name) for name in inspect.signature(type(callback)).parameters}
            )
            for callback in trainer.callbacks
            if isinstance(callback, RunCallback) and callback.MUST_MATCH_ON_RESUME
        ],
    }
    return {"model": described(model, model.hparams), "data": described(data, data.hparams), "trainer": options}


def described(obj: object, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """An object as in a configuration: the path of its class and its plain arguments."""
    path = f"{type(obj).__module__}.{type(obj).__qualname__}"
    return {"class_path": path, "init_args": plain_values(arguments)}
