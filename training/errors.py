"""Errors: one line for what a person typed, the whole traceback for a bug."""

import contextlib
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from traceback import FrameSummary, extract_tb, walk_tb

ROOMS = ("benchmarks", "callbacks", "datamodules", "experiments", "models", "training")
"""The packages of this project."""


class UserError(Exception):
    """Something that a person can correct. The message is one line: the value, the limit, the way out.

    The command line prints it and exits with status 2. Any other exception is a bug and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows."""
        return [f"error: {self}"]


LESS_MEMORY = "lower data.batch_size, the length (data.length, of a text data.seq_len) or model.hidden_size"


@contextlib.contextmanager
def config_errors(is_setup: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Turn errors that a configuration causes into a ``UserError``.

    A misconfiguration that Lightning reports, or a lack of memory, is always turned into one. While ``is_setup`` holds,
    so is a ``ValueError``, and any error of a library that cannot work with a value. A bug in a user's own code is
    raised as it is; see ``bug_behind``.
    """
    from pytorch_lightning.utilities.exceptions import MisconfigurationException
    from torch import OutOfMemoryError

    from training.messages import one_line

    try:
        yield
    except MisconfigurationException as error:
        if comes_from_user_code(error):
            raise
        raise UserError(one_line(str(error))) from error
    except (MemoryError, OutOfMemoryError) as error:
        raise UserError(f"{one_line(str(error))}; {LESS_MEMORY}") from error
    except (ValueError, TypeError, LookupError, AttributeError, ImportError, ArithmeticError, RuntimeError) as error:
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            raise UserError(f"{one_line(str(error))}; {LESS_MEMORY}") from error
        is_unknown_metric = str(error).startswith("Early stopping conditioned on metric")
        if not is_setup() and not is_unknown_metric:
            raise
        if (bug := bug_behind(error)) is not None:
            raise bug from None
        kind = "" if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: "
        raise UserError(f"{kind}{one_line(str(error))}") from error


def bug_behind(error: BaseException) -> BaseException | None:
    """The error in code, not in a value, that made the setup fail; ``None`` if there is none.

    A library may have turned it into another error. With ``raise ValueError`` a class refuses a value, so that is no
    bug; any other ``ValueError`` in a user's own code is one.
    """
    cause: BaseException | None = error
    while cause is not None:
        if (frames := extract_tb(cause.__traceback__)) and is_bug(cause, frames[-1]):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def is_bug(error: BaseException, innermost: FrameSummary) -> bool:
    """Whether an error that was raised in this frame is a bug in code."""
    file = Path(innermost.filename)
    if isinstance(error, ValueError):
        return not is_ours(file) and not is_library(file) and not (innermost.line or "").startswith("raise")
    # In __init__.py, a name that a person typed is looked up.
    is_own_code = is_ours(file) and file.name != "__init__.py"
    is_own_bug = is_own_code and isinstance(error, AttributeError | LookupError | NameError)
    return is_own_bug or comes_from_user_code(error)


def comes_from_user_code(error: BaseException) -> bool:
    """Whether code that belongs neither to this project nor to a library took part in raising the error."""
    files = (Path(frame.f_code.co_filename) for frame, _ in walk_tb(error.__traceback__))
    return any(not is_ours(file) and not is_library(file) for file in files)


ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = tuple({Path(path) for name, path in sysconfig.get_paths().items() if "lib" in name})


def is_ours(file: Path) -> bool:
    return file == ROOT / "cli.py" or any(file.is_relative_to(ROOT / room) for room in ROOMS)


def is_library(file: Path) -> bool:
    is_compiled = not file.is_absolute()  # "<string>", or a module in C
    return is_compiled or "site-packages" in file.parts or any(file.is_relative_to(path) for path in LIBRARIES)
