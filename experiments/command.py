"""A function as a command: its arguments are the command's keys."""

import inspect
import textwrap
from argparse import ArgumentError
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, get_args

from jsonargparse import ArgumentParser

from training.errors import UserError
from training.messages import one_line
from training.yaml_aliases import guard_aliases


def run_command(function: Callable[..., int | None], example: str, args: list[str]) -> int:
    """Call ``function`` with what stands in ``args``, or in the file that ``--config`` names.

    Args:
        function: its signature and docstring say which keys there are; its name is that of the command.
        example: what to type.
        args: the words after the command's name.
    Returns:
        the exit status, what the function returns or 0.
    Raises:
        UserError: an argument is missing, unknown or of the wrong kind, or the function refuses its value.
    """
    guard_aliases()
    parser = ArgumentParser(usage=f"{example} [--key value ...]", exit_on_error=False)
    parser.add_argument("--config", action="config", help="A file with any of the keys below.")
    parser.add_function_arguments(function, as_group=False, fail_untyped=True)
    try:
        arguments: dict[str, Any] = parser.parse_args(spelled_out(function, args)).as_dict()
    except (ArgumentError, UnicodeDecodeError, OSError) as error:
        message = textwrap.shorten(one_line(str(error)), 300, placeholder=" ...")
        raise UserError(f"{message}; see python cli.py {function.__name__} --help") from error
    arguments.pop("config", None)
    try:
        return function(**arguments) or 0
    except ValueError as error:
        raise UserError(one_line(str(error))) from error
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        way_out = f"ask for less, see python cli.py {function.__name__} --help"
        raise UserError(f"{one_line(str(error))}; {way_out}") from error


def spelled_out(function: Callable[..., Any], args: list[str]) -> list[str]:
    """The words as YAML has them.

    A switch that stands alone gets its ``true`` (``--dry_run`` means ``--dry_run true``), and infinity a dot (``--tau
    inf`` means ``--tau .inf``).
    """
    parameters = inspect.signature(function).parameters.items()
    switches = {f"--{name}" for name, parameter in parameters if parameter.annotation is bool}
    numbers = {
        f"--{name}"
        for name, parameter in parameters
        if float in (parameter.annotation, *get_args(parameter.annotation))
    }
    words: list[str] = []
    for word, following in zip_longest(args, args[1:], fillvalue="--"):
        name, equals, value = word.partition("=")
        if equals and name in numbers and value in INFINITE:
            words.append(f"{name}=.{value}")
        elif words and words[-1] in numbers and word in INFINITE:
            words.append(f".{word}")
        else:
            words += [word, "true"] if word in switches and following.startswith("--") else [word]
    return words


INFINITE = ("inf", "nan")
"""What Python calls numbers that YAML writes with a dot."""
