"""Damages checkpoints and configs at random, and checks what the command line does with them.

A small network is trained. Then its checkpoint is damaged and tested, again and again. Configs of a network for
palindromes, for a text and for a graph are damaged and trained. A damaged checkpoint must be refused. A damaged config
must be refused, or the run's ``config.yaml`` must have its values. A refusal is one line with exit status 2, and leaves
no run folder. The program reports everything else and fails. Damage that carries code would make a file if the code ran;
the program looks for that file.

    python -m tests.stress.damage [--checkpoints 1000] [--configs 1000] [--seed 1]
"""

import argparse
import contextlib
import io
import math
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

import cli
import training.launch  # noqa: F401 - so that no alarm interrupts the imports
from training.checkpoint_file import add_checksum

TRAINER = """\
trainer:
  max_steps: 2
  val_check_interval: 1
  gradient_clip_val: 10.0
  log_every_n_steps: 1
  callbacks:
"""
CONFIGS = (
    f"""\
model:
  class_path: models.PalindromeClassifier
  init_args:
    network: rnn
    hidden_size: 8
    initialization: orthogonal
    input_scale: 0.01
    optimizer:
      class_path: torch.optim.RMSprop
      init_args:
        lr: 0.001
data:
  class_path: datamodules.PalindromeDataModule
  init_args:
    length: 6
    batch_size: 16
    num_val: 20
    num_test: 20
{TRAINER}\
  - class_path: callbacks.GradientFlow
    init_args:
      every_n_steps: 1
  - class_path: callbacks.LengthCurriculum
    init_args:
      start: 4
""",
    f"""\
seed_everything: 3
model:
  class_path: models.TextModel
  init_args:
    hidden_size: 8
    num_layers: 2
    embedding_size: 4
    dropout: 0.1
    reset_probability: 0.1
    lr_scheduler:
      class_path: models.schedules.WarmupCosine
data:
  class_path: datamodules.BookDataModule
  init_args:
    book: {{folder}}/book.txt
    seq_len: 10
    batch_size: 4
    val_fraction: 0.1
{TRAINER}\
  - class_path: callbacks.TextSamples
    init_args:
      every_n_steps: 1
      lengths:
      - 10
  - class_path: callbacks.RunCheckpoints
    init_args:
      every_n_steps: 1
""",
    f"""\
model:
  class_path: models.NodeClassifier
  init_args:
    num_layers: 2
    hidden_size: 8
    connection: residual
    dropout: 0.5
    weight_decay: 0.0005
data:
  class_path: datamodules.GraphDataModule
  init_args:
    graph: karate
{TRAINER}\
  - class_path: pytorch_lightning.callbacks.EarlyStopping
    init_args:
      monitor: train/loss
      patience: 3
""",
)
BOOK = "".join(f"The {i}. king's daughter went into the wood.\n" for i in range(60))

VALUES = (
    *("-1", "0", "1", "7", "2.5", "-0.5", "1e400", ".nan", "-.inf", "1_000", "0x10", "1e3", "99999999999999999999"),
    *("null", "true", "'no'", "''", "[]", "[1, 2]", "{}", "{a: 1}", "abc", "~", "2026-11-23", "é", "../../x", "/"),
    *("!!int 3", "!!python/object/apply:os.system ['touch {mark}']", "!!python/name:os.system", "!!binary aGk="),
    *("&a [*a]", "*b", "os.system", "torch.load", "models.TextModel"),
    "{class_path: os.system, init_args: {command: 'touch {mark}'}}",
)

SECONDS_MAX = 60
"""A damaged config may still be valid and train for long; a run that takes longer is stopped."""

MEMORY_MAX = 12 << 30


class TooLong(BaseException):
    """Not an ``Exception``, so that no handler between the alarm and ``outcome`` catches it."""


