"""The time of a training step with loggers beside TensorBoard and ``metrics.csv``, relative to one without. In turns:

- ours: ``python cli.py fit`` of the config;
- csv, wandb, mlflow: the same with Lightning's CSVLogger, WandbLogger (offline) or MLFlowLogger (in a folder);
- all: with all three.

    python -m benchmarks.loggers [--length 20] [--steps 1000] [--rounds 5]
"""

import os
from functools import partial

import numpy as np
import torch

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table
from benchmarks.rounds import take_turns

LOGGERS = {
    "ours": "",
    "csv": "{class_path: CSVLogger}",
    "wandb": "{class_path: WandbLogger, init_args: {offline: true}}",
    "mlflow": "{class_path: MLFlowLogger}",
}


def seconds_of_fit(length: int, steps: int, loggers: str) -> float:
    words = [f"--trainer.max_steps={steps}", f"--trainer.logger=[{loggers}]"]
    return float(fit(prepare_run(f"configs/lstm_T{length}.yaml", *words))["seconds"])


def measure(length: int, steps: int, rounds: int) -> dict[str, tuple[float, float]]:
    """For each choice of loggers the milliseconds of a step, and their ratio to ours: medians over the rounds."""
    choices = LOGGERS | {"all": ", ".join(filter(None, LOGGERS.values()))}
    contenders = {name: partial(seconds_of_fit, length, steps, loggers) for name, loggers in choices.items()}
    times = {name: 1000 / steps * np.array(values) for name, values in take_turns(contenders, rounds).items()}
    return {name: (float(np.median(ms)), float(np.median(ms / times["ours"]))) for name, ms in times.items()}


def main() -> None:
    parser = option_parser(__doc__, rounds=5)
    parser.add_argument("--steps", type=at_least(1), default=1000, help="optimizer steps of a round")
    parser.add_argument("--length", type=int, default=20, help="length T of the palindromes")
    args = parser.parse_args()
    os.environ["WANDB_SILENT"] = "true"
    print(f"{torch.get_num_threads()} threads, {args.steps} steps, medians of {args.rounds} rounds, ms a step")
    results = measure(args.length, args.steps, args.rounds)
    rows = ((name, *values) for name, values in results.items())
    print_table({"loggers": "s", "ms": ".3f", "ratio": ".3f"}, rows, args.output_dir, "loggers")


if __name__ == "__main__":
    main()
