"""The notebook runs from its first to its last cell, and a run in a notebook can be interrupted and resumed there."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.training.test_interruption import disturbed_by

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def execute(notebook: Any, folder: Path, allow_errors: bool = False) -> None:
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", allow_errors=allow_errors)
    client.execute(cwd=str(folder))


def shown(cell: Any) -> str:
    """All text that a cell shows."""
    texts = [
        o.get("text") or o.get("data", {}).get("text/plain") or "\n".join(o.get("traceback", [])) for o in cell.outputs
    ]
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(texts))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, 4).cells:
        assert cell.cell_type != "code" or (cell.outputs == [] and cell.execution_count is None)


@pytest.mark.slow
def test_the_first_hour(tmp_path: Path) -> None:
    for name in ("cli.py", "callbacks", "configs", "datamodules", "experiments", "models", "training"):
        (tmp_path / name).symlink_to(ROOT / name)  # its runs are written beside cli.py
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.read(ROOT / "notebooks" / "first_hour.ipynb", 4)
    execute(notebook, tmp_path / "notebooks")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    trained = [cell for cell in code if "fit(" in cell.source]
    assert [re.findall(r"(\d+/\d+)", shown(cell)) for cell in trained] == [["500/500"], ["500/500"], ["200/200"]]
    figures = [o for cell in code for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(figures) == 3
    (asked,) = (cell for cell in code if "typed =" in cell.source)
    asked = next(shown(cell) for cell in code if "typed" in cell.source)
    assert "prediction: 6" in asked  # the first digit that is typed
    assert "Traceback" not in "".join(map(shown, code)) and "Warning" not in "".join(map(shown, code))


@pytest.mark.slow
def test_a_run_in_a_notebook_is_interrupted_and_resumed(config: Path, tmp_path: Path) -> None:
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom training.launch import prepare"
    words = f'"fit", "--config", {str(config)!r}, "--trainer.default_root_dir", {str(tmp_path / "runs")!r}'
    cells = [
        f"{start}\nwords = [{words}]",
        f"import signal\nbefore = signal.getsignal(signal.SIGINT)\nprepare([*words, {disturbed_by('SignalAt', step=5)!r}]).fit()",
        "assert signal.getsignal(signal.SIGINT) is before\nprepare([*words, '--ckpt_path', 'last']).fit()",
        "prepare([*words, '--data.length', '-3'])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    execute(notebook, tmp_path, allow_errors=True)
    _, interrupted, resumed, wrong = map(shown, notebook.cells)
    assert interrupted.rstrip().splitlines()[-1].startswith("stopped by SIGINT after step 5; resume with")
    assert "5/7" in interrupted and "Traceback" not in interrupted
    assert "7/7" in resumed and "The run is in" in resumed
    assert wrong.startswith("error: ") and len(wrong.strip().splitlines()) == 1
