"""Every command of README.md and docs/commands.md runs as it is written, with fewer steps and data made here."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import networkx
import pytest
import yaml

from tests.forked import run_python

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/commands.md")
COMMAND = re.compile(r"(?:python|make|pip|sbatch|tensorboard)\b.*")

FEW_STEPS = ["--trainer.max_steps=20", "--trainer.val_check_interval=10"]
FEW_PALINDROMES = ["--data.num_val=20", "--data.num_test=20"]
SHORTER: dict[str, list[str]] = {
    r"cli\.py \w+ --help": [],
    r"cli\.py fit .*my_graph": [*FEW_STEPS, "--data.train_per_class=2"],
    r"cli\.py fit .*gcn_cora": [*FEW_STEPS, "--data.graph=my_graph.graphml", "--data.train_per_class=2"],
    r"cli\.py fit .*shakespeare": [*FEW_STEPS, "--data.book=my_book.txt"],
    r"cli\.py fit .*((lstm|rnn)_T|every_digit)": [*FEW_STEPS, *FEW_PALINDROMES],
    r"cli\.py fit .*reverse": [*FEW_STEPS, "--trainer.default_root_dir=other"],  # automaton needs the trained one
    r"cli\.py fit": FEW_STEPS,
    r"cli\.py test .*test_lengths": ["--data.num_test=20"],
    r"cli\.py text": ["--num_positions=200", "--num_samples=2", "--length=50", "--num_prompts=2", "--beam_length=5"],
    r"cli\.py patterns": ["--lengths=[5,8]"],
    r"cli\.py confusions": ["--num_palindromes=10"],
    r"cli\.py attractors": ["--num_steps=200", "--num_palindromes=2"],
    r"cli\.py automaton": ["--max_length=3"],
    r"make fit": [*FEW_STEPS, *FEW_PALINDROMES],
    r"make test": ["tests/test_configs.py", "-k", "T5", "--numprocesses", "0"],
    r"make bench .*networks": ["--networks", "rnn", "--lengths", "5", "--rounds", "1"],
    r"make bench": ["--lengths", "5", "--steps", "20", "--rounds", "1"],
    r"tests\.stress\.chaos": ["--kills", "1", "--minutes", "0"],
    r"benchmarks\.nanogpt": ["--book", "my_book.txt", "--seconds", "20", "--seeds", "1"],
    r"benchmarks\.text_generation": ["--length", "50", "--rounds", "1"],
    r"benchmarks\.loggers": ["--length", "5", "--steps", "20", "--rounds", "1"],
    r"benchmarks\.gcn": ["--graph", "karate"],
    r"pip install": ["--dry-run", "--no-deps", "--no-index", "--no-build-isolation"],
    r"tensorboard": ["--host=127.0.0.1", "--port=0"],
}
"""What is added to a command: of the first pattern that is found in it. Sweeps have shorter configs instead."""

ELSEWHERE = {"sbatch": "tests/cluster/test_fit.py has a Slurm to run it"}


def commands_of(page: str) -> list[str]:
    """Lines of bash, lines after a prompt, and what stands between backticks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).splitlines()
    lines += re.findall(r"(?m)^\$ (.*)", text)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"(?m)^```.*", "", text))
    codes = [code for code in [*lines, *spans] if COMMAND.fullmatch(code)]
    return [shlex.join(shlex.split(code, comments=True)) for code in codes]


