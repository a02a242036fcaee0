"""Fixtures for all tests: they restore what a test changes in the process, and make small runs in a temporary folder."""

import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

# Networks this small gain nothing from a second thread, and lose much on a machine that has other things to do.
os.environ["OMP_NUM_THREADS"] = "1"

# As in an environment that is activated, what is said of commands does not depend on where that lies.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

import pytest
import torch

import cli
from experiments.sweep.local import num_cores
from training.signals import SIGNALS

LONGEST_FIRST = (
    "experiments/sweep/test_search.py",
    *("cluster/test_fit.py", "test_commands.py", "experiments/sweep/test_sweep.py", "test_processes.py"),
    *("test_tensorboard.py", "test_reach.py", "test_resume.py", "stress/test_chaos.py", "stress/test_damage.py"),
    *(
        "training/test_interruption.py",
        "test_terminal.py",
        "benchmarks/test_nanogpt.py",
        "training/test_command_line.py",
    ),
)
"""Files whose tests take longest. Each file's tests run in one worker, so a long file at the end would run alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first; xdist follows this order with ``--no-loadscope-reorder``."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker for each core: with more, Slurm's jobs and the processes that tests kill become too slow."""
    return num_cores()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in a line what was left out, and why."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, number in reasons.items():
        terminalreporter.write_line(f"{number} test{'' if number == 1 else 's'} left out: {reason}")


@pytest.fixture(autouse=True)
def restored_globals() -> Iterator[None]:
    """Seed, dtype, threads, gradient mode, signal handlers and log levels are as before after every test."""
    state, dtype, threads = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    handlers = {s: signal.getsignal(s) for s in SIGNALS}
    torch.manual_seed(0)
    yield
    assert torch.is_grad_enabled()
    torch.set_rng_state(state)
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    assert handlers == {s: signal.getsignal(s) for s in SIGNALS}
    logging.disable(logging.NOTSET)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config that trains a small LSTM on short palindromes for a few steps."""
    path = tmp_path / "small.yaml"
    path.write_text(
        "model: {class_path: models.PalindromeClassifier, init_args: {hidden_size: 8}}\n"
        "data: {class_path: datamodules.PalindromeDataModule,\n"
        "       init_args: {length: 6, batch_size: 16}}\n"
        "trainer: {max_steps: 7, limit_train_batches: 10, gradient_clip_val: 10.0, log_every_n_steps: 3, val_check_interval: 4}\n"
    )
    return path


Command = Callable[..., int]


@pytest.fixture
def command(config: Path, tmp_path: Path) -> Command:
    """``command("fit", "--trainer.max_steps", "3")`` runs that with the small config under ``tmp_path/runs``."""

    def run(name: str, *args: str) -> int:
        root = str(tmp_path / "runs")
        return cli.main([name, "--config", str(config), "--trainer.default_root_dir", root, *args])

    return run


@pytest.fixture
def run_dir(command: Command, tmp_path: Path) -> Path:
    """The folder of a finished small run."""
    assert command("fit") == 0
    return tmp_path / "runs" / "small" / "version_0"


@pytest.fixture
def text_config(tmp_path: Path) -> Path:
    return write_text_config(tmp_path)


def write_text_config(folder: Path) -> Path:
    """A config that trains a small text model on a short book for a few steps, with all that draws random numbers in training."""
    book = folder / "book.txt"
    book.write_text("".join(f"The {i}. king’s daughter went into the wood.\n" for i in range(200)), encoding="utf-8")
    path = folder / "text.yaml"
    path.write_text(
        "model: {class_path: models.TextModel, init_args: {hidden_size: 8, embedding_size: 4, dropout: 0.2,\n"
        "        dropout_samples: 2, weight_dropout: 0.1, reset_probability: 0.3}}\n"
        "data: {class_path: datamodules.BookDataModule,\n"
        f"       init_args: {{book: {book}, seq_len: 12, batch_size: 6}}}}\n"
        "trainer: {max_steps: 7, gradient_clip_val: 5.0, log_every_n_steps: 3, val_check_interval: 4,\n"
        "          callbacks: [{class_path: callbacks.TextSamples, init_args: {every_n_steps: 5}}]}\n"
    )
    return path


@pytest.fixture
def text_command(text_config: Path, tmp_path: Path) -> Command:
    """The same as ``command`` for a text model; the runs are in ``tmp_path/runs/text``."""

    def run(name: str, *args: str) -> int:
        root = str(tmp_path / "runs")
        return cli.main([name, "--config", str(text_config), "--trainer.default_root_dir", root, *args])

    return run


@pytest.fixture
def text_run_dir(text_command: Command, tmp_path: Path) -> Path:
    """The folder of a finished small run of a text model."""
    assert text_command("fit") == 0
    return tmp_path / "runs" / "text" / "version_0"
