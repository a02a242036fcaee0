"""The command line of ``fit``, ``validate``, ``test`` and ``predict``: its keys, and the objects that they describe.

Parsing reads configs and nothing else; no object is made before ``instantiate``.
"""

import inspect
import re
from argparse import ArgumentError
from importlib import import_module
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import ActionConfigFile, LightningArgumentParser, _InstantiatorFn

from training.errors import UserError, bug_behind, config_errors
from training.messages import one_line
from training.run_folder import experiment_name
from training.seeds import check_seed
from training.trainer import DEFAULTS, Trainer
from training.yaml_aliases import guard_aliases

SEED = 42

LINKS = {
    "data.init_args.seed": "seed_everything",
    "model.init_args.num_classes": "data.init_args.num_classes",
    "model.init_args.longest_memory": "data.init_args.length",
    "model.init_args.carry_state": "data.init_args.carry_state",
}
"""Linked keys: the target, and the source that gives its value."""

LINKS_TO_OBJECTS = {
    "model.init_args.vocab_size": "data.vocab_size",
    "model.init_args.in_features": "data.num_features",
    "model.init_args.out_features": "data.num_classes",
}
"""Linked keys whose source is an attribute of the datamodule."""

COMMANDS = {
    "fit": (
        "Train a model, keep its checkpoints and curves in runs/<config's name>/version_<k>/, and test the best.",
        "python cli.py fit --config configs/lstm_T20.yaml",
    ),
    "validate": (
        "Evaluate a checkpoint on the validation split.",
        "python cli.py validate --config configs/lstm_T20.yaml --ckpt_path best",
    ),
    "test": (
        "Evaluate a checkpoint on the test split.",
        "python cli.py test --config configs/lstm_T20.yaml --ckpt_path runs/lstm_T20",
    ),
    "predict": (
        "Show what a checkpoint predicts for the first items of the test split.",
        "python cli.py predict --config configs/lstm_T20.yaml --ckpt_path best",
    ),
}
"""What each command does, and an example."""

HELP = (
    "Every key below can be in the config or on the command line. For the keys of a model: --model.help "
    "models.PalindromeClassifier, or models.TextModel; of its data: --data.help datamodules.PalindromeDataModule, or "
    "datamodules.BookDataModule."
)
CKPT_PATH_HELP = "best, last or auto (the newest run's), a checkpoint file, or the folder of a run or an experiment."