def commands() -> list[str]:
    """Those of all pages, each once."""
    return list(dict.fromkeys(command for page in PAGES for command in commands_of(page)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with an environment, in which the runs that commands speak of have been made."""
    folder = tmp_path_factory.mktemp("commands") / "palimpsest"
    folder.mkdir()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in {path.split("/")[0] for path in listed} - {"docs", "configs"}:
        (folder / name).symlink_to(ROOT / name)
    for name in ("docs", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        (folder / ".venv" / part.name).symlink_to(part)
    for extra in ("", "-test", "-browser", "-docs"):
        marker = folder / ".venv" / f"installed{extra}"
        marker.unlink(missing_ok=True)  # the link, where this environment was made by make, too
        marker.touch()
    for path in (folder / "configs" / "sweep").iterdir():
        sweep = yaml.safe_load(path.read_text())
        grid = {key: given[:1] if isinstance(given, list) else given for key, given in sweep["grid"].items()}
        shorter = {"grid": grid | {"trainer.max_steps": [20]}, "seeds": sweep["seeds"][:1]}
        if "search" in sweep:
            shorter["search"] = sweep["search"] | {"trials": 2}
        path.write_text(yaml.safe_dump(sweep | shorter))

    for name in ("rnn", "lstm"):
        path = folder / "configs" / f"{name}_T1000.yaml"
        path.write_text(re.sub(r"max_steps: \d+", "max_steps: 20", path.read_text()))

    book = "".join(f"The {k}. king’s daughter, Sleeping Beauty by name, went into the wood.\n" for k in range(1000))
    (folder / "my_book.txt").write_text(book, encoding="utf-8")
    books = folder.parent / "cache" / "palimpsest" / "books"
    books.mkdir(parents=True)
    (books / "grimm.txt").write_text(book, encoding="utf-8")
    graph = networkx.planted_partition_graph(3, 20, 0.5, 0.05, seed=1)
    networkx.set_node_attributes(graph, {node: "abc"[node // 20] for node in graph}, "class")
    graph.graph.clear()
    networkx.write_graphml(graph, folder / "my_graph.graphml")

    for name, changed in (("lstm_T20", FEW_PALINDROMES), ("rnn_T1000", FEW_PALINDROMES), ("text_grimm", [])):
        few_steps = [*FEW_STEPS, "--trainer.max_steps=10"]
        made = done(f"python cli.py fit --config configs/{name}.yaml", [*changed, *few_steps], folder)
        assert made.returncode == 0, made.stderr
    small = ["--data.num_symbols=3", "--data.length=8", "--data.batch_size=32", "--data.num_test=20"]
    small += [
        "--data.test_lengths=[8]",
        "--model.hidden_size=16",
        "--model.optimizer.lr=0.01",
        "--trainer.max_steps=500",
    ]
    for command, changed in (("rnn_proved.yaml --seed_everything 1", []), ("reverse.yaml --seed_everything 1", small)):
        made = done(f"python cli.py fit --config configs/{command}", changed, folder)
        assert made.returncode == 0, made.stderr
    return folder


def done(command: str, more: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    if words[0] == "make" and more:
        arguments = [word.removeprefix("ARGS=") for word in words if word.startswith("ARGS=")]
        words = [*(word for word in words if not word.startswith("ARGS=")), f"ARGS={' '.join([*arguments, *more])}"]
    else:
        words += more
    environment = os.environ | {"XDG_CACHE_HOME": str(folder.parent / "cache")}
    if "tensorboard" in words:
        return served(words, folder, environment)
    if words[0] == "python":
        return run_python(*words[1:], cwd=folder, environment=environment)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def served(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A server that is stopped when it says where it serves."""
    with subprocess.Popen(
        words, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        assert server.stderr is not None
        said = []
        while not said or "http://127.0.0.1" not in said[-1]:
            said.append(server.stderr.readline())
            assert said[-1], said
        os.killpg(server.pid, signal.SIGTERM)
    return subprocess.CompletedProcess(words, 0, said[-1], "".join(said))


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in commands() if command.split()[0] not in ELSEWHERE])
def test_a_documented_command_runs(command: str, folder: Path) -> None:
    more = next((more for pattern, more in SHORTER.items() if re.search(pattern, command)), [])
    ended = done(command, more, folder)
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr and "Traceback" not in ended.stderr
    assert ended.stdout.strip() or command.startswith("make")


@pytest.mark.parametrize("pattern", SHORTER)
def test_shortened_commands_are_documented_commands(pattern: str) -> None:
    first = [next((p for p in SHORTER if re.search(p, command)), None) for command in commands()]
    assert pattern in first


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_documented_and_tested(page: str) -> None:
    targets = "|".join(re.findall(r"(?m)^(\w+):.* ##", (ROOT / "Makefile").read_text()))
    start = re.compile(
        rf"(?<![\w.])(?:python (?:cli\.py |-m )|make (?:{targets})\b|sbatch |tensorboard --|pip install)"
    )
    text = (ROOT / page).read_text(encoding="utf-8")
    assert sum(bool(start.match(command)) for command in commands_of(page)) == len(start.findall(text)) > 5
