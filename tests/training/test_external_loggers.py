"""Loggers beside TensorBoard and ``metrics.csv``: they see the same values, go on in a resumed run, and may fail."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger, Logger

from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from tests.conftest import Command
from training.run import Run
from training.trainer import Trainer

W_AND_B = ["--trainer.logger=WandbLogger", "--trainer.logger.offline=true"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def values(path: Path, metric: str) -> list[tuple[str, str]]:
    return [(row["step"], row[metric]) for row in rows(path) if row.get(metric)]


class RecordingLogger(Logger):
    """Fails in one of its methods, and tells which calls came before and after that.

    Args:
        fails_in: name of a method.
        after: how many calls of it succeed.
        run_id: the external run to continue.
        save_dir: where the calls are recorded.
    """

    def __init__(self, fails_in: str = "", after: int = 0, run_id: str | None = None, save_dir: str = ".") -> None:
        super().__init__()
        self.fails_in, self.left = fails_in, after
        self.run_id = run_id or "made up by the service"
        self.path = Path(save_dir) / "calls.jsonl"
        self.called("__init__")

    def called(self, name: str, *args: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps([name, *args]) + "\n")
        if name == self.fails_in:
            self.left -= 1
            if self.left < 0:
                raise ConnectionError("the service\ndoes not answer")

    @property
    def name(self) -> str:
        return "recording"

    @property
    def version(self) -> str:
        self.called("version")
        return self.run_id

    @property
    def experiment(self) -> "RecordingLogger":
        self.called("experiment")
        return self

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.called("log_metrics", {name: float(value) for name, value in metrics.items()}, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.called("log_hyperparams", params)

    def log_graph(self, *args: Any, **kwargs: Any) -> None:
        self.called("log_graph")

    def save(self) -> None:
        self.called("save")

    def finalize(self, status: str) -> None:
        self.called("finalize", status)


def recording(**arguments: Any) -> list[str]:
    keys = [f"--trainer.logger.{name}={value}" for name, value in arguments.items()]
    return [f"--trainer.logger={__name__}.RecordingLogger", *keys]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """``recorded("log_metrics")``: the arguments of all calls of that method. The class can be imported by name."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules[RecordingLogger.__module__])

    def calls(name: str) -> list[Any]:
        path = tmp_path / "runs" / "small" / "version_0" / "calls.jsonl"
        return [args for called, *args in map(json.loads, path.read_text().splitlines()) if called == name]

    return calls


def test_a_second_csv_file_is_one_curve_with_the_same_values(command: Command, tmp_path: Path) -> None:
    assert command("fit", "--trainer.logger=CSVLogger") == 0
    assert command("fit", "--trainer.logger=CSVLogger", "--ckpt_path=last", "--trainer.max_steps=12") == 0
    run = tmp_path / "runs" / "small" / "version_0"
    (theirs,) = run.glob("lightning_logs/*/metrics.csv")
    for metric in ("train/loss", "val/loss", "test/loss"):
        assert values(theirs, metric) == values(run / "metrics.csv", metric)
    assert [step for step, _ in values(theirs, "train/loss")] == ["2", "5", "8", "11"]
    hyperparameters = yaml.safe_load((theirs.parent / "hparams.yaml").read_text())
    assert hyperparameters["trainer"]["max_steps"] == 7 and hyperparameters["data"]["init_args"]["length"] == 6
    assert set(tmp_path.iterdir()) == {tmp_path / "runs", tmp_path / "small.yaml"}


