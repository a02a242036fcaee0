"""A terminal that is not UTF-8 gets readable output, and never half a text; files are UTF-8 all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from tests.conftest import write_text_config

ROOT = Path(__file__).parent.parent
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*words: str, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    command = [sys.executable, str(ROOT / "cli.py"), *words]
    return subprocess.run(command, env=inherited | environment, cwd=cwd, capture_output=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a model of a text that begins each line with a character beyond the first 65,536, and has others."""
    path = tmp_path_factory.mktemp("terminal")
    config = write_text_config(path)
    book = (path / "book.txt").read_text(encoding="utf-8").replace("The", "😀 Ἡ")
    (path / "βιβλίο.txt").write_text(book, encoding="utf-8")
    config.write_text(config.read_text().replace("book.txt", "βιβλίο.txt"), encoding="utf-8")
    assert cli.main(["fit", "--config", str(config), f"--trainer.default_root_dir={path / 'runs'}"]) == 0
    return path


@pytest.mark.slow
@pytest.mark.parametrize("environment", [C_LOCALE, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_a_text_is_shown_whole(environment: dict[str, str], folder: Path) -> None:
    words = ("generate", "--ckpt_path=runs/text", "--prompt=😀 Ἡ", "--length=40", "--seed=3")
    expected = run(*words, environment={"PYTHONUTF8": "1"}, cwd=folder)
    done = run(*words, environment=environment, cwd=folder)
    assert (expected.returncode, done.returncode, done.stderr) == (0, 0, b"")
    assert done.stdout.decode("unicode_escape") == expected.stdout.decode()
    as_json = run(*words, "--json", environment=environment, cwd=folder)
    assert json.loads(as_json.stdout.decode("latin-1"))["prompt"] == "😀 Ἡ"
    streamed = run(*words, "--stream", environment=environment, cwd=folder)
    assert streamed.stdout == done.stdout


@pytest.mark.slow
def test_files_are_utf8_in_the_c_locale(folder: Path) -> None:
    words = ("fit", "--config=text.yaml", "--trainer.default_root_dir=others")
    done = run(*words, environment=C_LOCALE, cwd=folder)
    assert done.returncode == 0, done.stderr
    (root,) = (folder / "others" / "text").iterdir()
    assert "βιβλίο" in (root / "config.yaml").read_text(encoding="utf-8")
    assert any("😀" in path.read_text(encoding="utf-8") for path in (root / "samples").iterdir())
    wrong = run("generate", "--ckpt_path=others/text", "--prompt=Ж", environment=C_LOCALE, cwd=folder)
    assert wrong.returncode == 2 and rb"'\u0416'" in wrong.stderr and wrong.stderr.count(b"\n") == 1
