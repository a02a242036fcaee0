"""The benchmarks of text run, and measure what their tables say."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks import text_generation, text_reading, text_training
from benchmarks.fit_overhead import bare_loop
from training.run import Run


@pytest.fixture
def book(tmp_path: Path) -> str:
    path = tmp_path / "book.txt"
    path.write_text("Once upon a time there was a king who had a daughter.\n" * 600)
    return str(path)


def test_throughput_is_compared_round_by_round(
    book: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = iter([(1.0, 2.0), (2.0, 2.5), (4.0, 4.0)])
    monkeypatch.setattr(text_training, "seconds_of_both", lambda book, steps: next(rounds))
    text_training.compare_throughput(book, 100, 3)
    *_, second, third, median = [line.split()[1:] for line in capsys.readouterr().out.splitlines()]
    characters = 100 * 64 * 30
    assert second == [f"{characters / 2:,.0f}", f"{characters / 2.5:,.0f}", "0.800"]
    assert third == [f"{characters / 4:,.0f}", f"{characters / 4:,.0f}", "1.000"]
    assert median == [f"{characters / 2:,.0f}", f"{characters / 2.5:,.0f}", "0.800"]


def test_both_train_the_same_in_turns(book: str) -> None:
    run = text_training.run_of(book, "--trainer.max_steps=7", text_training.WITHOUT_EARLY_STOPPING)
    bare = text_training.run_of(book)
    in_turns = text_training.InTurns(bare_loop(bare, 7, text_training.carried_loss), 3)
    run.trainer.callbacks.insert(0, in_turns)
    text_training.fit(run)
    assert in_turns.num_done == 7 and in_turns.seconds_of_bare_loop > 0
    for ours, theirs in zip(run.model.network.parameters(), bare.model.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_seconds_are_measured_for_each_alone(book: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(run: Run) -> dict[str, float]:
        in_turns = run.trainer.callbacks[0]
        assert isinstance(in_turns, text_training.InTurns)
        in_turns.seconds_of_bare_loop = 4.0
        return {"seconds": 10.0}

    monkeypatch.setattr(text_training, "fit", fit)
    assert text_training.seconds_of_both(book, 3) == (4.0, 6.0)


def test_char_rnn_has_its_original_settings(book: str) -> None:
    run = text_training.as_char_rnn(text_training.run_of(book, *text_training.CHAR_RNN.split()))
    network = run.model.network
    assert network.embedding is None and (run.data.seq_len, run.data.batch_size) == (50, 50)
    for name, parameter in network.named_parameters():
        forget = parameter.chunk(4)[1] if "bias_ih" in name else None
        if forget is not None:
            assert (forget == 1).all()
        others = parameter[parameter != 1]
        assert others.abs().max() <= 0.08 and others.abs().max() > 0.07
    scheduling = run.model.configure_optimizers()
    optimizer, scheduler = scheduling["optimizer"], scheduling["lr_scheduler"]["scheduler"]
    assert optimizer.defaults["alpha"] == 0.95
    steps_per_epoch = run.data.num_windows // 50
    rates = []
    for _ in range(12 * steps_per_epoch):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    expected = [2e-3 * (0.97 ** max(0, epoch - 9)) for epoch in range(12)]
    assert rates[::steps_per_epoch] == pytest.approx(expected)


def test_recipes_are_compared(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    text_training.compare_recipes(book, ["--trainer.max_steps=6", "--trainer.val_check_interval=3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["ours", "char-rnn"]
    for line in lines[1:]:
        best = float(line.split()[3])
        assert 0 < best < 5


def test_all_decoding_methods_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    text_generation.compare(20, 1)
    out = capsys.readouterr().out
    assert re.search(r"64 at once, sampled +[\d,]+ +\d+\.\d\d\n", out) and "times as long as one of beam 1" in out


def test_texts_of_all_kinds_are_what_they_are_called(tmp_path: Path) -> None:
    from datamodules.text_file import read_text

    path = tmp_path / "book.txt"
    found = {}
    for name, piece in text_reading.kinds():
        path.write_bytes(piece)
        found[name] = read_text(path).provenance
    assert found["UTF-16"].startswith("utf-16") and found["Latin-1, CRLF"].startswith("cp1252; line ends CRLF")
    assert "normalized" in found["UTF-8, not in NFC"] and len(found) == 7


@pytest.mark.parametrize(("seconds", "limit"), [(90, "00:00:01:30"), (6100.4, "00:01:41:40"), (90_000, "01:01:00:00")])
def test_seconds_are_days_hours_minutes_and_seconds_to_the_trainer(seconds: float, limit: str) -> None:
    assert text_training.time_limit(seconds) == [f"--trainer.max_time={limit}", "--trainer.max_steps=-1"]
