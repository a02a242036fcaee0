"""The complete configuration that a command line stands for, with nothing built."""

from typing import Any

from training.command_line import RunCLI


class ParsingOnly(RunCLI):
    """Reads and checks what ``fit`` is told, as far as that goes without building a model."""

    def _parse_ckpt_path(self) -> None:
        self._dump_config()

    def _set_seed(self) -> None:
        """Nothing is drawn."""

    def instantiate_classes(self) -> None:
        """Nothing is built."""


def resolved_config(words: list[str]) -> dict[str, Any]:
    """Every key of the configuration, defaults too, nested.

    Args:
        words: what stands after ``python cli.py``.
    Raises:
        UserError: a key is unknown, or a value of the wrong kind.
    """
    return ParsingOnly(words).config_dump
