"""Palimpsest: recurrent networks that remember. The one entry point; ``python cli.py --help`` lists the commands.

Nothing heavy is imported before a command is known that needs it.
"""

import errno
import os
import signal
import sys
from importlib import import_module

HELP = """\
usage: python cli.py COMMAND [--config FILE] [--key value ...]

Recurrent networks that remember: train them, score them, see how they do it.

commands:
  fit        train a model, keep its checkpoints and curves, and test the best
  validate   score a checkpoint on the validation split
  test       score a checkpoint on the test split
  predict    show what a checkpoint predicts for the first items of the test split
  generate   let a text model write
  sweep      train once for each combination of a grid's values, with several seeds
  figure     draw what came of sweeps
  curves     draw loss and accuracy of runs while they trained
  gradients  show how far back in time the gradient of the loss reaches
  attractors show how a checkpoint keeps the first digit: its states as attractors
  longest    show the longest palindromes that runs with a curriculum have mastered
  hops       show how many updates a message needs from one node of a graph to another
  report     write docs/report.md and its figures again, from what is kept in docs/results

start here:
  python cli.py fit --config configs/lstm_T20.yaml                    train
  tensorboard --logdir runs                                           watch
  python cli.py fit --config configs/lstm_T20.yaml --ckpt_path last   go on after a stop
  python cli.py test --config configs/lstm_T20.yaml --ckpt_path best  score it again
  python cli.py attractors --ckpt_path runs/lstm_T20                  look inside
  python cli.py fit --config configs/text_grimm.yaml                  learn a book
  python cli.py generate --ckpt_path runs/text_grimm --tau 1          write
  python cli.py fit --config configs/gcn_cora.yaml                    tell the nodes of a graph apart

python cli.py COMMAND --help lists all keys of a command."""

STUDIES = {
    "generate": "generate",
    "sweep": "sweep",
    "figure": "plot_command",
    "curves": "curves",
    "gradients": "grads_over_time",
    "attractors": "attractors",
    "longest": "longest",
    "hops": "hops",
    "report": "report",
}
"""Functions, and the modules of ``experiments`` in which they are, each with an example of what to type."""

COMMANDS = ("fit", "validate", "test", "predict", *STUDIES)


def main(args: list[str]) -> int:
    """Run one command; returns the exit status: 0, 2 for something a person can put right, 128 + n after signal n."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if args[0] not in COMMANDS:
        return complain(f"there is no command {args[0]!r}; it is one of {', '.join(COMMANDS)}")
    from training.errors import UserError

    try:
        return study(*args) if args[0] in STUDIES else run(args)
    except UserError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        print("stopped" if args[0] in STUDIES else "stopped before anything was done", file=sys.stderr)
        return 130


def study(name: str, *args: str) -> int:
    from experiments.command import run_command
    from training.messages import hush_libraries, set_up_messages

    hush_libraries()
    set_up_messages()
    module = import_module(f"experiments.{STUDIES[name]}")
    return run_command(getattr(module, name), module.EXAMPLE, list(args))


def run(args: list[str]) -> int:
    from training.messages import hush_libraries, set_up_messages
    from training.processes import LostProcess, is_first
    from training.signals import AbortedRun, InterruptedRun, SignalListener, say_what_now

    hush_libraries()
    listener = SignalListener()
    try:
        with listener.listening():
            listener.raises = False
            from training.command_line import RunCLI

            listener.raises = True
            set_up_messages()
            RunCLI(args, listener).run()
    except (InterruptedRun, AbortedRun) as stopped:
        say_what_now(stopped)
        return 128 + stopped.signum
    except LostProcess as lost:
        if is_first():
            print(lost, file=sys.stderr)
        return 1
    return 0


def complain(message: str) -> int:
    from training.processes import is_first

    if is_first():  # of several processes, each finds the same
        print(f"error: {message}", file=sys.stderr)
    return 2


def leave_stdout() -> None:
    """Send what is still to be written nowhere, so that Python does not try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    # A Slurm job gets it when its time is nearly up. It waits until somebody listens; where nobody does, there is
    # nothing to save, or all is saved.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        status = main(sys.argv[1:])
        if sys.stdout is not None:  # it is where it was closed from the beginning
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, a pager or head, has seen enough
        leave_stdout()
        status = 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        leave_stdout()
        status = complain("cannot write what there is to show: there is no space left where it goes")
    sys.exit(status)
