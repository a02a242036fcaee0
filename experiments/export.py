"""Writes a trained model in a format of other programs: ONNX or safetensors."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from torch import nn

from experiments.tables import cannot_write, make_folder
from models.networks.build import build_palindrome_network, build_text_network
from training.errors import UserError
from training.exported import needs_package, write_config, write_exported
from training.loading import check_finite, load_weights, read_model, vocabulary_of
from training.run_folder import run_folder_of

EXAMPLE = "python cli.py export --ckpt_path runs/text_grimm --format onnx"


def export(ckpt_path: str, format: Literal["onnx", "safetensors"], output_dir: str | None = None) -> None:
    """Write a trained model for other programs.

    The folder gets the weights, config.json (the configuration, and the characters of a text), and README.md, the model
    card. onnx: a recurrent network as a graph, with the state as input and output, for any batch size and length.
    safetensors: the weights of any model; TextModel.load and generate read them, too.

    Args:
        ckpt_path: checkpoint, run folder or experiment folder (of a folder the best checkpoint).
        format: onnx or safetensors.
        output_dir: a folder that does not exist yet; by default named like the format, in the run's folder.
    """
    path, checkpoint, arguments = read_model(ckpt_path)
    run = run_folder_of(path)
    folder = Path(output_dir) if output_dir is not None else (path.parent if run is None else run.path) / format
    if folder.exists():
        raise UserError(f"{folder} exists already; move it away, or choose another folder with --output_dir")
    facts = {
        "model": checkpoint["config"]["model"]["class_path"],
        "step": checkpoint["global_step"],
        "checkpoint": str(path),
    }
    vocabulary = vocabulary_of(checkpoint)
    if vocabulary is not None:
        facts["characters"] = vocabulary.characters
    make_folder(folder.parent)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")  # everything is there, or nothing
    try:
        temporary.mkdir()
        if format == "onnx":
            export_onnx(path, checkpoint, arguments, facts, temporary)
        else:
            check_finite(path, checkpoint)
            write_exported(checkpoint, temporary)
        summary = None if run is None else read_summary(run.path / "summary.json")
        (temporary / "README.md").write_text(model_card(format, checkpoint, facts, summary), encoding="utf-8")
        temporary.rename(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"Wrote {', '.join(sorted(written.name for written in folder.iterdir()))} to {folder}")


def export_onnx(
    path: Path, checkpoint: dict[str, Any], arguments: dict[str, Any], facts: dict[str, Any], folder: Path
) -> None:
    """Write the network as a graph. Errors as for ``write_onnx`` and ``load_weights``, or onnx is not installed."""
    try:
        from experiments.onnx_graph import write_onnx
    except ModuleNotFoundError as error:
        raise needs_package("onnx") from error
    name = facts["model"].rpartition(".")[2]
    network: nn.Module
    if name == "TextModel" and "characters" in facts:
        network = build_text_network(
            **arguments | {"vocab_size": len(facts["characters"]), "initialization": "uniform"}
        )
    elif name == "PalindromeClassifier":
        network = build_palindrome_network(**arguments | {"backward": "bptt", "fused": False})
    else:
        raise UserError(f"{path} has {name}, which is no recurrent network over one sequence; use --format safetensors")
    load_weights(network, path, checkpoint)
    write_onnx(network, facts, folder / "model.onnx")
    write_config(checkpoint, folder)


def read_summary(path: Path) -> dict[str, Any] | None:
    """The ``summary.json`` of a run; ``None`` if it has none yet."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) else None


def model_card(format: str, checkpoint: dict[str, Any], facts: dict[str, Any], summary: dict[str, Any] | None) -> str:
    """What the model is, what it was trained on, how well it predicts, and how to load it."""
    name = facts["model"].rpartition(".")[2]
    data = checkpoint["config"]["data"]
    subject = data.get("init_args", {}).get("book") or data["class_path"].rpartition(".")[2]
    lines = [
        f"# {name}, trained on {subject}",
        "",
        f"A model of Palimpsest after {facts['step']:,} optimizer steps: the checkpoint `{facts['checkpoint']}`.",
        "",
        "## Arguments",
        "",
        "```json",
        json.dumps({"model": checkpoint["config"]["model"], "data": data}, indent=2, ensure_ascii=False),
        "```",
        "",
        "## Metrics",
        "",
    ]
    metrics = (summary or {}).get("metrics", {})
    if metrics:
        lines += ["From the run's `summary.json`, at its end; `test/` is that of the best checkpoint.", ""]
        lines += ["| metric | value |", "|---|---|"]
        lines += [f"| {metric} | {value:.6g} |" for metric, value in metrics.items()]
    else:
        lines += ["There is no `summary.json` of the run, so none are known."]
    lines += ["", "## Use", "", "```python", *USE[format].format(name=name).splitlines(), "```", ""]
    return "\n".join(lines)


USE = {
    "safetensors": """\
from models import {name}

model = {name}.load("the/path/of/this/folder")
""",
    "onnx": """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
states = [value for value in session.get_inputs() if value.name != "ids"]
inputs = {{"ids": np.zeros((1, 1), dtype=np.int64)}}  # (batch, time)
inputs |= {{value.name: np.zeros((value.shape[0], 1, value.shape[2]), dtype=np.float32) for value in states}}
logits, *states = session.run(None, inputs)  # the next call continues from these states
""",
}
"""How to load each format."""
