"""The lowest versions are those that setup.cfg promises, and each kind of model trains with the versions that are installed.

``make versions`` runs this file, and the fast tests, with the lowest and with the newest versions.
"""

import configparser
import json
import math
import re
from pathlib import Path

import pytest

import cli
from tests.models.networks.helpers import needs_compiler

ROOT = Path(__file__).parent.parent
FUSED = ["--model.fused=true"]
FITS: dict[str, tuple[str, list[str]]] = {
    "rnn": ("rnn_T5", []),
    "rnn, fused": ("rnn_T5", FUSED),
    "lstm": ("lstm_T5", []),
    "lstm, fused": ("lstm_T5", FUSED),
    "text": ("text_grimm", ["--data.book=book.txt"]),
    "gcn": ("gcn_karate", []),
    "lstm on a graph": ("lstm_cora", ["--data.graph=karate"]),
    "gcn on a path": ("gcn_path", []),
    "spread": ("gcn_lstm_spread", []),
}
"""Each kind of model: its config, and what is changed so that it needs no network."""


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    """2.6.0 and 2.6 are one release."""
    numbers = [int(number) for number in version.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


def lower_bounds(requirements: str) -> dict[str, tuple[int, ...]]:
    lines = [line for line in requirements.strip().splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([\w.-]+)(?:\[\w+\])?>=([\d.]+)(?:,<[\d.]+)?", line) for line in lines]
    assert all(found), "a requirement needs a lower bound"
    return {normalized(match[1]): release(match[2]) for match in found if match}


def constraints(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    return {normalized(package): version for package, version in (line.split("==") for line in lines)}


def test_the_lowest_versions_are_those_that_are_promised() -> None:
    lowest = {package: release(version) for package, version in constraints("constraints-lowest.txt").items()}
    parser = setup_cfg()
    extras = parser["options.extras_require"]
    for requirements in (parser["options"]["install_requires"], extras["graphs"], extras["slurm"], extras["test"]):
        for package, version in lower_bounds(requirements).items():
            assert lowest[package] == version, package


def test_nothing_but_metadata_is_installed() -> None:
    options = setup_cfg()["options"]
    assert options["packages"] == options["py_modules"] == ""


@pytest.mark.slow
@pytest.mark.versions
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[needs_compiler] * ("fused" in kind)) for kind in FITS])
def test_each_kind_of_model_trains(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("".join(f"The {i}. king's daughter went into the wood.\n" for i in range(200)))
    config, args = FITS[kind]
    steps = ["--trainer.max_steps=4", "--trainer.val_check_interval=2"]
    assert cli.main(["fit", "--config", str(ROOT / "configs" / f"{config}.yaml"), *steps, *args]) == 0
    summary = json.loads((tmp_path / "runs" / config / "version_0" / "summary.json").read_text())
    assert summary["steps"] == 4 and math.isfinite(summary["metrics"]["test/loss"])
