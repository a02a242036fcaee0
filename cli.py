"""Palimpsest: recurrent networks that remember. The one entry point; ``python cli.py --help`` lists the commands.

Heavy libraries are imported only by the commands that need them.
"""

import codecs
import errno
import io
import locale
import os
import signal
import sys
from importlib import import_module

from training.terminal import show_threads_on_sigquit, survive_lost_terminal

HELP = """\
usage: python cli.py COMMAND [--config FILE] [--key value ...]

Recurrent networks that remember: train them, test them, and see how they do it.

commands:
  fit         train a model, keep its checkpoints and curves, and test the best
  validate    evaluate a checkpoint on the validation split
  test        evaluate a checkpoint on the test split
  predict     show what a checkpoint predicts for the first items of the test split
  generate    write text with a trained model
  export      write a trained model as ONNX or safetensors
  sweep       train once for each combination of a grid's values, or search for the best
  figure      draw the results of sweeps
  curves      draw loss and accuracy of runs against optimizer steps
  text        measure a text model: loss against context, copying, spelling, beams
  gradients   show how far back in time the gradient of the loss reaches
  attractors  show how a checkpoint keeps the first digit: its states as attractors
  patterns    test networks on palindromes whose digits repeat, and on adversaries
  confusions  show which digits a checkpoint takes for which
  automaton   read a network with a stack as an automaton, and try it on all short strings
  certify     prove that a checkpoint predicts the last digit of every palindrome, or reverses every string
  longest     show the longest palindromes that runs with a curriculum have mastered
  hops        show how many updates a message needs from one node of a graph to another
  report      rewrite the pages with results and their figures from docs/results

start here:
  python cli.py fit --config configs/lstm_T20.yaml                    train
  tensorboard --logdir runs                                           watch
  python cli.py fit --config configs/lstm_T20.yaml --ckpt_path last   resume it after a stop
  python cli.py test --config configs/lstm_T20.yaml --ckpt_path best  test it again
  python cli.py attractors --ckpt_path runs/lstm_T20                  look inside
  python cli.py fit --config configs/text_grimm.yaml                  train on a book
  python cli.py generate --ckpt_path runs/text_grimm --tau 1          write
  python cli.py fit --config configs/gcn_cora.yaml                    classify the nodes of a graph

python cli.py COMMAND --help lists all keys of a command."""

EXPERIMENTS = (
    *("generate", "export", "sweep", "figure", "curves", "text"),
    *("gradients", "attractors", "patterns", "confusions", "automaton", "certify", "longest", "hops", "report"),
)
"""Commands, each a function in a module of ``experiments``."""

MODULES = {name: name for name in EXPERIMENTS} | {"figure": "plot_command", "gradients": "grads_over_time"}

COMMANDS = ("fit", "validate", "test", "predict", *EXPERIMENTS)


def main(args: list[str]) -> int:
    """Run one command. Returns the exit status: 0, 2 for an error that a person can correct, 128 + n after signal n."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if args[0] not in COMMANDS:
        return complain(f"there is no command {args[0]!r}; it is one of {', '.join(COMMANDS)}")
    from training.errors import UserError
    from training.messages import ignore_library_warnings

    try:
        ignore_library_warnings()
        return run_experiment(*args) if args[0] in EXPERIMENTS else run(args)
    except UserError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        print("stopped" if args[0] in EXPERIMENTS else "stopped before it began", file=sys.stderr)
        return 130


def run_experiment(name: str, *args: str) -> int:
    from experiments.command import run_command
    from training.messages import set_up_messages

    set_up_messages()
    module = import_module(f"experiments.{MODULES[name]}")
    return run_command(getattr(module, name), module.EXAMPLE, list(args))


def run(args: list[str]) -> int:
    from training.processes import LostProcess, is_rank_zero
    from training.signals import AbortedRun, InterruptedRun, SignalListener, report_stop

    listener = SignalListener()
    try:
        with listener.listening():
            listener.raises = False
            from training.launch import prepare

            listener.raises = True
            getattr(prepare(args, listener), args[0])()
    except (InterruptedRun, AbortedRun) as stopped:
        report_stop(stopped)
        return 128 + stopped.signum
    except LostProcess as lost:
        if is_rank_zero():
            print(lost, file=sys.stderr)
        return 1
    return 0


def complain(message: str) -> int:
    from training.processes import is_rank_zero

    if is_rank_zero():  # every process finds the same error
        print(f"error: {message}", file=sys.stderr)
    return 2


def leave_stdout() -> None:
    """Discard what is still buffered, so that Python does not try to write it when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def use_utf8() -> None:
    """Read and write UTF-8, whatever the locale. A terminal shows what it lacks as escapes, and never half a text."""
    terminal = getattr(sys.stdout, "encoding", None) or locale.getencoding()
    if not sys.flags.utf8_mode and codecs.lookup(locale.getencoding()).name != "utf-8":
        # Files, their names and arguments follow the locale, which is fixed when Python starts.
        environment = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": f"{terminal}:backslashreplace"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    # A Slurm job gets SIGUSR1 when its time is nearly up. It stays pending until a listener exists.
    # Commands without one have nothing to save.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    use_utf8()
    show_threads_on_sigquit()
    survive_lost_terminal()
    try:
        status = main(sys.argv[1:])
        if sys.stdout is not None:  # it is None if stdout was closed from the start
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as a pager or head, has closed the pipe
        leave_stdout()
        status = 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        leave_stdout()
        status = complain("cannot write the output: no space is left on its device")
    sys.exit(status)
