"""The command line of ``fit``, ``validate``, ``test`` and ``predict``: its keys, and their values.

Parsing reads configs and nothing else; no object is made.
"""

import re
from argparse import ArgumentError
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pydoc import locate
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from jsonargparse.typing import Path_fr
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import ActionConfigFile, LightningArgumentParser, LightningCLI

from training.errors import UserError, bug_behind
from training.files import with_home
from training.messages import one_line
from training.recorded_config import FORMER_OPTIMIZERS, with_current_optimizer
from training.run_folder import experiment_name
from training.seeds import check_seed
from training.trainer import DEFAULTS, Trainer
from training.yaml_guard import guard_yaml

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
    "fit": "Train a model, keep its checkpoints and curves in runs/<config's name>/version_<k>/, and test the best.",
    "validate": "Evaluate a checkpoint on the validation split.",
    "test": "Evaluate a checkpoint on the test split.",
    "predict": "Show what a checkpoint predicts for the first items of the test split.",
}
HELP = (
    "Every key below can be in the config or on the command line. For the keys of a model: --model.help "
    "models.PalindromeClassifier, or models.TextModel; of its data: --data.help datamodules.PalindromeDataModule, or "
    "datamodules.BookDataModule."
)
CKPT_PATH_HELP = (
    "best, last or auto (the newest run's), a checkpoint file, or the folder of a run or an experiment. "
    "Without --config the run's own config is used."
)
INIT_FROM_HELP = (
    "A new run starts with the weights in this checkpoint file, or the best ones of this run or experiment. "
    "The sizes of the network are theirs unless the config says otherwise."
)
INIT_SHA256_HELP = "The checksum that the file of init_from must have. A run's own config names it."
ALLOW_CHANGES_HELP = "Resume with another optimizer, schedule, dropout, clipping or precision than the checkpoint's."


class Command(LightningCLI):
    """A parsed command.

    Args:
        words: the words after ``python cli.py``.
        start: keys and values that the words override.
        experiment_dir: the folder of the experiment's runs; by default that of the last config.
    Attributes:
        name: ``fit``, ``validate``, ``test`` or ``predict``.
        config_dump: the complete configuration, nested dictionaries of plain values.
    Raises:
        UserError: a key is unknown, or a value of the wrong type or out of range.
    """

    def __init__(self, words: list[str], start: Sequence[str] = (), experiment_dir: Path | None = None) -> None:
        guard_yaml()
        self.words, self.name = words, words[0]
        example = f"python cli.py {self.name} --config configs/lstm_T20.yaml"
        usage = f"{example}{'' if self.name == 'fit' else ' --ckpt_path best'} [--key value ...]"
        check_links(words)
        try:
            # Subcommands of LightningCLI are methods of the trainer. Here they are methods of a run.
            super().__init__(
                LightningModule,
                LightningDataModule,
                trainer_class=Trainer,
                trainer_defaults=DEFAULTS,
                parser_kwargs={"exit_on_error": False, "usage": usage, "description": f"{COMMANDS[self.name]} {HELP}"},
                subclass_mode_model=True,
                subclass_mode_data=True,
                args=[*start, *words[1:]],
                run=False,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )
            for section, name in (
                (self.config, "ckpt_path"),
                (self.config, "init_from"),
                (self.config.trainer, "default_root_dir"),
            ):
                section[name] = with_home(section[name])
            self.config_dump = yaml.safe_load(self.parser.dump(self.config, skip_link_targets=False, skip_unset=False))
        except (ArgumentError, ValueError, RecursionError, OSError) as error:
            if (bug := bug_behind(error) or bug_in_a_module(str(error))) is not None:
                raise bug from None
            raise UserError(
                f"{one_line(str(error))}; see python cli.py {self.name} --help, or start from {example}"
            ) from error
        check_class_paths(self.config_dump)
        check_seed(self.config.seed_everything, "seed_everything")
        check_trainer(self.config.trainer)
        self.experiment_dir = experiment_dir or Path(self.config.trainer.default_root_dir) / experiment_name(
            [path.relative for path in self.config.config or [] if path is not None]
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = LightningArgumentParser(dump_header=[f"pytorch_lightning=={pl.__version__}"], **kwargs)
        parser.add_argument("-c", "--config", action=ConfigFile, help="A file with any of the keys below.")
        return parser

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--seed_everything", type=int, default=42, help="Seed of the weights and of the data.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=CKPT_PATH_HELP)
        parser.add_argument("--init_from", type=str | None, default=None, help=INIT_FROM_HELP)
        parser.add_argument("--init_sha256", type=str | None, default=None, help=INIT_SHA256_HELP)
        parser.add_argument("--allow_changes", type=bool, default=False, help=ALLOW_CHANGES_HELP)
        for links, moment in ((LINKS, "parse"), (LINKS_TO_OBJECTS, "instantiate")):
            for target, source in links.items():
                parser.link_arguments(source, target, apply_on=moment)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)

    def _set_seed(self) -> None:
        """Left to ``training.launch``."""

    def instantiate_classes(self) -> None:
        """Left to ``training.launch``."""

    @property
    def ckpt_path(self) -> str | None:
        """What to resume, or to evaluate."""
        return self.config.ckpt_path or (None if self.name == "fit" else "best")

    def set_source(self, init_from: str, sha256: str) -> None:
        """Note the file that the first weights come from, and its checksum."""
        for config in (self.config, self.config_dump):
            config["init_from"], config["init_sha256"] = init_from, sha256

    def save_config(self, path: Path) -> None:
        """Write the complete configuration, with which the run can be repeated."""
        config = self.config.clone()
        config.ckpt_path, config.allow_changes = None, False
        self.parser.save(config, path, skip_unset=False, overwrite=True)


