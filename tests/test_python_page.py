"""All code of docs/python.md runs as it is written, with models that were trained for a few steps."""

import os
import re
from pathlib import Path

import pytest

import cli
from tests.conftest import write_text_config
from tests.forked import run_python

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "cli.py").symlink_to(ROOT / "cli.py")
    monkeypatch.chdir(tmp_path)
    write_text_config(tmp_path).rename("text_grimm.yaml")
    few = ["--trainer.max_steps=20", "--trainer.val_check_interval=10"]
    assert cli.main(["fit", "--config=text_grimm.yaml", *few]) == 0
    for name, words in (("lstm_T20", ["--data.num_val=20", "--data.num_test=20"]), ("gcn_karate", [])):
        assert cli.main(["fit", f"--config=configs/{name}.yaml", *few, *words]) == 0
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    Path("page.py").write_text(code, encoding="utf-8")
    done = run_python("page.py", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The king") and "torch.Size([13, 128]) torch.Size([13, 128])" in done.stdout
    for line in re.findall(r"(?m)^python cli\.py (export .*)$", PAGE):
        assert cli.main(line.split()) == 0
