"""A resumed run with changed settings takes the same steps as a loop of torch alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, StepLR

import cli
from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from models.classifier import cross_entropy
from tests.conftest import Command
from training.changes import keep_state
from training.checkpoint_file import read_checkpoint

FIRST, SECOND = 5, 6
"""Steps before and after the change."""


def by_hand(former: type[Optimizer], before: dict[str, Any], current: type[Optimizer], now: dict[str, Any],
            schedule: tuple[type[LRScheduler], dict[str, Any]] | None, keeps: bool) -> dict[str, torch.Tensor]:  # fmt: skip
    """The weights after both parts, in which the optimizer's moments go on if ``keeps``."""
    torch.manual_seed(42)  # as the command line does
    data = PalindromeDataModule(length=6, batch_size=16, seed=42)
    model = PalindromeClassifier(hidden_size=8)
    batches = iter(data.train_dataloader())
    optimizer = former(model.parameters(), **before)
    lr_scheduler: LRScheduler | None = None
    for step in range(FIRST + SECOND):
        if step == FIRST:
            states = optimizer.state
            optimizer = current(model.parameters(), **now)
            if schedule is not None:
                lr_scheduler = schedule[0](optimizer, **schedule[1])
                for _ in range(step):
                    lr_scheduler.step()
            for parameter in model.parameters() if keeps else ():
                optimizer.state[parameter] = states[parameter]
                if "momentum" in now and isinstance(optimizer, RMSprop):
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        digits, target = next(batches)
        optimizer.zero_grad()
        cross_entropy(model(digits)[:, -1], target).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        if lr_scheduler is not None:
            lr_scheduler.step()
    return {name: weight.detach() for name, weight in model.state_dict().items()}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(
    ("former", "before", "current", "now", "schedule", "keeps"),
    [
        (RMSprop, {"lr": 0.001}, RMSprop, {"lr": 0.01}, None, True),
        (RMSprop, {"lr": 0.001}, RMSprop, {"lr": 0.001, "momentum": 0.9}, None, True),
        (RMSprop, {"lr": 0.01}, RMSprop, {"lr": 0.01}, (StepLR, {"step_size": 4, "gamma": 0.5}), True),
        (Adam, {"lr": 0.01}, AdamW, {"lr": 0.01, "weight_decay": 0.1}, None, True),
        (Adam, {"lr": 0.01}, RMSprop, {"lr": 0.01}, None, False),
        (RMSprop, {"lr": 0.01}, Adam, {"lr": 0.01}, (CosineAnnealingLR, {"T_max": 20}), False),
        (RMSprop, {"lr": 0.001, "momentum": 0.9}, SGD, {"lr": 0.01, "momentum": 0.9}, None, False),
        (RMSprop, {"lr": 0.001}, RMSprop, {"lr": 0.001, "momentum": 0.9}, (StepLR, {"step_size": 4}), True),
        (SGD, {"lr": 0.1, "momentum": 0.9}, SGD, {"lr": 0.05, "momentum": 0.5}, (ExponentialLR, {"gamma": 0.9}), True),
    ],
)
def test_it_goes_on_as_by_hand(
    former: type[Optimizer], before: dict[str, Any], current: type[Optimizer], now: dict[str, Any],
    schedule: tuple[type[LRScheduler], dict[str, Any]] | None, keeps: bool, command: Command, tmp_path: Path,
) -> None:  # fmt: skip
    def words(optimizer: type[Optimizer], options: dict[str, Any]) -> list[str]:
        return [f"--model.optimizer=torch.optim.{optimizer.__name__}"] + [
            f"--model.optimizer.{key}={value}" for key, value in options.items()
        ]

    others = ["--trainer.val_check_interval=100", "--trainer.limit_train_batches=100"]
    assert command("fit", f"--trainer.max_steps={FIRST}", *words(former, before), *others) == 0
    changed = words(current, now)
    if schedule is not None:
        changed += [f"--model.lr_scheduler=torch.optim.lr_scheduler.{schedule[0].__name__}"]
        changed += [f"--model.lr_scheduler.{key}={value}" for key, value in schedule[1].items()]
    run = tmp_path / "runs" / "small" / "version_0"
    steps = f"--trainer.max_steps={FIRST + SECOND}"
    assert cli.main(["fit", f"--ckpt_path={run}", steps, *changed]) == 2
    assert cli.main(["fit", f"--ckpt_path={run}", steps, *changed, "--allow_changes=true"]) == 0
    ours = read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]
    for name, weight in by_hand(former, before, current, now, schedule, keeps).items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-5, atol=1e-6)


