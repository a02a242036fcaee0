"""Runs a function as a command: its arguments are the command's keys."""

import inspect
import os
from argparse import ArgumentError
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

from jsonargparse import ArgumentParser

from training.errors import UserError
from training.files import with_home
from training.messages import one_line
from training.yaml_guard import guard_yaml


def run_command(function: Callable[..., int | None], example: str, args: list[str]) -> int:
    """Call ``function`` with the arguments in ``args``, or in the file given with ``--config``.

    Args:
        function: its signature and docstring define the keys; its name is that of the command.
        example: a command line, for the help text.
        args: the words after the command's name.
    Returns:
        the exit status: the function's return value, or 0.
    Raises:
        UserError: an argument is missing, unknown or of the wrong type, or the function refuses its value.
    """
    guard_yaml()
    parser = ArgumentParser(usage=f"{example} [--key value ...]", exit_on_error=False)
    parser.add_argument("--config", action="config", help="A file with any of the keys below.")
    parser.add_function_arguments(function, as_group=False, fail_untyped=True)
    see_help = f"see python cli.py {function.__name__} --help"
    try:
        arguments: dict[str, Any] = vars(parser.instantiate_classes(parser.parse_args(to_yaml_words(function, args))))
    except (ArgumentError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{one_line(str(error))}; {see_help}") from error
    arguments.pop("config", None)
    arguments |= {name: with_home(arguments[name]) for name in PATHS if name in arguments}
    try:
        return function(**arguments) or 0
    except ValueError as error:
        raise UserError(one_line(str(error))) from error
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        raise UserError(f"{one_line(str(error))}; choose smaller sizes, {see_help}") from error
    except OSError as error:
        path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        if path is None or (given := argument_with(path, arguments)) is None:
            raise
        raise UserError(one_line(f"{given}: {path}: {error.strerror}; give another path")) from error


PATHS = ("base", "book", "ckpt_path", "ckpt_paths", "docs_dir", "graph", "output_dir", "prompt_file", "results", "runs")
"""The arguments of all commands that are paths, or lists of them."""


def argument_with(path: Path, arguments: dict[str, Any]) -> str | None:
    """The argument, as it is typed, that gave this file or a folder above it."""
    for name in PATHS:
        value = arguments.get(name)
        for given in value if isinstance(value, list) else [value]:
            if isinstance(given, str) and Path(given) in (path, *path.parents):
                return f"--{name} {given}"
    return None


def to_yaml_words(function: Callable[..., Any], args: list[str]) -> list[str]:
    """The words, in the form that YAML expects.

    A flag without a value gets ``true``: ``--dry_run`` becomes ``--dry_run true``. Infinity and NaN get a dot:
    ``--tau inf`` becomes ``--tau .inf``.
    """
    parameters = inspect.signature(function).parameters.items()
    flags = {f"--{name}" for name, parameter in parameters if parameter.annotation is bool}
    numbers = {
        f"--{name}"
        for name, parameter in parameters
        if float in (parameter.annotation, *get_args(parameter.annotation))
    }
    words: list[str] = []
    for word, following in zip_longest(args, args[1:], fillvalue="--"):
        name, equals, value = word.partition("=")
        if equals and name in numbers and value in NOT_FINITE:
            words.append(f"{name}=.{value}")
        elif words and words[-1] in numbers and word in NOT_FINITE:
            words.append(f".{word}")
        else:
            words += [word, "true"] if word in flags and following.startswith("--") else [word]
    return words


NOT_FINITE = ("inf", "nan")
"""Numbers as Python spells them; YAML writes them with a dot."""
