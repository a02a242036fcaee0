"""``fit``, ``validate``, ``test`` and ``predict``: Lightning's command line, with run folders and safe checkpoints."""

import contextlib
import logging
import os
import shlex
import shutil
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from callbacks import RunCheckpoints, RunSummary, StepProgress, TrainingMetrics
from training.checkpoint_file import read_checkpoint
from training.errors import UserError
from training.interruption import StopOnSignal
from training.loggers import RunMetricsFile, RunTensorBoard, quiet_writing_thread
from training.messages import one_line
from training.processes import LostProcess, is_first, num_started
from training.run_folder import (
    REQUEUED_WAIT_SECONDS,
    RunFolder,
    cannot_write,
    experiment_name,
    find_checkpoint,
    requeued_run,
    run_folder_of,
)
from training.seeds import check_seed
from training.signals import InterruptedRun, SignalListener
from training.trainer import SealedCheckpointIO, Trainer, num_processes
from training.yaml_aliases import guard_aliases

log = logging.getLogger(__name__)

TRAINER_DEFAULTS: dict[str, Any] = {
    "default_root_dir": "runs",
    "val_check_interval": 250,
    "check_val_every_n_epoch": None,  # val_check_interval counts steps, across epochs
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}

SEED = 42

LINKS = {
    "data.init_args.seed": "seed_everything",
    "model.init_args.num_classes": "data.init_args.num_classes",
    "model.init_args.longest_memory": "data.init_args.length",
    "model.init_args.carry_state": "data.init_args.carry_state",
}
"""Values that are needed twice: what follows, and what it follows."""

LINKS_TO_MADE = {
    "model.init_args.vocab_size": "data.vocab_size",
    "model.init_args.in_features": "data.num_features",
    "model.init_args.out_features": "data.num_classes",
}
"""The same, where the value is known only when the data is there."""

