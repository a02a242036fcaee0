"""Batches of a book: consecutive characters, disjoint splits, reproducible batches."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules import BookDataModule
from datamodules.book_loaders import BookLoader, EvalStreamLoader, StreamLoader, WindowLoader
from datamodules.character_ids import split
from datamodules.sharding import Shard

WORDS = "once upon a time there was a king who had a daughter so fair that the sun itself wondered\n"


@pytest.fixture
def book(tmp_path: Path) -> str:
    """A book without repetitions of ten characters."""
    path = tmp_path / "book.txt"
    path.write_text("".join(f"{i} {word} " for i, word in enumerate((WORDS * 40).split(" "))))
    return str(path)


def text_of(data: BookDataModule, ids: Any) -> str:
    return data.vocabulary.decode(ids.tolist())


def test_the_splits_are_consecutive_and_cover_the_text(book: str) -> None:
    data = BookDataModule(book, seq_len=10, val_fraction=0.2, test_fraction=0.1)
    text = Path(book).read_text()
    parts = [text_of(data, data.splits[name]) for name in ("train", "val", "test")]
    assert "".join(parts) == text
    assert [round(len(part) / len(text), 2) for part in parts] == [0.7, 0.2, 0.1]
    assert data.vocabulary.characters == "".join(sorted(set(text))) and data.vocab_size == len(set(text))


def test_the_book_is_logged_once(book: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    data = BookDataModule(book, seq_len=10)
    assert caplog.messages == []  # an error in the arguments would be the only message
    data.setup("fit")
    data.setup("test")
    (message,) = caplog.messages
    assert message.startswith(f"Book {book}: ") and message.endswith("utf-8; line ends LF; Unicode in NFC.")


def test_a_fraction_of_a_text_is_exact() -> None:
    parts = split(np.arange(1000, dtype=np.uint16), 0.1, 0.0)
    assert {name: len(ids) for name, ids in parts.items()} == {"train": 900, "val": 100, "test": 0}
    parts = split(np.arange(1000, dtype=np.uint16), 0.05, 0.05)
    assert {name: len(ids) for name, ids in parts.items()} == {"train": 900, "val": 50, "test": 50}


@pytest.mark.parametrize("carry_state", [True, False])
def test_y_follows_x_in_the_training_text(carry_state: bool, book: str) -> None:
    data = BookDataModule(book, seq_len=10, batch_size=7, carry_state=carry_state, seed=3)
    train = text_of(data, data.splits["train"])
    loader = data.train_dataloader()
    for k in range(300):
        x, y = loader.batch(k)
        assert x.shape == y.shape == (7, 10) and x.dtype == y.dtype == torch.int64
        for row_x, row_y in zip(x, y, strict=True):
            assert text_of(data, row_x) + text_of(data, row_y[-1:]) in train
            assert torch.equal(row_x[1:], row_y[:-1])


@settings(max_examples=100, deadline=None)
@given(num=st.integers(12, 400), batch_size=st.integers(1, 9), seq_len=st.integers(1, 11), seed=st.integers(0, 99))
def test_each_row_continues_and_the_whole_text_is_read(num: int, batch_size: int, seq_len: int, seed: int) -> None:
    ids = np.arange(num, dtype=np.uint16)
    num_windows = (num - 1) // seq_len
    loader = StreamLoader(ids, min(batch_size, num_windows), seq_len, seed)
    batches = [loader.batch(k) for k in range(2 * num_windows + 1)]
    breaks = 0
    for (_, y), (x, _) in itertools.pairwise(batches):
        for last, first in zip(y[:, -1].tolist(), x[:, 0].tolist(), strict=True):
            if last != first:  # at the end of the text
                assert first < seq_len <= num - last + seq_len
                breaks += 1
    assert breaks <= 3 * loader.batch_size
    seen = torch.cat([x[0] for x, _ in batches[:num_windows]])
    assert len(seen.unique()) >= num_windows * seq_len - seq_len
    every_row = torch.cat([x.flatten() for x, _ in batches])
    assert (every_row.unique() <= num - 2).all()
    rows = batches[0][0][:, 0].tolist()
    assert len(set(rows)) == len(rows)


def test_each_pass_and_each_seed_start_at_another_offset() -> None:
    loader = StreamLoader(np.arange(1000, dtype=np.uint16), 1, 70, seed=0)
    begins = [int(loader.batch(k)[0][0, 0]) for k in range(10 * 14)]
    passes = [begins[i : i + 14] for i in range(0, 140, 14)]
    assert len({min(one) for one in passes}) > 5 and max(begins) + 70 < 1000
    firsts = {int(StreamLoader(loader.ids, 1, 70, seed).batch(0)[0][0, 0]) // 70 for seed in range(20)}
    assert len(firsts) > 5


def test_windows_start_anywhere() -> None:
    loader = WindowLoader(np.arange(50, dtype=np.uint8), 64, 7, seed=1)
    starts = torch.cat([loader.batch(k)[0][:, 0] for k in range(100)])
    assert starts.min() == 0 and starts.max() == 50 - 7 - 1
    counts = starts.bincount().float()
    assert counts.min() > 0.6 * counts.mean()


@pytest.mark.parametrize("carry_state", [True, False])
def test_batch_k_depends_on_the_seed_and_k_alone(carry_state: bool, book: str) -> None:
    def loader(seed: int) -> Any:
        return BookDataModule(book, seq_len=10, batch_size=4, carry_state=carry_state, seed=seed).train_dataloader()

    one, two = loader(1), loader(1)
    served = [batch for _, batch in zip(range(20), one, strict=False)]
    for k in reversed(range(20)):
        assert all(map(torch.equal, two.batch(k), served[k]))
    assert not torch.equal(loader(2).batch(0)[0], served[0][0])
    three = loader(1)
    three.load_state_dict(one.state_dict())
    assert all(map(torch.equal, next(iter(three)), two.batch(20)))
    assert len(three) == 250


@settings(max_examples=200, deadline=None)
@given(num=st.integers(2, 300), num_streams=st.integers(1, 20), seq_len=st.integers(1, 50))
def test_a_held_out_split_is_read_once_from_beginning_to_end(num: int, num_streams: int, seq_len: int) -> None:
    loader = EvalStreamLoader(np.arange(num, dtype=np.uint16), num_streams)
    loader.seq_len = seq_len
    batches = list(loader)
    assert len(batches) == len(loader)
    streams: list[list[int]] = [[] for _ in range(loader.num_streams)]
    for x, y in batches:
        assert torch.equal(x + 1, y)
        for stream, row in zip(streams, x.tolist(), strict=False):
            stream += row
    assert [i for stream in streams for i in stream] == list(range(num - 1))
    assert max(map(len, streams)) - min(map(len, streams)) <= 1


def test_long_splits_are_read_in_several_streams(book: str) -> None:
    data = BookDataModule(book, seq_len=10)
    assert data.val_dataloader().num_streams == 1
    data.splits["val"] = np.zeros(120_000, dtype=np.uint8)
    assert data.val_dataloader().num_streams == 3
    data.splits["val"] = np.zeros(10_000_000, dtype=np.uint8)
    assert data.val_dataloader().num_streams == 64
    assert BookDataModule(book, seq_len=10, eval_batch_size=5).val_dataloader().num_streams == 5


def test_a_short_book_has_fewer_rows(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(WORDS * 4)
    data = BookDataModule(str(path), seq_len=30, batch_size=64, val_fraction=0.2, test_fraction=0)
    x, _ = data.train_dataloader().batch(0)
    assert len(x) == data.batch_size == (len(data.splits["train"]) - 1) // 30
    assert data.test_dataloader() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seq_len": 0}, "seq_len is 0; it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"eval_batch_size": 0}, "eval_batch_size is 0; it must be at least 1"),
        ({"seq_len": 1 << 20}, r"batch_size is 64.* at most 16777216, so lower one of them"),
        ({"val_fraction": 0.0}, "val_fraction is 0.0; it must be above 0 and below 1"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0; it must be at least 0 and below 1"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "together they must be below 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"seq_len": 400}, r"its val split has \d+ of \d+ characters; it must have at least seq_len \+ 1 = 401"),
        ({"val_fraction": 0.9, "test_fraction": 0.01, "seq_len": 100}, "its test split has"),
        ({"val_fraction": 0.99, "test_fraction": 0.0, "seq_len": 100}, "its train split has"),
    ],
)
def test_wrong_arguments_are_rejected(arguments: dict[str, Any], message: str, book: str) -> None:
    with pytest.raises(ValueError, match=message):
        BookDataModule(book, **arguments)


def test_the_shortest_split_has_one_character_more_than_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("abcdefghij" * 10)
    data = BookDataModule(str(path), seq_len=9, val_fraction=0.1, test_fraction=0.1)
    assert len(data.splits["val"]) == len(data.splits["test"]) == 10
    with pytest.raises(ValueError, match=r"must have at least seq_len \+ 1 = 11"):
        BookDataModule(str(path), seq_len=10, val_fraction=0.1, test_fraction=0.1)


def test_a_checkpoint_of_another_text_is_rejected(book: str, tmp_path: Path) -> None:
    data = BookDataModule(book, seq_len=10)
    other = tmp_path / "other.txt"
    other.write_text(Path(book).read_text() + "!")
    with pytest.raises(ValueError, match=r"different characters, not the \d+ that the checkpoint was trained on"):
        BookDataModule(str(other), seq_len=10).load_state_dict(data.state_dict())
    other.write_text(Path(book).read_text()[::-1])
    backwards = BookDataModule(str(other), seq_len=10)
    backwards.load_state_dict(data.state_dict())
    backwards.setup("test")
    with pytest.raises(ValueError, match="is not the text that the checkpoint was trained on"):
        backwards.setup("fit")


@pytest.mark.parametrize("loader_class", [StreamLoader, WindowLoader])
def test_batches_of_a_chunk_equal_single_batches(loader_class: type[BookLoader]) -> None:
    ids = np.random.default_rng(0).integers(0, 80, 5000).astype(np.uint8)
    loader = loader_class(ids, 64, 30, seed=3)
    for k in (0, 1, 40, 17, 2, 300, 299, 0):
        x, y = loader.batch(k)
        rows = np.stack([ids[start : start + 31] for start in loader.starts(k)]).astype(np.int64)
        assert torch.equal(x, torch.from_numpy(rows[:, :-1])) and torch.equal(y, torch.from_numpy(rows[:, 1:]))


@pytest.mark.parametrize("loader", [StreamLoader, WindowLoader])
@pytest.mark.parametrize("num", [2, 3])
def test_processes_share_training_batches(num: int, loader: type[StreamLoader] | type[WindowLoader]) -> None:
    ids = np.arange(1009, dtype=np.uint16)
    whole = loader(ids, 4 * num, 7, 1)
    parts = [loader(ids, 4, 7, 1, Shard(rank, num)) for rank in range(num)]
    assert {part.steps_per_epoch for part in parts} == {whole.steps_per_epoch}
    for k in (0, 3, 400):
        assert torch.equal(torch.cat([part.batch(k)[0] for part in parts]), whole.batch(k)[0])


@pytest.mark.parametrize("num_streams", [3, 4, 7])
def test_processes_share_held_out_streams(num_streams: int) -> None:
    ids = np.arange(1009, dtype=np.uint16)
    loaders = [EvalStreamLoader(ids, num_streams, Shard(rank, 3)) for rank in range(3)]
    read = [y.flatten() for loader in loaders for _, y in loader]
    assert torch.equal(torch.cat(read).sort().values, torch.arange(1, 1009))
    assert [len(list(loader)) for loader in loaders] == [len(loader) for loader in loaders]
