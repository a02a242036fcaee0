"""Wrong arguments end in one line and exit status 2, and nothing is written."""

import os
import pickle
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch

import cli
from tests.conftest import Command
from training.checkpoint_file import read_checkpoint, write_checkpoint


def assert_refused(status: int, capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("error: ") and error.endswith("\n") and error.count("\n") == 1, error
    for part in parts:
        assert any(alternative in error for alternative in part.split("|")), error


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--ckpt_path=last"], ["--ckpt_path last", "runs/small", "fit"]),
        (["--ckpt_path=nowhere.ckpt"], ["nowhere.ckpt", "best", "last", "auto"]),
        (["--ckpt_path=https://example.org/a.ckpt"], ["https://example.org/a.ckpt"]),
        (["--data.length=1"], ["length", " 1", " 2"]),
        (["--data.batch_size=0"], ["batch_size", " 0", " 1"]),
        (["--data.length=x"], ["data.length", "int", " x"]),
        (["--data.lenth=5"], ["lenth"]),
        (["--modell.hidden_size=5"], ["--modell.hidden_size=5"]),
        (["--model.hidden_size=0"], ["hidden_size", " 0", " 1"]),
        (["--model.network=gru"], ["model.network", "'rnn'", "'lstm'", "gru"]),
        (["--model=models.Nothing"], ["models.Nothing"]),
        (["--model=nothing.Nothing"], ["nothing.Nothing", "No module named 'nothing'; put its folder into PYTHONPATH"]),
        (["--trainer.callbacks+", "Mine"], ["Mine is no known class; give its module, too: my_module.Mine"]),
        (["--trainer.callbacks+", "Timer"], ["Interval.step", "give it as text or a number"]),
        (["--model.lr_scheduler.gamma=0.9"], ["model.lr_scheduler", "no class", "'gamma'", "such as torch."]),
        (["--model.optimizer.gamma=0.9"], ["model.optimizer", "torch.optim.RMSprop has no argument 'gamma'"]),
        (["--model.optimizer.lr=fast"], ["model.optimizer", "lr", "fast"]),
        (["--trainer.callbacks", "Timer"], ["error: an argument is <Interval.step", "give it as text or a number"]),
        (["--trainer.max_steps=abc"], ["trainer.max_steps", "int", "abc"]),
        (["--trainer.max_steps=-5"], ["max_steps", "-5"]),
        (["--trainer.accelerator=tpu"], ["ModuleNotFoundError"]),
        (["--trainer.gradient_clip_val=-1"], ["trainer.gradient_clip_val", "-1", " 0"]),
        (["--trainer.log_every_n_steps=0"], ["trainer.log_every_n_steps", " 0", " 1"]),
        (["--trainer.accumulate_grad_batches=0"], ["trainer.accumulate_grad_batches", " 0", " 1"]),
        (["--trainer.check_val_every_n_epoch=0"], ["trainer.check_val_every_n_epoch", " 0", " 1"]),
        (["--trainer.val_check_interval=0"], ["trainer.val_check_interval", " 0"]),
        (["--trainer.check_val_every_n_epoch=1", "--trainer.val_check_interval=11"], ["val_check_interval", "11"]),
        (["--trainer.limit_val_batches=0.5"], ["limit_val_batches"]),
        (["--trainer.overfit_batches=1"], ["trainer.overfit_batches", " 1"]),
        (["--trainer.barebones=true"], ["trainer.barebones", "true"]),
        ([f"--trainer.default_root_dir={'a' * 300}"], ["aaa", "File name too long"]),
        (["--trainer.logger=false"], ["trainer.logger"]),
        (["--trainer.default_root_dir=null"], ["trainer.default_root_dir", "null"]),
        (["--model.num_classes=3"], ["--model.num_classes", "--data.num_classes"]),
        (["--data.init_args.seed", "3"], ["--data.seed", "--seed_everything"]),
        (["--data.length=8", "--data.batch_size=900000000000"], ["batch_size", "900000000000", "1073741824"]),
        ([f"--ckpt_path={'a' * 5000}"], ["name too long"]),
        (["--trainer.precision=17"], ["trainer.precision", "17"]),
        (["--model.optimizer=torch.optim.RMSprop", "--model.optimizer.lr=-1"], ["learning rate", "-1"]),
        (["--model.optimizer=torch.optim.RMSprop", "--model.optimizer.lrr=1"], ["lrr"]),
        (
            ["--model.lr_scheduler=pytorch_lightning.cli.ReduceLROnPlateau", "--model.lr_scheduler.monitor=val/loss"],
            ["ReduceLROnPlateau"],
        ),
        (["--seed_everything=-1"], ["seed_everything", "-1", " 0", "4294967295"]),
        (["--seed_everything=abc"], ["seed_everything", "int", "abc"]),
        (["--config=missing.yaml"], ["missing.yaml"]),
    ],
)
def test_wrong_arguments(
    args: list[str], parts: list[str], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(command("fit", *args), capsys, *parts)
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_missing_gpu_is_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status = command("fit", "--trainer.accelerator=gpu")
    assert_refused(status, capsys, "trainer.accelerator is gpu", "torch finds no GPU here; use cpu or auto")
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def function_for(argument: str) -> str:
    """A config with a function, which would be called, in the place of a class."""
    function = "{class_path: os.system, init_args: {command: touch ran}}"
    return f"model: {{class_path: models.PalindromeClassifier, init_args: {{{argument}: {function}}}}}\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("modell: {a: 1}\n", ["'modell.a'"]),
        ("model: {class_path: models.PalindromeClassifier, init_args: {hidden: 3}}\n", ["'hidden' is not accepted"]),
        ("model: {class_path: models.Nothing}\n", ["models.Nothing"]),
        ("model: [1, 2\n", ["config"]),
        ("trainer: {max_steps: many}\n", ["trainer.max_steps", "many"]),
        (function_for("optimizer"), ["model.init_args.optimizer.class_path is os.system, which is no class"]),
        (function_for("lr_scheduler"), ["model.init_args.lr_scheduler.class_path is os.system, which is no class"]),
        ("model: !!python/object/apply:os.system ['touch ran']\n", ["python/object/apply:os.system"]),
        ("\x00", []),
    ],
)
def test_wrong_configs(
    text: str,
    parts: list[str],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text(text)
    assert_refused(command("fit", "--config=wrong.yaml"), capsys, *parts)
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml", "wrong.yaml"}


def test_a_home_folder_in_a_config(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert command("fit", "--trainer.default_root_dir=~/mine", "--trainer.max_steps=1") == 0
    run = tmp_path / "home" / "mine" / "small" / "version_0"
    assert command("test", "--trainer.default_root_dir=~/mine", "--ckpt_path=~/mine/small") == 0
    assert str(tmp_path / "home" / "mine") in (run / "config.yaml").read_text()


def test_a_config_in_another_encoding_is_named(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin.yaml").write_bytes("# café\n".encode("latin-1"))
    status = command("fit", f"--config={tmp_path / 'latin.yaml'}")
    assert_refused(status, capsys, f"the config {tmp_path / 'latin.yaml'} is not UTF-8", "save it as UTF-8")


@pytest.mark.parametrize("args", [["fit"], ["frobnicate"], ["fit", "--config"]])
def test_commands_with_missing_arguments(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(cli.main(args), capsys)


def test_a_run_folder_that_cannot_be_made(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("precious")
    status = command("fit", f"--trainer.default_root_dir={tmp_path / 'file'}")
    assert_refused(status, capsys, "cannot make the run folder", "Not a directory", "--trainer.default_root_dir")
    assert (tmp_path / "file").read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml", "file"}


def files_of(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--model.network=rnn"], ["model.init_args.network = lstm", "the config says rnn"]),
        (["--model.hidden_size=9"], ["model.init_args.hidden_size = 8", "the config says 9"]),
        (["--model.backward=autograd"], ["model.init_args.backward = bptt", "the config says autograd"]),
        (["--data.length=7"], ["data.init_args.length = 6", "the config says 7"]),
        (["--trainer.gradient_clip_val=5"], ["trainer.gradient_clip_val = 10.0", "the config says 5"]),
        (["--trainer.precision=bf16-mixed"], ["trainer.precision = None", "the config says bf16-mixed"]),
        (["--seed_everything=43"], ["data.init_args.seed = 42", "the config says 43"]),
        (
            ["--model.optimizer=torch.optim.RMSprop", "--model.optimizer.lr=0.1"],
            ["model.init_args.optimizer.init_args.lr = 0.001", "the config says 0.1"],
        ),
    ],
)
def test_a_checkpoint_made_with_other_settings_is_refused(
    args: list[str], parts: list[str], run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(run_dir)
    capsys.readouterr()
    assert_refused(command("fit", "--ckpt_path=last", *args), capsys, "was made with", *parts)
    assert files_of(run_dir) == before and len(list(run_dir.parent.iterdir())) == 1


def test_testing_allows_other_data_but_no_other_network(
    run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("test", "--data.length=9", "--data.num_test=50", "--model.backward=autograd") == 0
    assert "test/accuracy" in capsys.readouterr().out
    assert_refused(command("test", "--model.network=rnn"), capsys, "network = lstm")


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("command_name", ["fit", "test"])
@pytest.mark.parametrize(
    "damage",
    ["mismatch", "no weights", "truncated", "empty", "flipped", "pickle", "torch pickle", "sealed pickle", "foreign"],
)
def test_damaged_and_hostile_checkpoints(
    damage: str, command_name: str, run_dir: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = tmp_path / "bad.ckpt", tmp_path / "ran"
    content = (run_dir / "checkpoints" / "last.ckpt").read_bytes()
    hostile = read_checkpoint(run_dir / "checkpoints" / "last.ckpt") | {"evil": Hostile(target)}
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.touch()
        case "flipped":
            path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
        case "pickle":
            path.write_bytes(pickle.dumps(hostile))
        case "torch pickle":
            torch.save(hostile, path)
        case "sealed pickle":
            write_checkpoint(hostile, path)
        case "mismatch":
            write_checkpoint(hostile | {"state_dict": {}, "evil": 0}, path)
        case "no weights":
            write_checkpoint({k: v for k, v in hostile.items() if k not in ("evil", "state_dict")}, path)
        case "foreign":
            write_checkpoint({"state_dict": {}, "hyper_parameters": {"hidden_size": 8}, "config": 5}, path)
    capsys.readouterr()
    named = "Missing key" if damage == "mismatch" else str(path)
    assert_refused(command(command_name, f"--ckpt_path={path}"), capsys, named)
    assert not target.exists() and len(list(run_dir.parent.iterdir())) == 1


def test_hyper_parameters_in_a_checkpoint_do_not_replace_those_of_the_config(run_dir: Path, command: Command) -> None:
    # Lightning's own command line would take hidden_size from here, unseen.
    path = run_dir / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    checkpoint["hyper_parameters"]["hidden_size"] = 64
    write_checkpoint(checkpoint, path)
    assert command("fit", "--ckpt_path=last", "--trainer.max_steps=9") == 0
    assert read_checkpoint(path)["state_dict"]["network.W_h"].shape == (32, 8)


def test_every_form_of_a_checkpoint_goes_on_in_the_same_folder(run_dir: Path, command: Command) -> None:
    forms = ["last", "auto", "best", run_dir, run_dir.parent, run_dir / "checkpoints" / "previous.ckpt"]
    (run_dir / "checkpoints" / "previous.ckpt").write_bytes((run_dir / "checkpoints" / "last.ckpt").read_bytes())
    for number, form in enumerate(forms):
        assert command("fit", f"--ckpt_path={form}", f"--trainer.max_steps={8 + number}") == 0
        assert read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["global_step"] == 8 + number
    assert len(list(run_dir.parent.iterdir())) == 1


def test_auto_starts_where_there_is_nothing(command: Command, tmp_path: Path) -> None:
    assert command("fit", "--ckpt_path=auto") == 0
    assert (tmp_path / "runs" / "small" / "version_0" / "checkpoints" / "last.ckpt").exists()


def test_a_checkpoint_from_elsewhere_opens_a_new_run(run_dir: Path, command: Command, tmp_path: Path) -> None:
    shutil.copy(run_dir / "checkpoints" / "last.ckpt", tmp_path / "copy.ckpt")
    assert command("fit", f"--ckpt_path={tmp_path / 'copy.ckpt'}", "--trainer.max_steps=9") == 0
    assert (run_dir.parent / "version_1" / "config.yaml").exists()


def test_evaluation_writes_nothing(
    run_dir: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(tmp_path)
    for name in ("validate", "test", "predict"):
        assert command(name) == 0
    out = capsys.readouterr().out
    assert "val/accuracy" in out and "test/accuracy" in out
    assert files_of(tmp_path) == before


def test_predict_shows_palindromes(run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert command("predict", "--ckpt_path=last") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    for line in lines[1:]:
        digits, target, prediction, probability, *_ = line.split()
        assert digits[0] == target and digits[1:] == digits[1:][::-1]
        assert prediction.isdigit() and 0 <= float(probability) <= 1


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        (["--trainer.limit_val_batches=0"], {"last.ckpt"}),
        (["--trainer.enable_checkpointing=false"], set()),
        (["--trainer.enable_progress_bar=false"], {"last.ckpt", "best.ckpt", "previous.ckpt"}),
    ],
)
def test_a_run_without_validation_checkpoints_or_progress_bar_is_tested(
    args: list[str], kept: set[str], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", *args) == 0
    assert "test/accuracy" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "runs").rglob("*.ckpt")} == kept


def test_a_mistake_found_after_training_costs_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Without checkpoints the curves are all there is of the run.
    status = command("fit", "--trainer.enable_checkpointing=false", "--trainer.limit_test_batches=0.01")
    assert_refused(status, capsys, "limit_test_batches")
    assert "train/loss" in (tmp_path / "runs" / "small" / "version_0" / "metrics.csv").read_text()


def test_a_run_without_steps_says_so(command: Command, caplog: pytest.LogCaptureFixture) -> None:
    assert command("fit", "--trainer.limit_train_batches=0") == 0
    assert "No step was taken" in caplog.text


def test_predicting_nothing_shows_nothing(run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert command("predict", "--trainer.limit_predict_batches=0") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_fast_dev_run_leaves_nothing(command: Command, tmp_path: Path) -> None:
    assert command("fit", "--trainer.fast_dev_run=true") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_linked_values_are_equal(config: Path) -> None:
    from training.launch import prepare

    command = prepare(["fit", f"--config={config}", "--data.num_classes=4", "--seed_everything=7"])
    assert command.model.network.output_size == command.data.num_classes == 4
    assert command.data.seed == 7


def test_optimizer_and_schedule_come_from_the_config(config: Path) -> None:
    from training.launch import prepare

    args = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.5"]
    optimizer = prepare(["fit", f"--config={config}", *args]).model.configure_optimizers()
    assert type(optimizer) is torch.optim.SGD and optimizer.param_groups[0]["lr"] == 0.5
    default = prepare(["fit", f"--config={config}"]).model.configure_optimizers()
    assert type(default) is torch.optim.RMSprop and default.param_groups[0]["lr"] == 1e-3


def test_a_list_of_lengths_is_tested(run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert command("test", "--data.test_lengths=[5,6,40]", "--data.num_test=100") == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert "test/accuracy" in heading and "95 % interval" in heading
    assert [line.split()[:2] for line in lines] == [["5", "93"], ["6", "93"], ["40", "100"]]


@pytest.mark.parametrize(
    ("lengths", "parts"),
    [
        ("[5,1]", ["test_lengths has 1; each must be from 2"]),
        ("[]", ["test_lengths is empty"]),
        ("[5,5]", ["test_lengths has 5 2 times"]),
        ("[5,x]", ["test_lengths", "x"]),
        ("5,6", ["data.test_lengths:", "expected a list, such as [5,20], got 5,6"]),
    ],
)
def test_wrong_lengths_are_refused(
    lengths: str, parts: list[str], run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert_refused(command("test", f"--data.test_lengths={lengths}"), capsys, *parts)


def test_a_checkpoint_is_tested_whatever_its_weights_started_from(
    run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("test", "--model.initialization=uniform", "--model.input_scale=1.0", "--data.length=50") == 0
    capsys.readouterr()
    other = "--model.initialization=uniform"
    assert_refused(command("fit", "--ckpt_path=last", other), capsys, "model.init_args.initialization = orthogonal")


def test_a_text_model_is_tested_with_other_settings_of_training(text_run_dir: Path, text_command: Command) -> None:
    assert text_command("test", "--model.dropout=0.3", "--model.dropout_samples=2", "--model.weight_dropout=0.1") == 0


def test_a_run_resumes_with_other_test_lengths(run_dir: Path, command: Command) -> None:
    args = ("--data.test_lengths=[6,9]", "--data.num_test=50", "--trainer.max_steps=8")
    assert command("fit", "--ckpt_path=last", *args) == 0


def test_an_empty_test_or_validation_is_reported(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", "--trainer.limit_test_batches=0") == 0
    out = capsys.readouterr().out
    assert command("test", "--trainer.limit_test_batches=0") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "trainer.limit_test_batches" in line and f"{line}\n" in out
    assert command("validate", "--trainer.limit_val_batches=0") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "trainer.limit_val_batches" in line


def test_a_run_prints_its_result_its_folder_and_the_next_command(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "my runs"
    assert command("fit", f"--trainer.default_root_dir={root}") == 0
    table, learned, place, following = capsys.readouterr().out.splitlines()[-4:]
    _, num, share = table.split()[:3]
    assert learned == (
        f"The model predicts the last digit of {share} % of {num} held-out palindromes of 6 digits (chance: 10.00 %)."
    )
    assert place.startswith(f"The run is in {root / 'small' / 'version_0'}: ")
    curves, look = following.removeprefix("Next: ").split(", or ")
    assert shlex.split(curves) == ["tensorboard", "--logdir", str(root)]
    assert cli.main(shlex.split(look)[2:]) == 0  # after python cli.py
    assert capsys.readouterr().out.startswith("input digits, the last digit")


def test_the_next_command_runs_without_an_active_environment(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    assert command("fit") == 0
    curves, look = capsys.readouterr().out.splitlines()[-1].removeprefix("Next: ").split(", or ")
    for said, program in ((curves, "tensorboard"), (look, "python")):
        assert Path(shlex.split(said)[0]).absolute() == Path(sys.executable).with_name(program)


def test_a_text_model_reports_its_perplexity_and_the_command_to_generate(
    text_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text_command("fit") == 0
    table, learned, _, following = capsys.readouterr().out.splitlines()[-4:]
    perplexity = float(learned.split("perplexity is ")[1].split(",")[0])
    assert float(table.split()[-1]) == pytest.approx(perplexity, abs=0.06)
    assert cli.main(shlex.split(following.split(", or ")[1])[2:]) == 0


def test_nothing_is_said_of_what_was_not_tested(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", "--trainer.limit_test_batches=0") == 0
    nothing, place, _ = capsys.readouterr().out.splitlines()[-3:]
    assert nothing.startswith("Nothing was tested") and place.startswith("The run is in")


@pytest.mark.parametrize("name", ["job.json", "metrics.csv", ".lock", "checkpoints/coming.ckpt"])
def test_a_folder_in_the_way_is_named(
    name: str, run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / name).unlink(missing_ok=True)
    (run_dir / name).mkdir()
    refused = command("fit", "--ckpt_path=last", "--trainer.max_steps=9")
    assert_refused(refused, capsys, f"cannot write to {run_dir / name}: Is a directory; move it away")


def test_aliases_that_stand_for_too_much_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["model: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"key{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("\n".join(lines) + "\n")
    for name in ("fit", "sweep"):
        assert_refused(cli.main([name, f"--config={bomb}"]), capsys, "with its aliases resolved it has")
    bomb.write_text("\n".join(f"- {line.partition(': ')[2]}" for line in lines) + "\n")  # no key at all
    assert_refused(cli.main(["fit", f"--config={bomb}"]), capsys, "with its aliases resolved it has")
    bomb.write_text("graph: &a figure2\nsource: &b C\ntarget: E\n")
    assert cli.main(["hops", f"--config={bomb}", f"--output_dir={tmp_path}"]) == 0
    bomb.write_text("graph: &a [*a]\n")
    assert_refused(cli.main(["hops", f"--config={bomb}"]), capsys, "graph")


@pytest.mark.parametrize("name", ["fit", "hops", "generate"])
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("source: A\ntarget: B\nsource: C\n", "the key source stands twice, in lines 1 and 3"),
        ("trainer:\n  max_steps: 3\n  max_steps: 4\n", "the key max_steps stands twice, in lines 2 and 3"),
        ("a: " + "{b: " * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ("[" * 5000 + "]" * 5000, "Unexpected config: [[[|nested too deeply"),
    ],
)
def test_configs_that_say_a_thing_twice_or_have_no_end(
    text: str, part: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    assert_refused(cli.main([name, f"--config={tmp_path / 'wrong.yaml'}"]), capsys, part)


def test_a_message_about_a_long_value_is_short(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    status = command("fit", f"--data.length={'x' * 5000}")
    error = capsys.readouterr().err
    assert len(error) < 1000 and status == 2
    assert "data.length" in error[:200] and error.rstrip().endswith("configs/lstm_T20.yaml")


@pytest.mark.parametrize("name", ["test", "validate"])
def test_auto_needs_a_run_where_nothing_is_trained(
    name: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(command(name, "--ckpt_path=auto"), capsys, "there is no run in")
