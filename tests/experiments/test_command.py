"""Studies are commands that start fast."""

import subprocess
import sys
from pathlib import Path

import pytest

import cli


@pytest.mark.parametrize("study", cli.STUDIES)
def test_a_study_imports_no_lightning(study: str) -> None:
    code = f"import sys, experiments.{cli.STUDIES[study]}; sys.exit(any('lightning' in name for name in sys.modules))"
    root = Path(__file__).parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
