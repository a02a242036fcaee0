"""Which recurrent networks learn to remember the first digit in a fixed number of steps, for each length."""

from pathlib import Path
from typing import Any

from experiments.plotting import COLOURS, PAGE_WIDTH, new_figure, save_figure
from experiments.runs import select
from experiments.tables import Rows, column, filter_rows, values_of

NETWORKS = {
    "rnn": "vanilla RNN",
    "rnn, orthogonal": "vanilla RNN, orthogonal weights",
    "irnn": "IRNN",
    "exprnn": "expRNN",
    "lstm": "LSTM",
    "lstm, orthogonal": "LSTM, orthogonal weights, forget bias 3",
    "gru": "GRU (torch.nn)",
    "minlstm": "minLSTM",
}


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run. A network with torch's default weights has no addition to its name."""
    return [
        {"network": run["model.network"] + (", orthogonal" if run.get("model.initialization") == "orthogonal" else "")}
        | select(run, "length", "seed", "test_accuracy")
        | {"steps": int(run["steps"])}
        for run in results
    ]


def draw(rows: Rows, path: Path) -> None:
    """A panel for each length: a mark for each run, at its test accuracy."""
    networks = [name for name in NETWORKS if filter_rows(rows, network=name)]
    lengths = values_of(rows, "length")
    figure, grid = new_figure(1, len(lengths), PAGE_WIDTH, 0.8 + 0.2 * len(networks), sharey=True, squeeze=False)
    for axes, length in zip(grid[0], lengths, strict=True):
        for y, network in enumerate(networks):
            values = column(filter_rows(rows, network=network, length=length), "test_accuracy")
            offsets = [y + 0.2 * (k - (len(values) - 1) / 2) for k in range(len(values))]  # so that none hides another
            gated = "lstm" in network or network == "gru"
            if values:  # the layout fails with an empty line that is not clipped
                axes.plot(values, offsets, "o", color=COLOURS[gated], markersize=3, clip_on=False)
        axes.axvline(0.1, color="#888888", linewidth=0.6, linestyle=":")
        axes.set(xlabel="test accuracy", xlim=(0, 1), ylim=(len(networks) - 0.4, -0.6))
        axes.set_title(f"T = {length}", loc="left")
    grid[0, 0].set_yticks(range(len(networks)), [NETWORKS[name] for name in networks])
    save_figure(figure, path)
