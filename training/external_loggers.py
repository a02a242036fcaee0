"""Loggers beside ours: W&B, MLflow, a second CSV file, or a user's own class (``trainer.logger``).

A config only names a logger. It is made when the run's folder is known: there its files go, and there the file
``loggers.json`` keeps the ids with which a resumed run continues the same external runs.
"""

import importlib.util
import inspect
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from pytorch_lightning.loggers import (
    CometLogger,
    CSVLogger,
    LitLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from pytorch_lightning.loggers.neptune import NeptuneLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from training.errors import UserError
from training.files import write_atomically
from training.loggers import AppendingWriter

log = logging.getLogger(__name__)

PACKAGES: dict[type[Logger], tuple[str, str]] = {
    WandbLogger: ("wandb", "wandb"),
    MLFlowLogger: ("mlflow", "mlflow"),
    CometLogger: ("comet_ml", "comet-ml"),
    LitLogger: ("litlogger", "litlogger"),
}
"""What Lightning's loggers need: the module, and the package that brings it."""

FOLDERS = ("save_dir", "dir", "root_dir")
"""Arguments of loggers that choose where files go."""

IDS = ("id", "run_id", "experiment_key", "version")
"""Arguments of loggers that choose the external run."""

WRONG_ARGUMENTS = (TypeError, ValueError, ImportError, MisconfigurationException)
"""Errors of a constructor that are the config's. Any other, such as that of a server, costs only the logger."""

# Without save_dir, the run's folder is taken; see WantedLogger.make.
for kind in (CSVLogger, TensorBoardLogger):
    kind.__init__.__defaults__ = (".", *kind.__init__.__defaults__)

Result = TypeVar("Result")


class Nothing:
    """Stands for the experiment of a logger that has failed: every attribute and every call gives it again."""

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "Nothing":
        return self

    __getitem__ = __call__

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class ExternalLogger(Logger):
    """Mixed into the class of an external logger. An error of the logger ends the logger, and not the training.

    Attributes:
        has_failed: whether a method has raised an error; from then on, nothing is logged any more.
        arguments_in_config: names of the arguments of the model and the data. Lightning logs them by themselves; the
            complete configuration, which is logged anyway, contains them.
        is_opened_here: whether this project made the logger, so that it also ends the external run.
        kind: the class that the config names.
        number: how many loggers of this class come before it in the config.
    """

    has_failed = False
    arguments_in_config: frozenset[str] = frozenset()
    is_opened_here = False
    kind: type[Logger] = Logger
    number = 0

    def guarded(self, method: Callable[..., Result], *args: Any, default: Result, **kwargs: Any) -> Result:
        """The result of a method of the logger, or the default, with one warning, once the logger has failed."""
        if self.has_failed:
            return default
        try:
            return method(*args, **kwargs)
        except Exception as error:
            if not self.has_failed:  # a method may call another one, which has failed before
                self.has_failed = True
                warn_of_failure(self.kind, error)
            return default

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.guarded(super().log_metrics, metrics, step, default=None)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        if not (isinstance(params, Mapping) and params.keys() <= self.arguments_in_config):
            self.guarded(super().log_hyperparams, params, *args, default=None, **kwargs)

    def log_graph(self, *args: Any, **kwargs: Any) -> None:
        self.guarded(super().log_graph, *args, default=None, **kwargs)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.guarded(super().after_save_checkpoint, checkpoint_callback, default=None)

    def save(self) -> None:
        self.guarded(super().save, default=None)

    def finalize(self, status: str) -> None:
        self.guarded(super().finalize, status, default=None)

    def external_id(self) -> str | int | None:
        """The id of the external run, which is begun if it is not under way."""
        return self.guarded(lambda: self.version, default=None)

    def close(self, exit_code: int) -> None:
        """End the external run, so that a later run in this process does not log to it. Only W&B needs that."""
        if self.is_opened_here and isinstance(self, WandbLogger) and self._experiment is not None:
            self.guarded(self._experiment.finish, exit_code, default=None)


def guarded_class(kind: type[Logger]) -> type[ExternalLogger]:
    """A subclass of a logger's class that is also an ``ExternalLogger``."""
    if issubclass(kind, ExternalLogger):
        return kind
    members: dict[str, Any] = {"kind": kind}
    if hasattr(kind, "experiment"):
        members["experiment"] = property(
            lambda self: self.guarded(lambda: super(ExternalLogger, self).experiment, default=Nothing())
        )
    # With a name of its own: jsonargparse looks for classes by their names.
    return type(f"Guarded{kind.__name__}", (ExternalLogger, kind), members)


def warn_of_failure(kind: type[Logger], error: Exception) -> None:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    log.warning("%s has failed and logs nothing more; the training continues without it (%s).", kind.__name__, reason)


class WantedLogger(NamedTuple):
    """A logger that a config names: its class and its arguments, defaults included."""

    kind: type[Logger]
    arguments: dict[str, Any]

    @classmethod
    def instantiate(cls, kind: type[Logger], **arguments: Any) -> "WantedLogger":
        """What the command line calls in place of the class."""
        return cls(kind, arguments)

    def check(self) -> None:
        """Raise a ``UserError`` if the package of one of Lightning's loggers is not installed."""
        if issubclass(self.kind, NeptuneLogger):
            raise UserError("trainer.logger is NeptuneLogger, but Neptune has ended its service; take another logger")
        for base, (module, package) in PACKAGES.items():
            if issubclass(self.kind, base) and importlib.util.find_spec(module) is None:
                raise UserError(
                    f"trainer.logger is {self.kind.__name__}, but {package} is not installed; pip install {package}"
                )

    def make(self, folder: Path, earlier_id: str | int | None) -> ExternalLogger:
        """Construct the logger. Without a folder of the config's own, its files go into the run's folder.

        ``earlier_id`` selects the external run to continue, unless the config has an id.
        """
        parameters = inspect.signature(self.kind).parameters
        given = {name for name, value in self.arguments.items() if value != default_of(parameters.get(name))}
        chosen = dict(self.arguments)
        for names, value in ((FOLDERS, str(folder)), (IDS, earlier_id)):
            taken = [name for name in names if name in parameters]
            if taken and value is not None and not given.intersection(taken):
                chosen[taken[0]] = value
        if issubclass(self.kind, MLFlowLogger):
            if chosen["save_dir"] == str(folder):
                chosen["save_dir"] = str(folder / "mlruns")
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 refuses folders without it
        logger = guarded_class(self.kind)(**chosen)
        logger.is_opened_here = True
        return logger


def default_of(parameter: inspect.Parameter | None) -> Any:
    return inspect.Parameter.empty if parameter is None else parameter.default


def as_loggers(value: Any) -> list[Logger | WantedLogger]:
    """``trainer.logger`` as a list; ``None``, ``True`` and ``False`` add no logger to ours."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, WantedLogger) else [value]


unclosed: list[ExternalLogger] = []
"""The loggers of the latest run in this process, unless they were closed."""


def open_loggers(
    loggers: Iterable[Logger | WantedLogger], folder: Path, first_step: int, arguments: Iterable[str]
) -> list[Logger]:
    """Make the loggers of a run; one that cannot be made is left out, with a warning.

    Args:
        loggers: those of the config, or finished objects. These keep the folder and the id that they have.
        folder: the run's folder.
        first_step: the first step that will be logged.
        arguments: names of the arguments of the model and the data.
    Raises:
        TypeError, ValueError, ImportError, MisconfigurationException: a logger does not accept its arguments.
    """
    close_loggers(0)
    earlier = read_ids(folder)
    before: Counter[str] = Counter()
    made: list[ExternalLogger] = []
    for wanted in loggers:
        kind = wanted.kind if isinstance(wanted, WantedLogger) else type(wanted)
        path = class_path(kind)
        ids, number = earlier.get(path, []), before[path]
        before[path] += 1
        try:
            if isinstance(wanted, WantedLogger):
                logger = wanted.make(folder, ids[number] if number < len(ids) else None)
            else:
                wanted.__class__ = guarded_class(kind)
                logger = cast(ExternalLogger, wanted)
            logger.number, logger.arguments_in_config = number, frozenset(arguments)
            if isinstance(logger, CSVLogger) and logger._experiment is None:
                logger._experiment = AppendingWriter(Path(logger.log_dir), first_step)
        except WRONG_ARGUMENTS:
            raise
        except Exception as error:
            warn_of_failure(kind, error)
        else:
            made.append(logger)
    unclosed.extend(made)
    return list(made)


def begin_logging(loggers: Iterable[Logger], folder: Path, config: Mapping[str, Any]) -> None:
    """Record the ids of the external runs in the run's folder, and log the configuration to the new ones.

    Args:
        loggers: all loggers of the run.
        folder: the run's folder.
        config: the complete configuration.
    """
    earlier = read_ids(folder)
    ids = {path: list(numbers) for path, numbers in earlier.items()}
    for logger in loggers:
        if not isinstance(logger, ExternalLogger):
            continue
        external_id = logger.external_id()
        if logger.has_failed:  # the next start tries to continue the earlier external run
            continue
        known = ids.setdefault(class_path(logger.kind), [])
        known += [None] * (logger.number + 1 - len(known))
        if known[logger.number] is None or known[logger.number] != external_id:
            known[logger.number] = external_id
            # Loggers may hold keys of services, and where a value is logged decides nothing of what is learned.
            trainer = {key: value for key, value in config["trainer"].items() if key != "logger"}
            logger.log_hyperparams({**config, "trainer": trainer})
    if ids != earlier:
        write_atomically(ids_path(folder), json.dumps(ids, indent=2) + "\n")


def close_loggers(exit_code: int) -> None:
    """End the external runs that this process has begun."""
    while unclosed:
        unclosed.pop().close(exit_code)


def ids_path(folder: Path) -> Path:
    return folder / "loggers.json"


def read_ids(folder: Path) -> dict[str, list[str | int | None]]:
    """For each class of loggers, the ids of the external runs of its loggers, in the order of the config."""
    try:
        ids = json.loads(ids_path(folder).read_text())
    except (OSError, ValueError):
        return {}
    return ids if isinstance(ids, dict) and all(isinstance(known, list) for known in ids.values()) else {}


def class_path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
