"""The examples of docs/extending.md run as they are written, with fewer steps."""

import os
import re
import shlex
from pathlib import Path

import pytest

from tests.forked import run_python
from training.run_folder import run_folders

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SHORTER = {"fit": ["--trainer.max_steps=40", "--trainer.val_check_interval=20"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's files, and those that a user of the project has beside them."""
    for name in ("cli.py", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    for content in re.findall(r"```(?:python|yaml)\n(# \S+\.(?:py|yaml)\n.*?)```", PAGE, re.DOTALL):
        (tmp_path / content.split()[1]).write_text(content)
    small = tmp_path / "small.yaml"
    small.write_text((ROOT / "configs" / "rnn_T5.yaml").read_text().replace("max_steps: 1000", "max_steps: 40"))
    study = tmp_path / "my_study.yaml"
    study.write_text(study.read_text().replace("configs/rnn_T5.yaml", "small.yaml"))
    (tmp_path / "my_book.txt").write_text("".join(f"It was the {i}. day of spring.\n" for i in range(300)))
    return tmp_path


def commands_below(heading: str) -> list[list[str]]:
    (section,) = re.findall(rf"(?m)^## {heading}$(.*?)(?=^## |\Z)", PAGE, re.DOTALL)
    lines = "".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL)).splitlines()
    return [shlex.split(line) for line in lines]


def done(heading: str, folder: Path) -> str:
    """What the section's commands say."""
    said = ""
    for python, program, *words in commands_below(heading):
        assert python == "python"
        words += SHORTER.get(words[0] if words else "", [])
        environment = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"}
        ended = run_python(program, *words, cwd=folder, environment=environment)
        assert ended.returncode == 0, ended.stderr
        said += ended.stdout
    return said


def test_a_network(folder: Path) -> None:
    said = done("A network", folder)
    assert "The model predicts the last digit of" in said and "input digits, the last digit, the prediction" in said


def test_a_callback(folder: Path) -> None:
    done("A callback", folder)
    (run,) = run_folders(folder / "runs" / "radius" / "rnn_T10")
    header, *rows = (line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines())
    place = header.index("spectral_radius")
    radii = [float(row[place]) for row in rows if row[place]]
    assert len(radii) == 2 and all(0.5 < radius < 2 for radius in radii)


def test_a_book(folder: Path) -> None:
    assert done("A book", folder).splitlines()[-1].strip()


@pytest.mark.slow
def test_a_study(folder: Path) -> None:
    lines = done("A study", folder).splitlines()[-2:]
    assert [line.split(" units: ")[0] for line in lines] == ["8", "32"]


def test_a_run_from_python(folder: Path) -> None:
    said = done("A run from Python", folder)
    assert "The run is in runs/my_run/version_0" in said
    assert 0.5 < float(said.splitlines()[-1].removeprefix("tensor(").rstrip(")")) <= 1
