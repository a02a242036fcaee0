"""What saving a checkpoint every so many steps costs, as a share of the time of training.

The seconds that ``fit`` spends between two steps on saving, over those of all of training, for each config:

    python -m benchmarks.checkpointing [--every 100] [--steps 2000] [--rounds 3]
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch

from callbacks import RunCheckpoints
from callbacks.contracts import RunTrainer
from training.launch import prepare
from training.messages import set_up_messages

CONFIGS = {
    "rnn_T5": ["--config=configs/rnn_T5.yaml"],
    "lstm_T5": ["--config=configs/lstm_T5.yaml"],
    "lstm_T20": ["--config=configs/lstm_T20.yaml"],
    "text_grimm": ["--config=configs/text_grimm.yaml", "--data.book=python_reference"],
    "gcn_cora": ["--config=configs/gcn_cora.yaml"],
    "shakespeare": ["--config=configs/shakespeare.yaml", "--data.book=python_reference"],
}


class TimedCheckpoints(RunCheckpoints):
    """Notes the seconds that saving takes."""

    seconds = 0.0

    def on_step_complete(self, trainer: RunTrainer, is_last: bool) -> None:
        start = time.perf_counter()
        super().on_step_complete(trainer, is_last)
        self.seconds += time.perf_counter() - start


def share_of_saving(args: list[str], every_n_steps: int, steps: int) -> tuple[float, float]:
    """The share of training in which checkpoints are saved, and the milliseconds of one."""
    with tempfile.TemporaryDirectory(dir=".") as root, contextlib.redirect_stdout(io.StringIO()):
        limits = [f"--trainer.max_steps={steps}", "--trainer.max_time=null", f"--trainer.default_root_dir={root}"]
        run = prepare(["fit", *args, *limits, f"--trainer.val_check_interval={steps}"])
        callbacks = [c for c in run.trainer.callbacks if not isinstance(c, RunCheckpoints)]
        timed = TimedCheckpoints(every_n_steps)
        run.trainer.callbacks = [*callbacks, timed]
        run.fit()
        (summary,) = Path(root).glob("*/version_0/summary.json")
        seconds = float(json.loads(summary.read_text())["seconds"])
    return timed.seconds / seconds, 1000 * timed.seconds / (steps // every_n_steps)


def main() -> None:
    parser = argparse.ArgumentParser(description="What saving checkpoints costs.")
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2000, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken (default: %(default)s)")
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), choices=CONFIGS, help="(default: all)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    set_up_messages()
    print(f"{torch.get_num_threads()} threads, a checkpoint every {args.every} of {args.steps} steps")
    print(f"{'config':12} {'share of training':>18} {'ms a checkpoint':>16}")
    for name in args.configs:
        rounds = [share_of_saving(CONFIGS[name], args.every, args.steps) for _ in range(args.rounds)]
        share, milliseconds = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"{name:12} {share:18.4f} {milliseconds:16.2f}", flush=True)


if __name__ == "__main__":
    main()
