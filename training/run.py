"""Runs of a model on data: fit, validate, test, predict. No command line is needed.

    from training.run import Run
    from training.trainer import Trainer, plain_values

    run = Run(PalindromeClassifier(), PalindromeDataModule(length=20), Trainer(max_steps=500), "runs/notebook")
    run.fit()

and later ``Run(model, data, trainer, "runs/notebook", ckpt_path="last").fit()`` to resume it.
"""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pytorch_lightning import LightningDataModule, LightningModule

from callbacks.contracts import RunCallback
from datamodules.sharding import DataModule
from models.contracts import ReportingModel
from training import run_phases
from training.changes import ChangesOnPurpose
from training.errors import UserError, config_errors
from training.external_loggers import close_loggers
from training.hints import how_to_resume, what_next
from training.loggers import silent_writer_thread
from training.processes import print_rank_zero
from training.recorded_config import Change, compare, config_to_record
from training.resume import find_checkpoint, run_to_resume
from training.run_folder import RunFolder
from training.signals import InterruptedRun, SignalListener
from training.trainer import Trainer, plain_values

if TYPE_CHECKING:
    from training.parser import Command

NOTHING_VALIDATED = "Nothing was validated: the split is empty, or trainer.limit_val_batches is 0."
NOTHING_PREDICTED = "Nothing was predicted: the test split is empty, or trainer.limit_predict_batches is 0."


class Run:
    """One run: a model, its data and a trainer, with a folder for checkpoints and curves.

    Args:
        model: any LightningModule; a ``ReportingModel`` describes its results itself.
        data: any LightningDataModule.
        trainer: of this project, and of this run alone.
        experiment_dir: the folder in which ``fit`` opens ``version_<k>``.
        ckpt_path: what to resume, or to evaluate: ``best``, ``last``, ``auto``, a file or a folder.
        command: the command line that describes the run; by default the configuration is that of the objects.
        listener: receives signals; by default a new one, while the run lasts.
    """

    def __init__(
        self,
        model: LightningModule,
        data: LightningDataModule,
        trainer: Trainer,
        experiment_dir: str | Path = "runs/unnamed",
        ckpt_path: str | Path | None = None,
        command: "Command | None" = None,
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
        self.ckpt_path = None if ckpt_path is None else str(ckpt_path)
        self.command = command
        self.words = [] if command is None else command.words
        self.config = config_of(model, data, trainer) if command is None else command.config_dump
        self.listener = listener or SignalListener()
        self.folder: RunFolder | None = None
        self.new_folders: list[Path] = []  # made by this run, the innermost first
        self.step_before = 0
        self.changes: list[Change] = []  # what --allow_changes changes
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
        if self.folder is not None and self.trainer.has_begun:
            raise UserError("this Run was trained before; make a new Run and a new Trainer, with ckpt_path='last'")
        with self._running():
            self.folder, wanted = run_to_resume(self.ckpt_path, self.experiment_dir, self.words)
            path, checkpoint = self._open(wanted, "last")
            self.step_before = checkpoint.get("global_step", 0)
            run_phases.check_num_processes(self.trainer, path, checkpoint)
            run_phases.count_earlier_seconds(self.trainer, checkpoint)
            if self.changes:
                on_purpose = ChangesOnPurpose(self.changes, checkpoint)
                on_purpose.check(self.model)
                self.trainer.callbacks.append(on_purpose)
            del checkpoint  # training may need the memory
            self.listener.waits_for_step = True
            run_phases.train(self, path)
            if self.trainer.fast_dev_run:
                return
            assert self.folder is not None
            self.listener.waits_for_step = False
            run_phases.explain_end(self.trainer, self.step_before)
            run_phases.test_best(self, self.folder)
            if isinstance(self.model, ReportingModel) and (learned := self.model.describe_learning()):
                print_rank_zero(learned)
            kept = "checkpoints, " if self.folder.has_checkpoint() else ""
            print_rank_zero(f"The run is in {self.folder.path}: {kept}metrics.csv, and config.yaml, which repeats it.")
            next_command = self.model.next_command if isinstance(self.model, ReportingModel) else ""
            print_rank_zero(f"Next: {what_next(self.words, self.folder, next_command)}")

    def validate(self) -> None:
        """Evaluate a checkpoint, or the model as it is, on the validation split."""
        with self._running():
            if not any(self.trainer.validate(self.model, self.data, ckpt_path=self._evaluated())):
                print_rank_zero(NOTHING_VALIDATED)

    def test(self) -> None:
        """Evaluate a checkpoint, or the model as it is, on the test split."""
        with self._running():
            run_phases.test_checkpoint(self, self._evaluated())

    def predict(self) -> None:
        """Print what a checkpoint, or the model as it is, predicts for the first items of the test split."""
        with self._running():
            predictions = self.trainer.predict(self.model, self.data, ckpt_path=self._evaluated())
            if not predictions:
                print_rank_zero(NOTHING_PREDICTED)
                return
            is_reporting = isinstance(self.model, ReportingModel)
            lines = self.model.describe_predictions(predictions) if is_reporting else map(str, predictions[:10])
            for line in lines:
                print_rank_zero(line)

    def save_config(self, path: Path) -> None:
        """Write the complete configuration to a file."""
        if self.command is None:
            path.write_text(yaml.safe_dump(self.config))
        else:
            self.command.save_config(path)

    def _open(self, wanted: str | None, default: Literal["best", "last"]) -> tuple[Path | None, dict[str, Any]]:
        """The checkpoint to start from, and its content, which the trainer will take from memory once."""
        opened = None if wanted is None else find_checkpoint(wanted, self.experiment_dir, default)
        if opened is not None:
            state = opened.checkpoint.get(type(self.data).__qualname__)
            if state is not None and isinstance(self.data, DataModule):
                self.data.check_state(state)
            is_training, may_change = default == "last", bool(self.config.get("allow_changes"))
            self.changes = compare(opened, config_to_record(self.config), is_training, may_change)
            if is_training:
                run_phases.keep_source(self, opened)
            self.trainer.checkpoint_io.provide(opened.path, opened.checkpoint)
        self.ckpt_path = None
        return (None, {}) if opened is None else (opened.path, opened.checkpoint)

    def _evaluated(self) -> Path | None:
        return self._open("best" if self.ckpt_path == "auto" else self.ckpt_path, "best")[0]

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
            interrupted.hint = how_to_resume(self.words, self.folder)
            raise  # external runs end with the process: a network that hangs must not delay a requeued job
        except Exception:
            if not self.trainer.has_begun:
                run_phases.remove_new_folder(self)
            close_loggers(1)
            raise
        else:
            close_loggers(0)
        finally:
            if self.folder is not None:
                self.folder.unlock()


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