class Carrier:
    """Makes the file ``mark`` when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def damaged_checkpoint(content: bytes, mark: Path, rng: random.Random) -> tuple[str, bytes]:
    """The kind of damage, and the damaged checkpoint."""
    place = rng.randrange(len(content))
    size = rng.choice((1, 2, 16, 512, 4096))
    kind = rng.choice(KINDS)
    other = bytearray(content)
    if kind == "truncated":
        return kind, content[: rng.choice((0, 1, 100, place, len(content) - 1))]
    if kind == "flipped bit":
        other[place] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        other[place : place + size] = bytes(len(other[place : place + size]))
    elif kind == "missing piece":
        del other[place : place + size]
    elif kind == "repeated piece":
        other[place:place] = other[place : place + size]
    elif kind == "noise":
        other[place : place + size] = rng.randbytes(size)
    elif kind == "appended noise":
        other += rng.randbytes(size)
    elif kind == "damaged archive directory":
        other[-71:] = rng.randbytes(71)
    elif kind == "code with a valid checksum":
        return kind, add_checksum(with_code(content, mark))
    return kind, bytes(other)


KINDS = (
    *("truncated", "flipped bit", "zeros", "missing piece", "repeated piece", "noise", "appended noise"),
    *("damaged archive directory", "code with a valid checksum"),
)


def with_code(content: bytes, mark: Path) -> bytes:
    """The archive with its pickle replaced by one that would run a command."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as theirs, zipfile.ZipFile(made, "w") as ours:
        for name in theirs.namelist():
            is_pickle = name.endswith("data.pkl")
            ours.writestr(name, pickle.dumps({"state_dict": Carrier(mark)}, 2) if is_pickle else theirs.read(name))
    return made.getvalue()


def damaged_config(text: str, mark: Path, rng: random.Random) -> tuple[str, str]:
    """The kind of damage, and the damaged config."""
    lines = text.splitlines()
    k = rng.randrange(len(lines))
    kind = rng.choice(
        ("value", "value", "value", "key", "missing line", "repeated line", "indentation", "character", "truncated")
    )
    if kind == "value":
        key, _, _ = lines[k].partition(": ")
        lines[k] = f"{key}: {rng.choice(VALUES).replace('{mark}', str(mark))}"
    elif kind == "key":
        lines[k] = lines[k].replace(
            lines[k].strip().split(":")[0], rng.choice(("lenght", "seed", "<<", "?", "a.b", "1"))
        )
    elif kind == "missing line":
        del lines[k]
    elif kind == "repeated line":
        lines.insert(rng.randrange(len(lines)), lines[k])
    elif kind == "indentation":
        lines[k] = rng.choice(("", " ", "   ", "\t")) + lines[k].strip()
    elif kind == "character":
        place = rng.randrange(len(text))
        new = rng.choice(
            ("\0", "\t", "{", "}", "[", "'", '"', "%", "@", "`", "|", ">", "&", "*", "!", "\ufffe", "9", "-", ":")
        )
        return kind, text[:place] + new + text[place + 1 :]
    else:
        return kind, text[: rng.randrange(len(text))]
    return kind, "\n".join(lines) + "\n"


