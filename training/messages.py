"""What is said to a person: this project's own messages, and jsonargparse's explanations, made into one line."""

import logging
import re
import warnings
from typing import IO

from training.processes import is_first

HUSHED = (
    ".*LeafSpec.*",  # Lightning 2.6 asks torch in a way that torch 2.13 calls outdated
    ".*Total length of `.*` across ranks is zero.*",  # a split may be empty
    ".*Sparse CSR tensor support is in beta state.*",  # it is what sparse graphs are held in
    ".*recommended to use `self.log.*sync_dist=True.*",  # the metrics have been reduced over all processes
    ".*The `srun` command is available on your system but is not used.*",  # one process needs none
)

PACKAGES = ("callbacks", "datamodules", "experiments", "models", "training")

NOISE = re.compile(
    r"^(Does not validate against any of the Union subtypes|Subtypes: .*|Errors:|Given value.*"
    r"|Expected a <class 'NoneType'>.*|Expected a path but .*"
    r"|Not a valid subclass of .*|Subclass types expect one of:|a class path \(str\)|a dict with(out)? .*)$"
)
WITHOUT_VALUE = {
    "Expected a list": "expected a list, such as [5,20]",
    "Expected a float": "expected a number",
    "Expected a int": "expected a whole number",
}
"""What jsonargparse says of an alternative to nothing, and what it means."""

EXPECTED = re.compile(r"Expected an? (.+?)\. Got value: (.*)$")
CLASS = re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>")


def one_line(message: str) -> str:
    """What is wrong, in one line: the key, as it is typed, then what was expected of it and what was given.

    jsonargparse nests its explanations, one alternative a line, and ends with the whole value it was given; of that
    the keys and the innermost explanations are kept.
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
            if causes and causes[-1] in WITHOUT_VALUE:  # the innermost explanation, and its value
                causes[-1] = f"{WITHOUT_VALUE[causes[-1]]}, got {given}"
        if text and not NOISE.match(text):
            causes.append(readable(text))
    line = " ".join(dict.fromkeys(causes)) if causes else "not a value that fits"
    if len(causes) > 1 and all(cause.startswith("Expected") for cause in causes):
        line = "expected one of: " + ", ".join(c.removeprefix("Expected a ").removeprefix("one of ") for c in causes)
        line += f"; got {given}"
    return f"{'.'.join(keys)}: {line}" if keys else line


def readable(text: str) -> str:
    """Python's spelling of types and alternatives, made plain."""
    text = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", text)
    text = re.sub(r"Type typing\.\S+ ?\S* expects a function or a callable class: ", "", text)
    text = CLASS.sub(r"\1", text)
    return EXPECTED.sub(r"expected \1, got \2", text)


def hush_libraries() -> None:
    """Leave out warnings that no one can do anything about; to be called before Lightning is imported."""
    for message in HUSHED:
        warnings.filterwarnings("ignore", message=message)


def set_up_messages(stream: IO[str] | None = None) -> None:
    """Show what this project has to say, once for all processes of a run, and of its libraries only their warnings.

    Args:
        stream: where, from now on; stderr by default, unless something else was set up before.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=stream, force=stream is not None)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO if is_first() else logging.ERROR)
    for package in ("pytorch_lightning", "lightning_fabric"):  # they set their own level when they are imported
        logging.getLogger(package).setLevel(logging.WARNING)
