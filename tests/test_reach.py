"""What the configs promise, they keep: the best checkpoint names the last digit of palindromes it never saw."""

import json
from pathlib import Path

import pytest

import cli
from tests.test_configs import CONFIGS


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accuracy_of_every_config(path: Path, tmp_path: Path) -> None:
    assert cli.main(["fit", "--config", str(path), f"--trainer.default_root_dir={tmp_path}"]) == 0
    summary = json.loads((tmp_path / path.stem / "version_0" / "summary.json").read_text())
    assert summary["metrics"]["test/accuracy"] >= 0.999
