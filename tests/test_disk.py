"""A full or read-only disk ends a run in one line; the run resumes exactly when there is space again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.test_resume import TRAIN_METRICS, VAL_METRICS, assert_same, rows_of, run_of, scalars_of, state_of


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The root of a small file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system takes root's rights")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("how", "reason"), [("full", "No space left on device"), ("read-only", "Read-only file system")]
)
def test_a_run_survives_a_full_disk(
    how: str, reason: str, disk: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--trainer.max_steps=60", "--trainer.log_every_n_steps=1")
    assert command("fit", *args, f"--trainer.default_root_dir={tmp_path / 'whole'}") == 0
    spoil = (
        '--trainer.callbacks=[{"class_path": "tests.training.helpers.SpoilDiskAt", "init_args": '
        f'{{"step": 23, "folder": "{disk}", "how": "{how}"}}}}]'
    )
    root = f"--trainer.default_root_dir={disk / 'runs'}"
    capsys.readouterr()
    assert command("fit", *args, root, spoil) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line and line.startswith("error: cannot write") and line.endswith("is intact")
    if how == "full":
        (disk / "ballast").unlink()
    else:
        subprocess.run(["umount", str(run_of(disk / "runs") / "checkpoints")], check=True)
    assert command("fit", *args, root, "--ckpt_path=last") == 0
    whole, parts = run_of(tmp_path / "whole"), run_of(disk / "runs")
    assert_same(state_of(parts), state_of(whole))
    for names in (TRAIN_METRICS, VAL_METRICS):
        assert rows_of(parts, names) == rows_of(whole, names)
    for name in (*TRAIN_METRICS, *VAL_METRICS):
        assert scalars_of(parts, name) == scalars_of(whole, name)