class ConfigFile(ActionConfigFile):
    """Names the file that is not UTF-8, and reads the configs of the first runs of this project."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        try:
            former = former_config(Path(values))
            super().__call__(parser, cfg, former or values, option_string)
        except UnicodeDecodeError as error:
            raise UserError(f"the config {values} is not UTF-8: {error}; save it as UTF-8") from error
        if former:
            cfg[self.dest][-1] = Path_fr(values)


def former_config(path: Path) -> str:
    """A config that names a default optimizer as the first runs do, with its class in that place; else nothing."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:  # it is no file; jsonargparse says so, or takes it for the config itself
        return ""
    if not any(name in text for name in FORMER_OPTIMIZERS):
        return ""
    config = yaml.safe_load(text)
    return yaml.safe_dump(config | {"model": with_current_optimizer(config["model"])})


def check_class_paths(given: Any, key: str = "") -> None:
    """Reject functions in a class's place. jsonargparse calls any function that stands where an optimizer is made."""
    parts = given.items() if isinstance(given, dict) else enumerate(given) if isinstance(given, list) else ()
    for name, part in parts:
        place = f"{key}.{name}" if key else str(name)
        if name == "class_path" and isinstance(part, str) and not isinstance(locate(part), type | None):
            raise UserError(f"{place} is {part}, which is no class; name a class, such as torch.optim.Adam")
        check_class_paths(part, place)


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


LIMITS = {"log_every_n_steps": 1, "check_val_every_n_epoch": 1, "accumulate_grad_batches": 1, "gradient_clip_val": 0}
"""The smallest values of arguments of the trainer."""

LEFT_OUT: dict[str, tuple[tuple[Any, ...], str]] = {
    "overfit_batches": ((0,), "it is not supported, because training batches of this project never repeat"),
    "barebones": ((False,), "if it is true, a run neither measures nor saves"),
}
"""Arguments of the trainer that must keep one of these values, and the reason."""


def check_trainer(config: Any) -> None:
    """Reject values that Lightning accepts but fails on, and those that repeat what this command line does."""
    for name, limit in LIMITS.items():
        value = config[name]
        if value is not None and not value >= limit:
            raise UserError(f"trainer.{name} is {value}; it must be at least {limit}")
    interval = config.val_check_interval
    if isinstance(interval, int | float) and not interval > 0:
        raise UserError(f"trainer.val_check_interval is {interval}; it must be above 0")
    for name, (allowed, reason) in LEFT_OUT.items():
        if config[name] not in allowed:
            raise UserError(f"trainer.{name} is {config[name]}; leave it out: {reason}")
    if config.logger is False:
        raise UserError(
            "trainer.logger is False; leave it out: a run always writes TensorBoard's events and metrics.csv"
        )
    if config.default_root_dir is None:
        raise UserError("trainer.default_root_dir is null; it must be a folder, such as runs")
    if config.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(f"trainer.accelerator is {config.accelerator}, but torch finds no GPU here; use cpu or auto")