def test_mlflow_continues_its_run(command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mlflow.tracking import MlflowClient

    assert command("fit", "--trainer.logger=MLFlowLogger") == 0
    assert command("fit", "--trainer.logger=MLFlowLogger", "--ckpt_path=last", "--trainer.max_steps=12") == 0
    assert "failed" not in caplog.text  # MLflow refuses to change a parameter, such as max_steps
    run = tmp_path / "runs" / "small" / "version_0"
    client = MlflowClient((run / "mlruns").as_uri())
    (external,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert [metric.step for metric in client.get_metric_history(external.info.run_id, "train/loss")] == [2, 5, 8, 11]
    assert external.data.params["trainer/max_steps"] == "7"
    assert external.data.params["model/init_args/hidden_size"] == "8"
    assert "hidden_size" not in external.data.params
    assert external.info.status == "FINISHED"


@pytest.mark.slow
def test_wandb_continues_its_run(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.chdir(tmp_path)
    for args in ([], ["--ckpt_path=last", "--trainer.max_steps=12"]):
        assert command("fit", *W_AND_B, *args) == 0
        assert wandb.run is None  # the next run in this process has its own
    run = tmp_path / "runs" / "small" / "version_0"
    (known,) = json.loads((run / "loggers.json").read_text()).values()
    parts = [path.name.split("-")[3] for path in run.glob("wandb/offline-run-*")]
    assert parts == known * 2  # `wandb sync` makes one run of both
    assert not (tmp_path / "wandb").exists()


@pytest.mark.parametrize(
    ("where", "after"),
    [
        *(("__init__", 0), ("version", 0), ("experiment", 0), ("experiment", 1), ("log_hyperparams", 0)),
        *(("log_graph", 0), ("log_metrics", 0), ("log_metrics", 3), ("save", 1), ("finalize", 0), ("finalize", 1)),
    ],
)
def test_a_logger_that_fails_costs_one_warning(
    where: str, after: int, command: Command, recorded: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert command("fit", *recording(fails_in=where, after=after)) == 0
    told = [record.getMessage() for record in caplog.records if "RecordingLogger" in record.getMessage()]
    assert len(told) == 1 and "ConnectionError: the service does not answer" in told[0]
    assert len(recorded(where)) == after + 1  # it is left alone from then on
    run = tmp_path / "runs" / "small" / "version_0"
    assert [step for step, _ in values(run / "metrics.csv", "train/loss")] == ["2", "5"]
    assert json.loads((run / "summary.json").read_text())["steps"] == 7


def test_a_logger_sees_all_values_and_the_whole_config_once(command: Command, recorded: Any, tmp_path: Path) -> None:
    assert command("fit", *recording()) == 0
    ours = values(tmp_path / "runs" / "small" / "version_0" / "metrics.csv", "train/loss")
    theirs = [(step, metrics["train/loss"]) for metrics, step in recorded("log_metrics") if "train/loss" in metrics]
    assert theirs == [(int(step), float(value)) for step, value in ours]
    ((config,),) = recorded("log_hyperparams")
    assert config["seed_everything"] == 42 and config["trainer"]["max_steps"] == 7
    assert "logger" not in config["trainer"]  # it may hold a key of the service


def test_a_logger_that_failed_continues_its_run_when_the_run_is_resumed(command: Command, recorded: Any) -> None:
    assert command("fit", *recording(run_id="mine")) == 0
    for step, args in ((8, recording(fails_in="experiment")), (9, []), (10, recording())):
        assert command("fit", f"--trainer.max_steps={step}", "--ckpt_path=last", *args) == 0
    assert len(recorded("__init__")) == 3
    assert len(recorded("log_hyperparams")) == 1  # the external run is the first one, which has the config


def test_an_id_of_the_config_is_kept(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "small" / "version_0"
    for name, args in (("a", []), ("b", ["--ckpt_path=last", "--trainer.max_steps=8"])):
        assert command("fit", "--trainer.logger=CSVLogger", f"--trainer.logger.version={name}", *args) == 0
        assert list(json.loads((run / "loggers.json").read_text()).values()) == [[name]]
    assert {path.name for path in (run / "lightning_logs").iterdir()} == {"a", "b"}


def test_losses_do_not_depend_on_loggers(command: Command, recorded: Any, tmp_path: Path) -> None:
    assert command("fit", *recording()) == 0
    assert command("fit") == 0
    first, second = (tmp_path / "runs" / "small" / f"version_{k}" / "metrics.csv" for k in (0, 1))
    for metric in ("train/loss", "val/loss", "test/loss"):
        assert values(first, metric) == values(second, metric)


@pytest.mark.parametrize(
    ("module", "name", "package"),
    [("wandb", "WandbLogger", "wandb"), ("mlflow", "MLFlowLogger", "mlflow"), ("comet_ml", "CometLogger", "comet-ml")],
)
def test_a_logger_that_is_not_installed(
    module: str,
    name: str,
    package: str,
    command: Command,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert command("fit", f"--trainer.logger={name}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line and f"pip install {package}" in line
    assert [path.name for path in run_dir.parent.iterdir()] == [run_dir.name]
    assert command("test", f"--trainer.logger={name}") == 0  # only fit needs it


@pytest.mark.parametrize(
    "args",
    [
        ["--trainer.logger=WandbLogger", "--trainer.logger.offline=true", "--trainer.logger.log_model=true"],
        ["--trainer.logger=WandbLogger", "--trainer.logger.misspelt=true"],
        ["--trainer.logger=Unknown"],
        ["--trainer.logger=false"],
    ],
)
def test_wrong_arguments_of_a_logger(
    args: list[str], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", *args) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", ["true", "null"])
def test_without_loggers_a_run_has_ours(value: str, command: Command, tmp_path: Path) -> None:
    assert command("fit", f"--trainer.logger={value}") == 0
    run = tmp_path / "runs" / "small" / "version_0"
    assert (run / "metrics.csv").exists() and not (run / "loggers.json").exists()


def test_loggers_from_python(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "mine")
    trainer = Trainer(max_steps=4, log_every_n_steps=2, accelerator="cpu", logger=[logger])
    run = Run(
        PalindromeClassifier(hidden_size=4), PalindromeDataModule(length=6, batch_size=4), trainer, tmp_path / "run"
    )
    run.fit()
    assert run.folder is not None
    theirs, ours = Path(logger.log_dir) / "metrics.csv", run.folder.path / "metrics.csv"
    assert values(theirs, "train/loss") == values(ours, "train/loss") != []
    assert isinstance(logger, CSVLogger)
