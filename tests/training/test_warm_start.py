"""A new run starts with the weights of a checkpoint, and with nothing else of it."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import cli
from training.checkpoint_file import read_checkpoint, write_checkpoint


def best_of(run: Path) -> Path:
    return run / "checkpoints" / "best.ckpt"


def start(root: Path, config: Path, *words: str, steps: int = 1) -> int:
    """Train with the config below ``root``; with a learning rate of 0 the weights stay what they were."""
    rate = ("--model.optimizer.lr=0",)
    place = (f"--trainer.default_root_dir={root}", f"--trainer.max_steps={steps}")
    return cli.main(["fit", "--config", str(config), *place, *rate, *words])


@pytest.mark.parametrize("form", ["checkpoints/best.ckpt", ".", ".."])
def test_only_the_weights_are_taken(form: str, run_dir: Path, config: Path, tmp_path: Path) -> None:
    assert (
        start(tmp_path / "new", config, f"--init_from={run_dir / form}", "--data.length=9", "--data.batch_size=5") == 0
    )
    new = tmp_path / "new" / "small" / "version_0"
    theirs, ours = read_checkpoint(best_of(run_dir)), read_checkpoint(new / "checkpoints" / "last.ckpt")
    assert ours["global_step"] == 1
    assert all(torch.equal(ours["state_dict"][name], weight) for name, weight in theirs["state_dict"].items())
    steps = [state["step"] for state in ours["optimizer_states"][0]["state"].values()]
    assert all(step == 1 for step in steps)  # a fresh optimizer
    digest = hashlib.sha256(best_of(run_dir).read_bytes()).hexdigest()
    source = {"init_from": str((run_dir / form / "version_0" if form == ".." else run_dir) / "checkpoints/best.ckpt")}
    written = yaml.safe_load((new / "config.yaml").read_text())
    for notes in (written, json.loads((new / "job.json").read_text()), ours["config"]["init_from"]):
        assert notes["init_sha256"] == digest
        assert Path(notes["init_from"]).resolve() == Path(source["init_from"]).resolve()


def test_sizes_come_from_the_checkpoint(run_dir: Path, config: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text(config.read_text().replace(", init_args: {hidden_size: 8}", ""))
    assert start(tmp_path / "new", plain, f"--init_from={run_dir}") == 0
    assert "hidden_size: 8" in (tmp_path / "new" / "plain" / "version_0" / "config.yaml").read_text()


def test_what_decides_the_size_may_be_an_argument_of_the_data(config: Path, tmp_path: Path) -> None:
    assert start(tmp_path / "old", config, "--data.num_classes=3", "--model.network=rnn") == 0
    assert start(tmp_path / "new", config, f"--init_from={tmp_path / 'old' / 'small'}") == 0
    written = yaml.safe_load((tmp_path / "new" / "small" / "version_0" / "config.yaml").read_text())
    assert written["data"]["init_args"]["num_classes"] == 3 and written["model"]["init_args"]["network"] == "rnn"


def test_the_saved_config_starts_from_the_same_file(run_dir: Path, config: Path, tmp_path: Path) -> None:
    assert start(tmp_path / "new", config, f"--init_from={run_dir.parent}", steps=2) == 0
    first = tmp_path / "new" / "small" / "version_0"
    again = ["fit", f"--config={first / 'config.yaml'}", f"--trainer.default_root_dir={tmp_path / 'again'}"]
    assert cli.main(again) == 0
    repeated = tmp_path / "again" / "config" / "version_0"
    assert (repeated / "metrics.csv").read_text() == (first / "metrics.csv").read_text()
    shutil.copy(first / "checkpoints" / "last.ckpt", best_of(run_dir))  # the source is another file now
    assert cli.main(again) == 2


def test_a_warm_started_run_resumes_without_its_source(
    run_dir: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source.ckpt"
    shutil.copy(best_of(run_dir), source)
    words = (f"--init_from={source}", "--trainer.val_check_interval=1")
    assert start(tmp_path / "new", config, *words) == 0
    new = tmp_path / "new" / "small" / "version_0"
    source.unlink()
    assert cli.main(["fit", f"--ckpt_path={new}", "--trainer.max_steps=2"]) == 0
    assert start(tmp_path / "new", config, *words, "--ckpt_path=last", steps=3) == 0  # the same words, as in a script
    last = read_checkpoint(new / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 3 and last["config"]["init_from"]["init_from"] == str(source)
    assert str(source) in (new / "config.resume_2.yaml").read_text()
    capsys.readouterr()
    assert start(tmp_path / "new", config, f"--init_from={run_dir}", "--ckpt_path=last", steps=4) == 2
    assert str(source) in capsys.readouterr().err
    assert cli.main(["fit", "--config", str(config), f"--ckpt_path={run_dir}", f"--init_from={source}"]) == 2
    assert "random weights" in capsys.readouterr().err


def test_auto_starts_warm_and_then_resumes(run_dir: Path, config: Path, tmp_path: Path) -> None:
    words = (f"--init_from={run_dir}", "--ckpt_path=auto")
    for steps in (1, 2):
        assert start(tmp_path / "new", config, *words, steps=steps) == 0
    assert [path.name for path in (tmp_path / "new" / "small").iterdir()] == ["version_0"]


@pytest.mark.parametrize("embedding", ["4", "null"])
def test_a_text_model_reads_another_book(
    embedding: str, text_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checked against rows that are looked up one by one, by character."""
    words = (f"--model.embedding_size={embedding}", "--trainer.callbacks=null")
    assert start(tmp_path / "old", text_config, *words) == 0
    old = tmp_path / "old" / "text" / "version_0"
    book = tmp_path / "other.txt"
    book.write_text("Er was eens een koning, ja! Zó één?\n" * 200, encoding="utf-8")
    capsys.readouterr()
    assert start(tmp_path / "new", text_config, *words, f"--init_from={old}", f"--data.book={book}") == 0
    said = capsys.readouterr().out
    theirs = read_checkpoint(best_of(old))
    ours = read_checkpoint(tmp_path / "new" / "text" / "version_0" / "checkpoints" / "last.ckpt")
    old_characters, new_characters = (c["BookDataModule"]["characters"] for c in (theirs, ours))
    common = set(old_characters) & set(new_characters)
    num_new, num_gone = len(set(new_characters) - common), len(set(old_characters) - common)
    assert common and num_new and num_gone
    assert f"{len(common)} characters known, {num_new} new, {num_gone} dropped" in said
    kinds = {"network.output.weight": 0, "network.output.bias": 0}
    kinds |= {"network.lstm.weight_ih_l0": 1} if embedding == "null" else {"network.embedding.weight": 0}
    for name, weight in ours["state_dict"].items():
        before = theirs["state_dict"][name]
        if name not in kinds:
            assert torch.equal(weight, before)
            continue
        by_character, by_character_before = ((w.t() if kinds[name] else w) for w in (weight, before))
        rows = {character: by_character_before[old_characters.index(character)] for character in common}
        mean = sum(rows.values()) / len(rows)
        for row, character in zip(by_character, new_characters, strict=True):
            if character in common:
                assert torch.equal(row, rows[character])
            else:
                torch.testing.assert_close(row, mean)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--init_from={run}", "--model.hidden_size=9"], ["does not fit", "network.", "here", "there"]),
        (["--init_from={run}", "--model=models.PathGraphClassifier"], ["PalindromeClassifier", "PathGraphClassifier"]),
        (["--init_from={text}"], ["TextModel", "PalindromeClassifier"]),
        (["--init_from=nowhere"], ["--init_from nowhere", "no such file"]),
        (["--init_from=best"], ["--init_from best", "which run"]),
        (["--init_from={damaged}"], ["damaged.ckpt", "damaged"]),
        (["--init_from={diverged}"], ["diverged.ckpt", "not all finite"]),
        (["--init_from={empty}"], ["empty"]),
        (["--init_from={run}", f"--init_sha256={'0' * 64}"], ["init_sha256", "0" * 64]),
        (["--init_from={foreign}"], ["foreign.ckpt", "no configuration"]),
    ],
)
def test_wrong_sources(
    words: list[str], parts: list[str], run_dir: Path, text_run_dir: Path, config: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    names = {name: tmp_path / f"{name}.ckpt" for name in ("damaged", "diverged", "foreign")}
    names["damaged"].write_bytes(best_of(run_dir).read_bytes()[:5000])
    checkpoint = read_checkpoint(best_of(run_dir))
    checkpoint["state_dict"]["network.W_hh"] = torch.tensor([float("nan")])
    write_checkpoint(checkpoint, names["diverged"])
    write_checkpoint({"state_dict": {}}, names["foreign"])
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    places = names | {"run": run_dir, "text": text_run_dir, "empty": tmp_path / "empty"}
    capsys.readouterr()
    assert start(tmp_path / "new", config, *(word.format(**places) for word in words)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and all(part in error for part in parts), error
    assert not (tmp_path / "new").exists()


def test_no_common_character(text_run_dir: Path, text_config: Path, tmp_path: Path) -> None:
    """New characters then start as the mean of all."""
    book = tmp_path / "greek.txt"
    book.write_text("αβγδ" * 500, encoding="utf-8")
    words = ("--trainer.callbacks=null", f"--init_from={text_run_dir}", f"--data.book={book}")
    assert start(tmp_path / "new", text_config, *words) == 0
    ours = read_checkpoint(tmp_path / "new" / "text" / "version_0" / "checkpoints" / "last.ckpt")["state_dict"]
    theirs = read_checkpoint(best_of(text_run_dir))["state_dict"]
    mean = theirs["network.output.weight"].mean(0)
    torch.testing.assert_close(ours["network.output.weight"], mean.expand(4, -1))


def test_sweeps_start_warm(run_dir: Path, config: Path, tmp_path: Path) -> None:
    """A base config may name the source; each run starts from it."""
    base = tmp_path / "base.yaml"
    base.write_text(config.read_text() + f"init_from: {run_dir}\n")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        f"base: {base}\ngrid: {{data.length: [5, 8]}}\nseeds: [1]\noutput_dir: {tmp_path / 'results'}\nworkers: 1\n"
    )
    assert cli.main(["sweep", "--config", str(sweep)]) == 0
    configs = list((tmp_path / "results").rglob("config.yaml"))
    assert len(configs) == 2 and all(str(run_dir) in path.read_text() for path in configs)