def outcome(words: list[str]) -> tuple[int | None, str, str]:
    """Exit status, stderr, and a traceback if an exception came through; then the status is ``None``."""
    error = io.StringIO()
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS_MAX)
    try:
        with (
            contextlib.redirect_stderr(error),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            return cli.main(words), error.getvalue(), ""
    except TooLong:
        return 0, error.getvalue(), ""
    except BaseException:
        return None, error.getvalue(), traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def too_long(signum: int, frame: FrameType | None) -> None:
    raise TooLong


def is_refusal(status: int | None, error: str) -> bool:
    """Whether the command ended with status 2 and one line of error."""
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    return status == 2 and len(lines) == 1 and error.endswith(f"{lines[0]}\n")


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value of a config that is not a dictionary, after its keys."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, (*path, str(key)))
    else:
        yield path, value


def equivalent(given: Any, ran: Any) -> bool:
    """Whether the run used this value: 3 equals 3.0, '7' equals 7, and an empty section stands for its defaults."""
    if given is None and isinstance(ran, dict):
        return True
    if isinstance(given, list) and isinstance(ran, list):
        return len(given) == len(ran) and all(equivalent(a, b) for a, b in zip(given, ran, strict=True))
    if isinstance(given, dict) and isinstance(ran, dict):
        return all(key in ran and equivalent(given[key], ran[key]) for key in given)
    if isinstance(given, str) and isinstance(ran, str):  # models.X is models.palindrome.X
        return given == ran or ran.split(".")[-1] == given.split(".")[-1]
    try:
        return given == ran or float(given) == float(ran) or (math.isnan(float(given)) and math.isnan(float(ran)))
    except (TypeError, ValueError):
        return str(given) == str(ran)


def ignored_key(text: str, run: Path) -> str | None:
    """The first key of a config whose value the run did not use; ``None`` if it used all."""
    ran = yaml.safe_load((run / "config.yaml").read_text())
    # The loader of jsonargparse; PyYAML's other loader does not accept tabs.
    for path, given in leaves(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
        value = ran
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if not equivalent(given, value):
            return f"{'.'.join(path)} is {given!r} in the config and {value!r} in the run"
    return None


def damage_checkpoints(num: int, rng: random.Random, folder: Path) -> Counter[str]:
    """How many of ``num`` damaged checkpoints were refused; all others are printed."""
    config = folder / "small.yaml"
    config.write_text(CONFIGS[0])
    root = f"--trainer.default_root_dir={folder / 'runs'}"
    if outcome(["fit", f"--config={config}", root])[0] != 0:
        raise RuntimeError("the undamaged config does not train")
    content = (folder / "runs" / "small" / "version_0" / "checkpoints" / "last.ckpt").read_bytes()
    counts: Counter[str] = Counter()
    damaged, mark = folder / "damaged.ckpt", folder / "mark"
    while counts.total() < num:
        kind, bad = damaged_checkpoint(content, mark, rng)
        if bad == content:  # zeros over zeros
            continue
        damaged.write_bytes(bad)
        status, error, trace = outcome(["test", f"--config={config}", root, f"--ckpt_path={damaged}"])
        if is_refusal(status, error) and not mark.exists():
            counts["refused"] += 1
        else:
            counts["wrong"] += 1
            print(f"a checkpoint, {kind}: exit status {status}, its code ran: {mark.exists()}\n{error}{trace}")
    return counts


def damage_configs(num: int, rng: random.Random, folder: Path) -> Counter[str]:
    """How many of ``num`` damaged configs were refused, and how many trained with their values; all others are printed."""
    counts: Counter[str] = Counter()
    (folder / "book.txt").write_text(BOOK, encoding="utf-8")
    config, mark, runs = folder / "damaged.yaml", folder / "mark", folder / "damaged_runs"
    for k in range(num):
        kind, text = damaged_config(rng.choice(CONFIGS).replace("{folder}", str(folder)), mark, rng)
        config.write_text(text, encoding="utf-8")
        status, error, trace = outcome(["fit", f"--config={config}", f"--trainer.default_root_dir={runs}"])
        made = list(runs.glob("damaged/version_*"))
        problem = "its code ran" if mark.exists() else None
        if problem is None and status == 0:
            problem = ignored_key(text, made[0]) if made else f"nothing was trained within {SECONDS_MAX} s"
        elif problem is None:
            problem = None if is_refusal(status, error) and not made else f"exit status {status}, {len(made)} runs left"
        counts["wrong" if problem else "trained" if status == 0 else "refused"] += 1
        if problem:
            print(f"config {k}, {kind}: {problem}\n{error}{trace}{text}")
        shutil.rmtree(runs, ignore_errors=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Damage checkpoints and configs, and check what the command line does with them.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--checkpoints", type=int, default=1000, help="number of damaged checkpoints")
    parser.add_argument("--configs", type=int, default=1000, help="number of damaged configs")
    parser.add_argument("--seed", type=int, default=1, help="of the random damage")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        results = {
            "checkpoints": damage_checkpoints(args.checkpoints, rng, Path(folder)),
            "configs": damage_configs(args.configs, rng, Path(folder)),
        }
    print(f"{'':12} {'damaged':>8} {'refused':>8} {'trained with its values':>24} {'wrong':>6}")
    for name, counts in results.items():
        print(f"{name:12} {counts.total():8} {counts['refused']:8} {counts['trained']:24} {counts['wrong']:6}")
    sys.exit(1 if any(counts["wrong"] for counts in results.values()) else 0)


if __name__ == "__main__":
    main()