def test_changes_are_said_stored_and_marked(
    run_dir: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--trainer.max_steps=9", "--model.optimizer.lr=0.5", "--trainer.gradient_clip_val=1.5"]
    assert cli.main(["fit", f"--ckpt_path={run_dir}", *words]) == 2
    assert "--allow_changes true" in capsys.readouterr().err
    with caplog.at_level("INFO"):
        assert cli.main(["fit", f"--ckpt_path={run_dir}", *words, "--allow_changes=true"]) == 0
    line = "model.optimizer.lr 0.001 -> 0.5; trainer.gradient_clip_val 10.0 -> 1.5"
    assert line in caplog.text
    path = run_dir / "config.resume_7.yaml"
    assert line in path.read_text().splitlines()[0]
    config = yaml.safe_load(path.read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.5 and config["allow_changes"] is False
    (event,) = EventAccumulator(str(run_dir)).Reload().Tensors("changes/text_summary")
    assert event.step == 7 and line in event.tensor_proto.string_val[0].decode()
    # From then on these are the run's settings.
    assert cli.main(["fit", f"--ckpt_path={run_dir}", "--trainer.max_steps=11"]) == 0
    recorded = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["config"]
    assert recorded["trainer"]["gradient_clip_val"] == 1.5


def test_nothing_changed_is_an_ordinary_resume(command: Command, tmp_path: Path) -> None:
    for root, words in (("whole", []), ("parts", ["--ckpt_path=auto", "--allow_changes=true"])):
        for steps in (4, 9) if words else (9,):
            place = f"--trainer.default_root_dir={tmp_path / root}"
            assert command("fit", f"--trainer.max_steps={steps}", place, *words) == 0
    whole, parts = (
        read_checkpoint(tmp_path / root / "small" / "version_0" / "checkpoints" / "last.ckpt")["state_dict"]
        for root in ("whole", "parts")
    )
    assert all(torch.equal(parts[name], weight) for name, weight in whole.items())


def test_dropout_and_precision_of_a_text_model(text_run_dir: Path) -> None:
    words = [
        "--trainer.max_steps=9",
        "--model.dropout=0",
        "--model.dropout_samples=1",
        "--trainer.precision=auto",  # bfloat16 where the processor has it
    ]
    assert cli.main(["fit", f"--ckpt_path={text_run_dir}", *words, "--allow_changes=true"]) == 0
    last = read_checkpoint(text_run_dir / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 9 and last["config"]["model"]["init_args"]["dropout"] == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--model.hidden_size=9"], "hidden_size = 8"),
        (["--model.initialization=identity", "--model.network=rnn"], "initialization = orthogonal"),
        (["--data.length=9"], "length = 6"),
        (["--data.batch_size=4"], "batch_size = 16"),
        (["--model.optimizer.lr=0.5", "--model.network=rnn"], "network = lstm"),
        (["--trainer.callbacks+=callbacks.LengthCurriculum"], "callbacks"),
    ],
)
def test_what_cannot_change(words: list[str], part: str, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert cli.main(["fit", f"--ckpt_path={run_dir}", *words, "--allow_changes=true"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and part in error and "--allow_changes" not in error, error
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_it_needs_a_run(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", "--allow_changes=true") == 2
    assert "--ckpt_path" in capsys.readouterr().err


def test_a_change_that_was_not_saved_is_forgotten(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was killed before its next checkpoint resumes with the settings in the checkpoint."""
    changed = ["--model.optimizer.lr=0.5", "--allow_changes=true", "--trainer.max_steps=9"]
    crash = '{"class_path": "tests.training.helpers.CrashAt", "init_args": {"step": 8}}'
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(
            [
                "fit",
                f"--ckpt_path={run_dir}",
                *changed,
                "--trainer.val_check_interval=100",
                f"--trainer.callbacks={crash}",
            ]
        )
    assert read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["global_step"] == 7
    assert cli.main(["fit", f"--ckpt_path={run_dir}", "--trainer.max_steps=9"]) == 0
    recorded = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["config"]
    assert recorded["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.001


def test_lbfgs(run_dir: Path) -> None:
    words = ["--model.optimizer=torch.optim.LBFGS", "--model.optimizer.lr=0.1", "--allow_changes=true"]
    words += ["--trainer.gradient_clip_val=null"]
    assert cli.main(["fit", f"--ckpt_path={run_dir}", *words, "--trainer.max_steps=9"]) == 0
    assert (
        cli.main(
            [
                "fit",
                f"--ckpt_path={run_dir}",
                "--trainer.max_steps=11",
                "--model.optimizer.lr=0.2",
                "--allow_changes=true",
            ]
        )
        == 0
    )


def test_a_schedule_that_is_over(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    words = ["--model.lr_scheduler=torch.optim.lr_scheduler.OneCycleLR", "--model.lr_scheduler.max_lr=0.1"]
    words += ["--model.lr_scheduler.total_steps=5", "--trainer.max_steps=9", "--allow_changes=true"]
    assert cli.main(["fit", f"--ckpt_path={run_dir}", *words]) == 2
    assert "OneCycleLR" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_a_parameter_without_state_starts_afresh() -> None:
    """One that had no gradient so far."""
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    former = Adam([used, unused], lr=0.1)
    used.grad = torch.ones(2)
    former.step()
    current = Adam([used, unused], lr=0.2, amsgrad=True)
    keep_state(current, former.state_dict())
    assert current.state[used]["exp_avg"].equal(former.state[used]["exp_avg"])
    assert current.state[used]["max_exp_avg_sq"].equal(torch.zeros(2)) and not current.state[unused]
    assert current.param_groups[0]["lr"] == 0.2 and torch.allclose(used, torch.tensor(0.9))
