"""The lowest validation loss of text models against optimizer, dropout and embedding (question 2.1a)."""

from pathlib import Path
from typing import Any

from experiments.plotting import COLOURS, PAGE_WIDTH, mark_values, new_figure, save_figure
from experiments.runs import read_metric, select
from experiments.tables import Rows, column, filter_rows


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run: its choices, its lowest validation loss, the step of it, and the test loss of that step."""
    rows: Rows = []
    for result in results:
        losses = read_metric(result["folder"], "val/loss")
        step, lowest = min(losses, key=lambda logged: logged[1])
        optimizer = result.get("model.optimizer") or result["model.optimizer.class_path"]
        rows.append(
            {"optimizer": optimizer.rpartition("optim.")[2].partition("(")[0]}
            | {"dropout": float(result["model.dropout"]), "embedding": embedding_of(result)}
            | select(result, "seed")
            | {"val_loss": lowest, "step": step, "val_loss_end": losses[-1][1]}
            | select(result, "test_loss")
        )
    return rows


def embedding_of(result: dict[str, Any]) -> str:
    """The number of dimensions in which characters are embedded, or ``one-hot``."""
    size = result["model.embedding_size"]
    return str(size) if size not in ("", "None", None) else "one-hot"


def draw(rows: Rows, path: Path) -> None:
    """A line for each choice with the lowest losses: all seeds, and the mean with its 95 % interval."""
    choices = list(dict.fromkeys((row["optimizer"], row["dropout"], row["embedding"]) for row in rows))
    figure, axes = new_figure(1, 1, PAGE_WIDTH, 0.7 + 0.3 * len(choices))
    for y, (optimizer, dropout, embedding) in enumerate(choices):
        own = filter_rows(rows, optimizer=optimizer, dropout=dropout, embedding=embedding)
        mark_values(axes, y, column(own, "val_loss"), COLOURS[0], 1, ".3f")
    axes.set(xlabel="lowest validation loss (nats per character)", ylim=(len(choices) - 0.4, -0.5))
    is_one = len({embedding for _, _, embedding in choices}) == 1
    names = [
        f"{optimizer}, dropout {dropout:g}" + ("" if is_one else f", {label(embedding)}")
        for optimizer, dropout, embedding in choices
    ]
    axes.set_yticks(range(len(choices)), names)
    save_figure(figure, path)


def label(embedding: str) -> str:
    """How an embedding is named in the figure."""
    return embedding if embedding == "one-hot" else f"embedding of {embedding}"
