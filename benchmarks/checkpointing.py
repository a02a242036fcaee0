"""The share of training time that a checkpoint every 100 steps takes, for each config.

python -m benchmarks.checkpointing [--steps 2000] [--rounds 3]
"""

import statistics
import tempfile

import torch

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table
from benchmarks.rounds import seconds_of
from callbacks import RunCheckpoints
from callbacks.contracts import RunTrainer

EVERY = 100
BOOK = ["--data.book=python_reference"]
CONFIGS = {"rnn_T5": [], "lstm_T5": [], "lstm_T20": [], "text_grimm": BOOK, "gcn_cora": [], "shakespeare": BOOK}
"""The arguments that are added to each config."""


class TimedCheckpoints(RunCheckpoints):
    """Adds up the seconds that saving takes."""

    seconds = 0.0

    def on_step_complete(self, trainer: RunTrainer, is_last: bool) -> None:
        self.seconds += seconds_of(lambda: super(TimedCheckpoints, self).on_step_complete(trainer, is_last))


def cost_of_saving(config: str, steps: int) -> tuple[float, float]:
    """The share of training time in which checkpoints are saved, and the milliseconds of one checkpoint."""
    with tempfile.TemporaryDirectory(dir=".") as root:
        limits = (f"--trainer.max_steps={steps}", "--trainer.max_time=null", f"--trainer.val_check_interval={steps}")
        run = prepare_run(f"configs/{config}.yaml", *CONFIGS[config], *limits, f"--trainer.default_root_dir={root}")
        timed = TimedCheckpoints(EVERY)
        run.trainer.callbacks = [*(c for c in run.trainer.callbacks if not isinstance(c, RunCheckpoints)), timed]
        seconds = fit(run)["seconds"]
    return timed.seconds / seconds, 1000 * timed.seconds / (steps // EVERY)


def main() -> None:
    parser = option_parser(__doc__, rounds=3)
    parser.add_argument("--steps", type=at_least(EVERY), default=2000, help="steps of a round")
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), choices=CONFIGS, help="configs to train")
    args = parser.parse_args()

    def row(config: str) -> tuple[float | str, ...]:
        rounds = [cost_of_saving(config, args.steps) for _ in range(args.rounds)]
        return config, *map(statistics.median, zip(*rounds, strict=True))

    print(f"{torch.get_num_threads()} threads, a checkpoint every {EVERY} of {args.steps} steps")
    columns = {f"{'config':>12}": "", "share of training": ".4f", "ms a checkpoint": ".2f"}
    print_table(columns, map(row, args.configs), args.output_dir, "checkpointing")


if __name__ == "__main__":
    main()
