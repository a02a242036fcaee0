"""On a GPU: both ways of backpropagation, training in both precisions, and resuming exactly; left out where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from models.networks.lstm import LSTM
from models.networks.recurrent import Backward
from models.networks.vanilla_rnn import VanillaRNN
from tests.test_resume import TRAIN_METRICS, assert_same, rows_of, state_of

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")


@pytest.mark.parametrize("backward", ["bptt", "autograd"])
@pytest.mark.parametrize("network", [VanillaRNN, LSTM])
def test_both_backward_passes_give_the_gradients_of_the_cpu(
    network: type[VanillaRNN] | type[LSTM], backward: Backward
) -> None:
    inputs = torch.randn(5, 40, 10, dtype=torch.float64)

    def gradients_on(device: str) -> dict[str, Tensor]:
        torch.manual_seed(0)
        ours = network(10, 16, 3, backward=backward).double().to(device)
        logits, _ = ours(inputs.to(device))
        logits.square().sum().backward()
        return {name: p.grad.cpu() for name, p in ours.named_parameters() if p.grad is not None}

    on_cpu = gradients_on("cpu")
    assert on_cpu.keys() == {name for name, _ in network(10, 16, 3).named_parameters()}
    assert_close(gradients_on("cuda"), on_cpu, rtol=1e-9, atol=1e-12)


def fit(config: Path, root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Train on one GPU, in a process of its own: cuBLAS gets at its start the setting for the same bits each time."""
    words = [sys.executable, str(ROOT / "cli.py"), "fit", f"--config={config}", f"--trainer.default_root_dir={root}"]
    words += ["--trainer.accelerator=gpu", "--trainer.devices=1", "--trainer.deterministic=true"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return subprocess.run([*words, *args], env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(params=["palindromes", "book"])
def either_config(request: pytest.FixtureRequest, config: Path, text_config: Path) -> Path:
    return config if request.param == "palindromes" else text_config


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_run_on_a_gpu_is_resumed_exactly(precision: str, either_config: Path, tmp_path: Path) -> None:
    """Training, validation and test go through on the way."""
    args = (f"--trainer.precision={precision}", "--trainer.max_steps=25")
    whole = fit(either_config, tmp_path / "whole", *args)
    assert whole.returncode == 0, whole.stderr
    disturb = '--trainer.callbacks+={"class_path": "tests.training.helpers.SignalAt", "init_args": {"step": 12}}'
    stopped = fit(either_config, tmp_path / "parts", *args, disturb)
    assert stopped.returncode == 130, stopped.stderr
    again = fit(either_config, tmp_path / "parts", *args, "--ckpt_path=last")
    assert again.returncode == 0, again.stderr
    (ours,), (theirs,) = ((tmp_path / kind).glob("*/version_*") for kind in ("parts", "whole"))
    assert_same(state_of(ours), state_of(theirs))
    assert rows_of(ours, TRAIN_METRICS) == rows_of(theirs, TRAIN_METRICS)


@pytest.mark.parametrize("network", ["rnn", "lstm"])
@pytest.mark.parametrize("backward", ["bptt", "autograd"])
def test_each_network_trains_in_bfloat16(network: str, backward: str, config: Path, tmp_path: Path) -> None:
    args = (f"--model.network={network}", f"--model.backward={backward}", "--trainer.precision=bf16-mixed")
    trained = fit(config, tmp_path, *args)
    assert trained.returncode == 0, trained.stderr
    losses = [float(row["train/loss"]) for row in rows_of(next(tmp_path.glob("*/version_*")), TRAIN_METRICS)]
    assert losses and all(0 < loss < 10 for loss in losses)
