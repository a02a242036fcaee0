"""The command line of ``fit``, ``validate``, ``test`` and ``predict``: its keys, and the objects that they describe.

Parsing reads configs and nothing else; no object is made before ``instantiate``.
"""

from argparse import ArgumentError
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

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

EXAMPLES = {
    "fit": "python cli.py fit --config configs/lstm_T20.yaml",
    "validate": "python cli.py validate --config configs/lstm_T20.yaml --ckpt_path best",
    "test": "python cli.py test --config configs/lstm_T20.yaml --ckpt_path runs/lstm_T20",
    "predict": "python cli.py predict --config configs/lstm_T20.yaml --ckpt_path best",
}

DESCRIPTIONS = {
    "fit": "Train a model, keep its checkpoints and curves in runs/<config's name>/version_<k>/, and test the best.",
    "validate": "Evaluate a checkpoint on the validation split.",
    "test": "Evaluate a checkpoint on the test split.",
    "predict": "Show what a checkpoint predicts for the first items of the test split.",
}


class CommandParser(LightningCLI):
    """A parsed command.

    Args:
        words: the words after ``python cli.py``.
    Attributes:
        subcommand: ``fit``, ``validate``, ``test`` or ``predict``.
        config_dump: the complete configuration, nested dictionaries of plain values.
    Raises:
        UserError: a key is unknown, or a value of the wrong type or out of range.
    """

    def __init__(self, words: list[str]) -> None:
        guard_aliases()
        try:
            super().__init__(
                LightningModule,
                LightningDataModule,
                save_config_callback=None,
                trainer_class=Trainer,
                trainer_defaults=DEFAULTS,
                parser_kwargs={"exit_on_error": False} | {name: parser_kwargs(name) for name in EXAMPLES},
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                args=words,
            )
        except (ArgumentError, UnicodeDecodeError, RecursionError, OSError) as error:
            if (cause := bug_behind(error)) is not None:
                raise cause from None
            way_out = f"see python cli.py {words[0]} --help, or start from {EXAMPLES[words[0]]}"
            raise UserError(f"{one_line(str(error))}; {way_out}") from error

    @property
    def own_config(self) -> Any:
        """The configuration of the subcommand."""
        return self.config[self.config["subcommand"]]

    @property
    def experiment_dir(self) -> Path:
        """The folder of the experiment's runs."""
        name = experiment_name([path.relative for path in self.own_config.config or []])
        return Path(self.own_config.trainer.default_root_dir) / name

    def instantiate(self) -> tuple[LightningModule, LightningDataModule, Trainer]:
        """Set the seed and make the model, the data and the trainer.

        Raises:
            UserError: a class refuses an argument.
        """
        check_seed(self.own_config.seed_everything, "seed_everything")
        super()._set_seed()
        with config_errors():
            super().instantiate_classes()
        return self.model, self.datamodule, self.trainer

    def save_config(self, path: Path) -> None:
        """Write the complete configuration, with which the run can be repeated."""
        config = self.own_config.clone()
        config.ckpt_path = None
        self._parser(self.subcommand).save(config, path, skip_unset=False, overwrite=True)

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
        for target, source in LINKS_TO_OBJECTS.items():
            parser.link_arguments(source, target, apply_on="instantiate")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        # Checkpoints are always loaded as tensors and plain values only.
        theirs = LightningCLI.subcommands()
        return {name: skipped | {"weights_only", "verbose", "return_predictions"} for name, skipped in theirs.items()}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        for target, source in (LINKS | LINKS_TO_OBJECTS).items():
            short = target.replace("init_args.", "")
            if any(word.split("=")[0] in (f"--{target}", f"--{short}") for word in args):
                way_out = "set that instead" if target in LINKS else "leave it out"
                raise UserError(f"--{short} always follows --{source.replace('init_args.', '')}; {way_out}")
        self.config = parser.parse_args(args)
        check_trainer(self.own_config.trainer)

    def _parse_ckpt_path(self) -> None:
        # Lightning's own version loads the checkpoint here, and lets its hyper-parameters replace those of the config.
        dump = self.parser.dump(self.config, skip_link_targets=False, skip_unset=False, format="yaml")
        self.config_dump = yaml.safe_load(dump)[self.config["subcommand"]]

    def _set_seed(self) -> None:
        """Postponed to ``instantiate``."""

    def instantiate_classes(self) -> None:
        """Postponed to ``instantiate``."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        self._record_values_of_objects()
        trainer: Trainer = super().instantiate_trainer(**kwargs)
        return trainer

    def _record_values_of_objects(self) -> None:
        """Replace the defaults of linked keys by the values that the datamodule gave."""
        for target, source in LINKS_TO_OBJECTS.items():
            group, _, name = target.partition(".init_args.")
            arguments = self.config_dump[group].get("init_args", {})
            if name in arguments:
                arguments[name] = getattr(self.datamodule, source.removeprefix("data."), arguments[name])

    def _run_subcommand(self, subcommand: str) -> None:
        """Left to ``training.run``."""


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


def parser_kwargs(subcommand: str) -> dict[str, Any]:
    return {
        "exit_on_error": False,
        "usage": f"{EXAMPLES[subcommand]} [--key value ...]",
        "description": f"{DESCRIPTIONS[subcommand]} Every key below can be in the config or on the command line. "
        "For the keys of a model: --model.help models.PalindromeClassifier, or models.TextModel; "
        "of its data: --data.help datamodules.PalindromeDataModule, or datamodules.BookDataModule.",
    }