class Command:
    """A parsed command.

    Args:
        words: the words after ``python cli.py``.
    Attributes:
        name: ``fit``, ``validate``, ``test`` or ``predict``.
        config_dump: the complete configuration, nested dictionaries of plain values.
    Raises:
        UserError: a key is unknown, or a value of the wrong type or out of range.
    """

    def __init__(self, words: list[str]) -> None:
        guard_aliases()
        self.words, self.name = words, words[0]
        purpose, example = COMMANDS[self.name]
        self.parser = parser = LightningArgumentParser(
            exit_on_error=False,
            usage=f"{example} [--key value ...]",
            description=f"{purpose} {HELP}",
            dump_header=[f"pytorch_lightning=={pl.__version__}"],
        )
        parser.add_argument("-c", "--config", action=ConfigFile, help="A file with any of the keys below.")
        parser.add_argument(
            "--seed_everything", type=int, default=SEED, help="Seed of the weights and data (default: %(default)s)."
        )
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in DEFAULTS.items()})
        for key, kind in (("model", LightningModule), ("data", LightningDataModule)):
            parser.add_lightning_class_args(kind, key, subclass_mode=True)
            instantiator = DataInstantiator if kind is LightningDataModule else _InstantiatorFn
            parser.add_instantiator(instantiator(self, key), kind)
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=CKPT_PATH_HELP)
        for links, moment in ((LINKS, "parse"), (LINKS_TO_OBJECTS, "instantiate")):
            for target, source in links.items():
                parser.link_arguments(source, target, apply_on=moment)
        check_links(words)
        try:
            self.config = parser.parse_args(words[1:])
            self.config_dump = yaml.safe_load(parser.dump(self.config, skip_link_targets=False, skip_unset=False))
        except (ArgumentError, ValueError, RecursionError, OSError) as error:
            if (bug := bug_behind(error) or bug_in_a_module(str(error))) is not None:
                raise bug from None
            raise UserError(
                f"{one_line(str(error))}; see python cli.py {self.name} --help, or start from {example}"
            ) from error
        check_seed(self.config.seed_everything, "seed_everything")
        check_trainer(self.config.trainer)

    def _dump_config(self) -> None:
        """Lightning's instantiators call it; ``config_dump`` is there already."""

    @property
    def experiment_dir(self) -> Path:
        """The folder of the experiment's runs."""
        name = experiment_name([path.relative for path in self.config.config or []])
        return Path(self.config.trainer.default_root_dir) / name

    def instantiate(self) -> tuple[LightningModule, LightningDataModule, Trainer]:
        """Set the seed and make the model, the data and the trainer.

        Raises:
            UserError: a class refuses an argument.
        """
        pl.seed_everything(self.config.seed_everything, workers=True)
        with config_errors():
            objects = self.parser.instantiate_classes(self.config)
            return objects.model, objects.data, Trainer(**objects.trainer)

    def record_values_of(self, data: LightningDataModule) -> None:
        """Replace the defaults of linked keys by the values that the datamodule gives."""
        arguments = self.config_dump["model"].get("init_args", {})
        for target, source in LINKS_TO_OBJECTS.items():
            name, attribute = target.rpartition(".")[2], source.removeprefix("data.")
            try:
                if name in arguments:
                    arguments[name] = getattr(data, attribute)
            except AttributeError:
                if inspect.getattr_static(data, attribute, None) is not None:
                    raise  # a bug in a property, which jsonargparse would take for a datamodule without it

    def save_config(self, path: Path) -> None:
        """Write the complete configuration, with which the run can be repeated."""
        config = self.config.clone()
        config.ckpt_path = None
        self.parser.save(config, path, skip_unset=False, overwrite=True)


class ConfigFile(ActionConfigFile):
    """Names the file that is not UTF-8."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        try:
            super().__call__(parser, cfg, values, option_string)
        except UnicodeDecodeError as error:
            raise UserError(f"the config {values} is not UTF-8: {error}; save it as UTF-8") from error


class DataInstantiator(_InstantiatorFn):
    """Makes the datamodule, and records its values before the model gets them."""

    def __call__(self, class_type: type, *args: Any, applied_instantiation_links: Any, **kwargs: Any) -> Any:
        data = super().__call__(class_type, *args, applied_instantiation_links=applied_instantiation_links, **kwargs)
        self.cli.record_values_of(data)
        return data


def bug_in_a_module(message: str) -> BaseException | None:
    """The error in a user's module of which jsonargparse's message reports neither traceback nor place."""
    for module in re.findall(r"(?:class_path[= ]'|Given value: )([\w.]+)\.\w+", message):
        try:
            import_module(module)
        except Exception as error:
            if (bug := bug_behind(error)) is not None:
                return bug
    return None


def check_links(words: list[str]) -> None:
    """Reject keys that follow from others."""
    for target, source in (LINKS | LINKS_TO_OBJECTS).items():
        short = target.replace("init_args.", "")
        if any(word.split("=")[0] in (f"--{target}", f"--{short}") for word in words):
            way_out = "set that instead" if target in LINKS else "leave it out"
            raise UserError(f"--{short} always follows --{source.replace('init_args.', '')}; {way_out}")


def check_trainer(config: Any) -> None:
    """Reject values that Lightning accepts but fails on.

    Raises:
        UserError: a value is out of range, or repeats what this command line already does.
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
            f"trainer.overfit_batches is {config.overfit_batches}; leave it out: it is not "
            "supported, because training batches of this project never repeat"
        )
    if config.barebones:
        raise UserError("trainer.barebones is true; leave it out: a run always measures and saves")
    if config.logger not in (None, True):
        raise UserError("trainer.logger is set; leave it out: a run always writes TensorBoard's events and metrics.csv")
    if config.default_root_dir is None:
        raise UserError("trainer.default_root_dir is null; it must be a folder, such as runs")
    if config.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(f"trainer.accelerator is {config.accelerator}, but torch finds no GPU here; use cpu or auto")