TRAINER_KEYS_OF_A_RUN = ("precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
"""The trainer's keys which, changed, would make a resumed run another one."""

OF_TESTING = ("data.init_args.test_lengths", "data.init_args.num_test")
OF_READING = tuple(f"data.init_args.{key}" for key in ("book", "encoding", "eval_batch_size", "graph"))
"""What may differ when a run is gone on with: a book's text and a graph's edges are compared, not their place."""

OF_THE_START = ("initialization", "input_scale", "recurrent_scale", "longest_memory")
OF_TRAINING = tuple(
    f"model.init_args.{key}"
    for key in (
        *("optimizer", "lr_scheduler", "backward", "fused"),
        *("dropout", "weight_dropout", "weight_decay", "carry_state", "reset_probability"),
        *OF_THE_START,
    )
)
"""The model's arguments that may differ from the checkpoint's where nothing is trained."""

EXAMPLES = {
    "fit": "python cli.py fit --config configs/lstm_T20.yaml",
    "validate": "python cli.py validate --config configs/lstm_T20.yaml --ckpt_path best",
    "test": "python cli.py test --config configs/lstm_T20.yaml --ckpt_path runs/lstm_T20",
    "predict": "python cli.py predict --config configs/lstm_T20.yaml --ckpt_path best",
}

DESCRIPTIONS = {
    "fit": "Train a model, keep its checkpoints and curves in runs/<config's name>/version_<k>/, and test the best.",
    "validate": "Score a checkpoint on the validation split.",
    "test": "Score a checkpoint on the test split.",
    "predict": "Show what a checkpoint predicts for the first items of the test split.",
}


class CheckpointConfig(Callback):
    """Puts the configuration of the run into every checkpoint, so that it is never resumed as something else.

    It also knows whether the work has begun: what goes wrong before that is the configuration's fault.
    """

    has_begun = False

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_train_start(self, trainer: Any, pl_module: LightningModule) -> None:
        self.has_begun = True

    on_validation_start = on_test_start = on_predict_start = on_train_start

    def on_save_checkpoint(self, trainer: Any, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config


class RunCLI(LightningCLI):
    """Parses a command and checks all that can be checked before anything is written; ``run`` then runs it.

    Args:
        args: the words after ``python cli.py``.
        listener: notes signals that ask for the end of it; a new one, that listens as long as ``run``, by default.
    Raises:
        UserError: the command, its config or its checkpoint is wrong.
    """

    def __init__(self, args: list[str], listener: SignalListener | None = None) -> None:
        self.args = args
        self.listener = listener or SignalListener()
        self.checkpoint_path: Path | None = None
        self.checkpoint: dict[str, Any] = {}
        self.folder: RunFolder | None = None
        self.folder_is_new = False
        guard_aliases()
        try:
            super().__init__(
                LightningModule,
                LightningDataModule,
                save_config_callback=None,
                trainer_class=Trainer,
                trainer_defaults=TRAINER_DEFAULTS,
                parser_kwargs={"exit_on_error": False} | {name: parser_kwargs(name) for name in EXAMPLES},
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                args=args,
            )
        except (ArgumentError, UnicodeDecodeError, RecursionError, OSError) as error:
            self._unlock()
            way_out = f"see python cli.py {args[0]} --help, or start from {EXAMPLES[args[0]]}"
            raise UserError(f"{one_line(str(error))}; {way_out}") from error
        except UserError:
            self._unlock()
            raise

    def _unlock(self) -> None:
        if self.folder is not None:
            self.folder.unlock()

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--seed_everything",
            type=int,
            default=SEED,
            help="Seed of the weights and of the data (default: %(default)s).",
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for target, source in LINKS.items():
            parser.link_arguments(source, target)
        for target, source in LINKS_TO_MADE.items():
            parser.link_arguments(source, target, apply_on="instantiate")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        # Every checkpoint is loaded as tensors and plain values only; that is nothing to be asked for.
        theirs = LightningCLI.subcommands()
        return {name: skipped | {"weights_only", "verbose", "return_predictions"} for name, skipped in theirs.items()}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        for target, source in (LINKS | LINKS_TO_MADE).items():
            short = target.replace("init_args.", "")
            if any(word.split("=")[0] in (f"--{target}", f"--{short}") for word in args):
                way_out = "set that instead" if target in LINKS else "leave it out"
                raise UserError(f"--{short} always follows --{source.replace('init_args.', '')}; {way_out}")
        self.config = parser.parse_args(args)
        check_trainer(self.config[self.config["subcommand"]].trainer)

    def _dump_config(self) -> None:
        # As Lightning does, but for an argument that jsonargparse has renamed.
        dump = self.parser.dump(self.config, skip_link_targets=False, skip_unset=False, format="yaml")
        self.config_dump = yaml.safe_load(dump)[self.config["subcommand"]]

    def _parse_ckpt_path(self) -> None:
        """Find the checkpoint, load it safely and hold it against the config.

        Lightning's own version lets the hyper-parameters in the checkpoint replace those of the config, unseen.
        """
        self._dump_config()
        config = self.config[self.config["subcommand"]]
        experiment = experiment_name([path.relative for path in config.config or []])
        self.experiment_dir = Path(config.trainer.default_root_dir) / experiment
        fitting = self.config["subcommand"] == "fit"
        requeued = requeued_run(self.experiment_dir, self.args) if fitting else None
        if requeued is not None:
            self.folder = requeued
            if is_first():
                self.folder.lock(REQUEUED_WAIT_SECONDS)
            wanted: str | None = str(requeued.path) if requeued.has_checkpoint() else None
        else:
            wanted = config.ckpt_path or (None if fitting else "best")
        if wanted is not None:
            self.checkpoint_path = find_checkpoint(wanted, self.experiment_dir, "last" if fitting else "best")
        if self.checkpoint_path is not None:
            if fitting and self.folder is None:
                self.folder = run_folder_of(self.checkpoint_path)
                if self.folder is not None and is_first():
                    self.folder.lock()  # before it is read: what is read then stays true
            self.checkpoint = read_checkpoint(self.checkpoint_path)
            # The data first: some arguments of the model follow it.
            self._compare_with_checkpoint(("data", "model", "trainer") if fitting else ("model",))

    def _compare_with_checkpoint(self, keys: tuple[str, ...]) -> None:
        made_with = self.checkpoint.get("config")
        if not (isinstance(made_with, dict) and all(isinstance(made_with.get(key), dict) for key in keys)):
            raise UserError(
                f"{self.checkpoint_path} does not say which model it is of; it was not made by this project"
            )
        # A checkpoint from before there were curricula was made without one.
        made_with = made_with | {"trainer": {"curriculum": None} | made_with.get("trainer", {})}
        for key in keys:
            for name, theirs, ours in differences(made_with[key], of_a_run(self.config_dump)[key], key):
                if name in (*OF_TESTING, *OF_READING, *LINKS_TO_MADE):
                    continue
                of_training = name.startswith(OF_TRAINING)
                if self.config["subcommand"] == "fit" or not of_training:
                    raise UserError(
                        f"the checkpoint {self.checkpoint_path} was made with {name} = {theirs}, "
                        f"the config says {ours}; use the config it was made with, or start anew"
                    )

    def _set_seed(self) -> None:
        check_seed(self._get(self.config, "seed_everything"), "seed_everything")
        super()._set_seed()

    def instantiate_classes(self) -> None:
        with blaming_the_config():
            super().instantiate_classes()
            state_of_data = self.checkpoint.get(type(self.datamodule).__qualname__)
            if state_of_data is not None:  # before the weights are loaded, whose sizes follow from the data
                self.datamodule.load_state_dict(state_of_data)
            if self.subcommand == "fit":
                self.model.configure_optimizers()  # a learning rate of -1 is found here, not in the middle of fit
        self._check_processes()

    def _check_processes(self) -> None:
        """Refuse several processes where what is to be done cannot be shared out among them."""
        num = self.trainer.world_size
        if num < (started := num_started()):
            raise UserError(
                f"{started} processes were started, but trainer.devices and num_nodes ask for {num}; set them to what "
                "was started, or start one"
            )
        if num > 1 and self.subcommand == "predict":
            raise UserError(f"trainer.devices and num_nodes ask for {num} processes; predict takes one")
        if num > 1 and not hasattr(self.datamodule, "shard"):
            raise UserError(
                f"trainer.devices and num_nodes ask for {num} processes, but {type(self.datamodule).__name__} can only "
                "serve one; leave them out"
            )
        if self.subcommand == "fit" and self.checkpoint and (theirs := num_processes(self.checkpoint)) != num:
            raise UserError(
                f"the checkpoint {self.checkpoint_path} was made by {theirs} process{'es' if theirs > 1 else ''}, "
                f"trainer.devices and num_nodes ask for {num}; take as many, or start anew"
            )

    def _note_made_values(self) -> None:
        """Let checkpoint and summary say what the model was made with: not the default, but what the data gave."""
        data = self._get(self.config_init, "data")
        for target, source in LINKS_TO_MADE.items():
            group, _, name = target.partition(".init_args.")
            arguments = self.config_dump[group].get("init_args", {})
            if name in arguments and hasattr(data, source.removeprefix("data.")):
                arguments[name] = getattr(data, source.removeprefix("data."))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        self._note_made_values()
        config = self._get(self.config_init, "trainer")
        given = as_list(config.callbacks)
        self.checkpoint_config = CheckpointConfig(of_a_run(self.config_dump))
        callbacks: list[Callback] = [self.checkpoint_config, StopOnSignal(self.listener)]
        if not config.fast_dev_run:
            callbacks += [TrainingMetrics(), RunSummary(self.config_dump)]
            if config.enable_checkpointing is not False and not any(isinstance(c, RunCheckpoints) for c in given):
                callbacks.append(RunCheckpoints())
        if config.enable_progress_bar is not False:
            callbacks.append(StepProgress())
        plugins: list[Any] = [SealedCheckpointIO()]
        if SLURMEnvironment.detect():
            plugins.append(SLURMEnvironment(auto_requeue=False))
        return super().instantiate_trainer(
            logger=False, callbacks=[*given, *callbacks], plugins=[*as_list(config.plugins), *plugins], **kwargs
        )

    def _run_subcommand(self, subcommand: str) -> None:
        """Do nothing yet: everything is checked first, then ``run`` is called."""

    def run(self) -> None:
        """Run the command.

        Raises:
            UserError: the run folder cannot be made or written to.
            InterruptedRun: training was stopped by a signal.
        """
        self.listener.waits_for_the_step = self.subcommand == "fit"
        try:
            with self.listener.listening(), quiet_writing_thread(), self._blaming_the_config():
                getattr(self, str(self.subcommand))()
        finally:
            self._unlock()

    def fit(self) -> None:
        if self.trainer.fast_dev_run:
            self.trainer.fit(self.model, self.datamodule, ckpt_path=self.checkpoint_path)
            return
        step, max_steps = self.checkpoint.get("global_step", 0), self.trainer.max_steps
        if 0 <= max_steps <= step:
            log.info("This run has done %d of %d steps; to go on, give more with --trainer.max_steps.", step, max_steps)
        self.trainer.open_run = partial(self._open_run, step)
        self._count_seconds_before()
        try:
            self.trainer.fit(self.model, self.datamodule, ckpt_path=self.checkpoint_path)
        except InterruptedRun as interrupted:
            interrupted.how_to_go_on = self._how_to_go_on()
            raise
        except RuntimeError as error:
            is_of_another = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
            if self.trainer.world_size == 1 or not is_of_another:
                raise
            raise LostProcess(f"another process of this run has ended; {self._how_to_go_on()}") from error
        except OSError as error:
            if self.folder is None:
                raise
            raise UserError(cannot_write(error, self.folder.path, "what was saved before is intact")) from error
        folder = self.folder
        assert folder is not None
        self.listener.waits_for_the_step = False
        for callback in self.trainer.early_stopping_callbacks:
            if self.trainer.should_stop and callback.stopping_reason_message:
                reason = callback.stopping_reason_message.removesuffix(" Signaling Trainer to stop.")
                say(f"Training ended after step {self.trainer.global_step}: {reason}")
        over = [timer for timer in self._timers() if (left := timer.time_remaining()) is not None and left <= 0]
        spent = f"had its {over[0].time_elapsed() + over[0].time_remaining():.0f} seconds" if over else ""
        if self.trainer.global_step == step and step != max_steps:
            reason = (
                f"this run has {spent}; to go on, give more with --trainer.max_time" if over else NO_LIMIT_LEAVES_ONE
            )
            log.warning("No step was taken: %s.", reason)
        elif over:
            say(f"Training ended after step {self.trainer.global_step}: it has {spent}.")
        if self.trainer.limit_test_batches == 0:
            say(NOTHING_TESTED)
        else:
            self._test_after_fit(folder)
        self._say_what_next(folder)

    def _how_to_go_on(self) -> str:
        if self.folder is None or not self.folder.has_checkpoint():
            return f"nothing was saved; start with: {self._command()}"
        return f"go on with: {self._command()} --ckpt_path {shlex.quote(str(self.folder.path))}"

    def _say_what_next(self, folder: RunFolder) -> None:
        """Say what was learned, where it lies, and what to type next."""
        if learned := self.model.describe_learning():
            say(learned)
        say(f"The run is in {folder.path}: checkpoints, metrics.csv, and config.yaml, from which it can be done again.")
        curves = shlex.join([as_typed("tensorboard"), "--logdir", str(folder.path.parent.parent)])
        if self.model.next_command == "generate":
            look = shlex.join([as_typed("python"), "cli.py", "generate", "--ckpt_path", str(folder.path)])
        else:
            look = f"{self._command(self.model.next_command)} --ckpt_path {shlex.quote(str(folder.path))}"
        say(f"Next: {curves}, or {look}")

    def _timers(self) -> list[Timer]:
        """What ``trainer.max_time`` has become."""
        return [callback for callback in self.trainer.callbacks if isinstance(callback, Timer)]

    def _count_seconds_before(self) -> None:
        """Seconds that a run spent while it had no time limit count when it has one."""
        states = self.checkpoint.get("callbacks", {})
        for timer in self._timers():
            if self.checkpoint and timer.state_key not in states:
                seconds = states.get(RunSummary.__qualname__, {"seconds": 0.0})["seconds"]
                timer.load_state_dict({"time_elapsed": {"train": seconds}})

    def _test_after_fit(self, folder: RunFolder) -> None:
        self.trainer.strategy.barrier("checkpoints are kept")  # of several processes, the first keeps them
        # Without validation there is no best, without checkpoints there is neither: then what is there is tested.
        kept = [path for path in (folder.checkpoint("best"), folder.checkpoint("last")) if path.is_file()]
        if kept and kept[0].name != "best.ckpt":
            log.warning("There is no best checkpoint, as no validation gave a loss; the last one is tested.")
        self._test(kept[0] if kept else None)

    def validate(self) -> None:
        if not any(self.trainer.validate(self.model, self.datamodule, ckpt_path=self.checkpoint_path)):
            say(NOTHING_VALIDATED)

    def test(self) -> None:
        self._test(self.checkpoint_path)

    def _test(self, checkpoint_path: Path | None) -> None:
        self.trainer.test(self.model, self.datamodule, ckpt_path=checkpoint_path, verbose=False)
        for line in self.model.describe_test() or [NOTHING_TESTED]:
            say(line)

    def predict(self) -> None:
        predictions = self.trainer.predict(self.model, self.datamodule, ckpt_path=self.checkpoint_path)
        if not predictions:
            print("Nothing was predicted: the test split is empty, or trainer.limit_predict_batches is 0.")
            return
        for line in self.model.describe_predictions(predictions):
            print(line)

    @contextlib.contextmanager
    def _blaming_the_config(self) -> Iterator[None]:
        """Until the work has begun, blame the config for what goes wrong, and take back a folder with nothing in it."""
        try:
            with blaming_the_config(lambda: not self.checkpoint_config.has_begun):
                yield
        except UserError:
            if is_first() and self.folder is not None and self.folder_is_new and not self.checkpoint_config.has_begun:
                for logger in self.trainer.loggers:
                    logger.finalize("failed")
                shutil.rmtree(self.folder.path)
                with contextlib.suppress(OSError):  # other runs are there
                    self.experiment_dir.rmdir()
                    self.experiment_dir.parent.rmdir()
            raise
        except InterruptedRun as interrupted:
            interrupted.how_to_go_on = interrupted.how_to_go_on or f"nothing was saved; start with: {self._command()}"
            raise

    def _open_run(self, step: int) -> None:
        """Let the first process open the run's folder, and all know it, or that it cannot be opened.

        Raises:
            UserError: it cannot be made or written to, or the processes do not go on from the same checkpoint.
        """
        told: list[Any] = [None]
        if is_first():
            try:
                told = [(self._open_run_folder(step).path, self.checkpoint_path, None)]
            except UserError as error:
                told = [(None, None, str(error))]
        path, checkpoint_path, refused = self.trainer.strategy.broadcast(told)[0]
        if refused is None and checkpoint_path != self.checkpoint_path:
            refused = f"the processes would go on from {checkpoint_path} and {self.checkpoint_path}; give --ckpt_path"
        if refused is not None:
            raise UserError(refused)
        self.folder = self.folder or RunFolder(path)
        self.trainer.run_dir = path

    def _open_run_folder(self, step: int) -> RunFolder:
        """This run's folder, locked, its config in it: a new one, or that of the checkpoint to go on from."""
        name = "config.yaml" if self.folder is None or step == 0 else f"config.resume_{step}.yaml"
        if self.folder is None:
            self.folder = RunFolder.create(self.experiment_dir)
            self.folder_is_new = True
        folder = self.folder
        try:
            folder.sign(self.args)
            config = self.config[str(self.subcommand)].clone()
            config.ckpt_path = None
            self._parser(self.subcommand).save(config, folder.path / name, skip_unset=False, overwrite=True)
            self.trainer.loggers = [RunTensorBoard(folder.path, step), RunMetricsFile(folder.path, step)]
        except OSError as error:
            raise UserError(cannot_write(error, folder.path)) from error
        return folder

    def _command(self, name: str = "fit") -> str:
        """A command with the words that were typed for this one, less its ``--ckpt_path``."""
        words = [name]
        skip_next = False
        for word in self.args[1:]:
            if not skip_next and not word.startswith("--ckpt_path"):
                words.append(word)
            skip_next = word == "--ckpt_path"
        return shlex.join([as_typed("python"), "cli.py", *words])


CONFIG_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ImportError, ArithmeticError, RuntimeError)
"""What libraries raise when they are given values that they cannot work with."""


@contextlib.contextmanager
def blaming_the_config(for_all: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Make a UserError of what the config is to blame for.

    That is what Lightning calls a misconfiguration, and memory that is not there; while ``for_all`` holds it is every
    error that libraries raise when they are given values that they cannot work with.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(one_line(str(error))) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(f"{one_line(str(error))}; {LESS_MEMORY}") from error
    except CONFIG_ERRORS as error:
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            raise UserError(f"{one_line(str(error))}; {LESS_MEMORY}") from error
        unknown_metric = str(error).startswith("Early stopping conditioned on metric")
        if not for_all() and not unknown_metric:
            raise
        kind = "" if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: "
        raise UserError(f"{kind}{one_line(str(error))}") from error


def as_typed(program: str) -> str:
    """How a program of this environment is called from here: by its name where that finds it, else by its path."""
    path = Path(sys.executable).with_name(program)
    found = shutil.which(program)
    if found is not None and Path(found).absolute() == path:
        return program
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def say(line: str) -> None:
    """Print a line, once for all processes."""
    if is_first():
        print(line)


NO_LIMIT_LEAVES_ONE = "the trainer's limits leave none"

NOTHING_VALIDATED = "Nothing was validated: the split is empty, or trainer.limit_val_batches is 0."

NOTHING_TESTED = "Nothing was tested: the test split is empty, or trainer.limit_test_batches is 0."

LESS_MEMORY = "lower data.batch_size, the length (data.length, of a text data.seq_len) or model.hidden_size"


def check_trainer(config: Any) -> None:
    """Refuse what Lightning takes without a word and stumbles over later.

    Raises:
        UserError: a value is out of its range, or asks for what this command line does itself.
    """
    limits = {
        "log_every_n_steps": 1,
        "check_val_every_n_epoch": 1,
        "accumulate_grad_batches": 1,
        "gradient_clip_val": 0,
    }
    for name, limit in limits.items():
        value = config[name]
        if value is not None and not value >= limit:
            raise UserError(f"trainer.{name} is {value}; it must be at least {limit}")
    interval = config.val_check_interval
    if isinstance(interval, int | float) and not interval > 0:
        raise UserError(f"trainer.val_check_interval is {interval}; it must be above 0")
    if config.overfit_batches:
        raise UserError(
            f"trainer.overfit_batches is {config.overfit_batches}; leave it out: "
            "as batches are made anew all the time, none would be overfitted"
        )
    if config.barebones:
        raise UserError("trainer.barebones is true; leave it out: a run here always measures and saves")
    if config.logger not in (None, True):
        raise UserError(
            "trainer.logger is set; leave it out, as a run always writes TensorBoard's events and metrics.csv"
        )
    if config.default_root_dir is None:
        raise UserError("trainer.default_root_dir is null; it must be a folder, such as runs")
    if config.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(f"trainer.accelerator is {config.accelerator}, but torch finds no GPU here; use cpu or auto")


def parser_kwargs(subcommand: str) -> dict[str, Any]:
    return {
        "exit_on_error": False,
        "usage": f"{EXAMPLES[subcommand]} [--key value ...]",
        "description": f"{DESCRIPTIONS[subcommand]} Every key below can stand in the config or on the command line. "
        "For the keys of a model: --model.help models.PalindromeClassifier, or models.TextModel; "
        "of its data: --data.help datamodules.PalindromeDataModule, or datamodules.BookDataModule.",
    }


def of_a_run(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that makes a run what it is: changed, it would be another one."""
    trainer = {key: config["trainer"][key] for key in TRAINER_KEYS_OF_A_RUN}
    curricula = [c for c in as_list(config["trainer"]["callbacks"]) if c["class_path"].endswith(".LengthCurriculum")]
    if len(curricula) > 1:
        raise UserError(f"trainer.callbacks has {len(curricula)} of LengthCurriculum; there can be one, so leave one")
    trainer["curriculum"] = curricula[0]["init_args"] if curricula else None
    return {"model": config["model"], "data": config["data"], "trainer": trainer}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def differences(theirs: Any, ours: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of everything that stands in both configurations and is not the same."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in theirs.keys() & ours.keys():
            yield from differences(theirs[key], ours[key], f"{name}.{key}")
    elif theirs != ours:
        yield name, theirs, ours
