"""Messages: which of them are shown, and jsonargparse's explanations in one line."""

import logging
import re
import warnings
from importlib import import_module
from typing import IO

from training.errors import ROOMS
from training.processes import is_rank_zero

IGNORED_WARNINGS = (
    ".*LeafSpec.*",  # Lightning 2.6 calls torch in a way that torch 2.13 deprecates
    ".*Total length of `.*` across ranks is zero.*",  # a split may be empty
    ".*Sparse CSR tensor support is in beta state.*",  # sparse graphs are CSR tensors
    ".*recommended to use `self.log.*sync_dist=True.*",  # the metrics are already reduced over all processes
    ".*The `srun` command is available on your system but is not used.*",  # a single process needs no srun
)

NOISE = re.compile(
    r"^(Does not validate against any of the Union subtypes|Subtypes: .*|Errors:|Given value.*"
    r"|Expected a <class 'NoneType'>.*|Expected a path but .*"
    r"|Not a valid subclass of .*|Subclass types expect one of:|a class path \(str\)|a dict with(out)? .*)$"
)
OPTIONAL_TYPES = {
    "Expected a list": "expected a list, such as [5,20]",
    "Expected a float": "expected a number",
    "Expected a int": "expected a whole number",
}
"""What jsonargparse says of an Optional type, and what we say instead."""

UNNAMED = {"typing.Union": "torch.optim.lr_scheduler.StepLR", "torch.optim.Optimizer": "torch.optim.RMSprop"}
"""What jsonargparse takes for the class of a schedule or an optimizer if none is named, and an example of one."""


LENGTH_MAX = 500
"""Characters of a message: a person's value may be a whole file. What is left out stands between key and way out."""

BEGINNING = 200
"""Characters that are kept before it."""


def one_line(message: str) -> str:
    """A message in one line: the key as it is typed, what was expected, what was given.

    jsonargparse nests its explanations, with one line for each alternative, and ends with the whole value.
    """
    keys: list[str] = []
    causes: list[str] = []
    given = ""
    for line in message.splitlines():
        text = line.strip().removeprefix("- ").strip()
        if match := re.match(r'Parser key "(.+?)": ?(.*)', text):
            keys.append(match[1])
            text = match[2]
        if match := re.match(r"Problem with given class_path '(.+?)':", text):
            causes = [f"{match[1]}:"]
            continue
        if match := re.match(r"Given value: (.*)", text):
            given = match[1]
            if causes and causes[-1] in OPTIONAL_TYPES:  # the innermost explanation, and its value
                causes[-1] = f"{OPTIONAL_TYPES[causes[-1]]}, got {given}"
        if text and not NOISE.match(text):
            causes.append(readable(text))
    if not all(cause.startswith("Expected") for cause in causes):
        alternatives = ("Expected a list", "Expected a Iterable", "Expected a bool")  # to the class that was meant
        causes = [cause for cause in causes if cause not in alternatives]
    line = " ".join(dict.fromkeys(causes)) if causes else "not a value that fits"
    if len(causes) > 1 and all(cause.startswith("Expected") for cause in causes):
        line = "expected one of: " + ", ".join(c.removeprefix("Expected a ").removeprefix("one of ") for c in causes)
        line += f"; got {given}"
    line = f"{'.'.join(keys)}: {line}" if keys else line
    return line if len(line) <= LENGTH_MAX else f"{line[:BEGINNING]} ... {line[BEGINNING - LENGTH_MAX :]}"


def readable(text: str) -> str:
    """The text without Python's spelling of types."""
    text = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", text)
    text = re.sub(r"Type typing\..+ expects a function or a callable class: ", "", text)
    if match := re.match(r"Option '(\w+)' is not accepted\. Got value: Namespace\(class_path='([\w.]+)'", text):
        if (example := UNNAMED.get(match[2])) is None:
            return f"{match[2]} has no argument {match[1]!r}"
        return f"there is no class that could have an argument {match[1]!r}; name one in its place, such as {example}"
    text = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", text)
    text = re.sub(r"(No module named '.+?')", r"\1; put its folder into PYTHONPATH, or install it", text)
    text = re.sub(
        r"\('cannot represent an object', (.*)\)",
        r"an argument is \1, which no config can hold; give it as text or a number",
        text,
    )
    if match := re.match(r"Expected a dot import path string: (\w+)", text):
        rooms = [room for room in ("callbacks", "datamodules", "models") if match[1] in import_module(room).__all__]
        return f"{match[1]} is no known class; give its module, too: {(*rooms, 'my_module')[0]}.{match[1]}"
    return re.sub(r"Expected an? (.+?)\. Got value: (.*)$", r"expected \1, got \2", text)


def ignore_library_warnings() -> None:
    """Ignore warnings about which a user can do nothing. To be called before Lightning is imported."""
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def set_up_messages(stream: IO[str] | None = None) -> None:
    """Show this project's log once for all processes of a run, and of its libraries only warnings.

    Args:
        stream: where the log goes from now on; by default stderr, unless something else was set up before.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=stream, force=stream is not None)
    for package in ROOMS:
        logging.getLogger(package).setLevel(logging.INFO if is_rank_zero() else logging.ERROR)
    for package in ("pytorch_lightning", "lightning_fabric"):  # they set their own level when they are imported
        logging.getLogger(package).setLevel(logging.WARNING)
