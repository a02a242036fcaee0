"""What a text model trains on, its carried state, and its metrics."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from torch.nn import functional

from datamodules import BookDataModule, PalindromeDataModule
from models import PalindromeClassifier, TextModel
from models.classifier import cross_entropy
from tests.models.test_classifier import QUIET
from training.trainer import Trainer, precision_for

WORDS = "the king said to his daughter that she should take the road through the wood\n"


@pytest.fixture
def book(tmp_path: Path) -> str:
    path = tmp_path / "book.txt"
    path.write_text("".join(f"{i} {word} " for i, word in enumerate((WORDS * 60).split(" "))))
    return str(path)


def trainer(steps: int, *callbacks: Callback, **kwargs: Any) -> Trainer:
    return Trainer(**(QUIET | {"max_steps": steps, "limit_val_batches": 0, "callbacks": list(callbacks)} | kwargs))


class Recorder(Callback):
    """The batches, and their losses."""

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)
        pl_module.logits_and_target(batch)  # an observer must not change the carried state

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].item())


@pytest.mark.parametrize("carry_state", [True, False])
def test_the_loss_is_that_of_equation_13_from_the_state_before(carry_state: bool, book: str) -> None:
    data = BookDataModule(book, seq_len=12, batch_size=5, carry_state=carry_state)
    model, recorder = TextModel(data.vocab_size, hidden_size=8, carry_state=carry_state), Recorder()
    model.make_optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    trainer(6, recorder).fit(model, data)
    state = None
    for (x, y), loss in zip(recorder.batches, recorder.losses, strict=True):
        logits, state = model.network(x, state if carry_state else None)
        log_probs = logits.log_softmax(dim=2)
        expected = -torch.stack([log_probs[b, t, y[b, t]] for b in range(5) for t in range(12)]).mean()
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def first_states(model: TextModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """h and c in which each later call of the network begins, filled in by those calls."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def note(network: Any, args: tuple[Any, ...]) -> None:
        if args[1] is not None:
            seen.append(args[1])

    model.network.register_forward_pre_hook(note)
    return seen


@pytest.mark.parametrize(("probability", "num_expected"), [(0.0, 0), (0.3, 180), (1.0, 600)])
def test_some_rows_begin_with_zeros(probability: float, num_expected: int, book: str) -> None:
    data = BookDataModule(book, seq_len=3, batch_size=20)
    model = TextModel(data.vocab_size, hidden_size=8, reset_probability=probability)
    seen, ends = first_states(model), Ends()
    trainer(31, ends).fit(model, data)
    num_reset = 0
    for (h, c), (h_before, c_before) in zip(seen, ends.seen[:-1], strict=True):
        for row in range(20):
            reset = not h[:, row].any() and not c[:, row].any()
            assert reset or (torch.equal(h[:, row], h_before[:, row]) and torch.equal(c[:, row], c_before[:, row]))
            num_reset += reset
    assert abs(num_reset - num_expected) <= (60 if 0 < probability < 1 else 0)  # five standard deviations


def test_the_loss_of_several_masks_is_their_mean(book: str) -> None:
    data = BookDataModule(book, seq_len=3, batch_size=4)
    model = TextModel(data.vocab_size, hidden_size=8, dropout=0.5, dropout_samples=5)
    x, y = next(iter(data.train_dataloader()))
    torch.manual_seed(3)
    each, _ = model.network(x)
    expected = torch.stack([cross_entropy(logits, y) for logits in each.unbind(dim=2)]).mean()
    torch.manual_seed(3)
    loss = model.training_step((x, y), 0)
    torch.testing.assert_close(loss, expected)
    logits, target = model.last_step
    right = model.correctness(logits, target)["accuracy"]
    assert right.sum() == (each.argmax(dim=-1) == y[..., None]).sum() and right.numel() == 5 * y.numel()


class Ends(Callback):
    """The state after each batch."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.seen.append(pl_module.final_state)


@pytest.mark.skipif(precision_for("cpu") != "bf16-mixed", reason="this processor has no instructions for bfloat16")
def test_the_carried_state_is_of_the_parameters_precision(book: str) -> None:
    """So that a run may be resumed on a machine without bfloat16."""
    data = BookDataModule(book, seq_len=3, batch_size=4)
    model = TextModel(data.vocab_size, hidden_size=8)
    trainer(2, precision="bf16-mixed").fit(model, data)
    assert model.carried_state is not None and {part.dtype for part in model.carried_state} == {torch.float32}


@pytest.mark.skipif(torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has instructions for bfloat16")
def test_bfloat16_is_refused_where_the_processor_has_none(book: str) -> None:
    data = BookDataModule(book, seq_len=3, batch_size=4)
    model = TextModel(data.vocab_size, hidden_size=8)
    with pytest.raises(ValueError, match="bf16-mixed, in which this processor cannot compute an LSTM; use 32-true"):
        trainer(2, precision="bf16-mixed").fit(model, data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reset_probability": 1.5}, "reset_probability is 1.5; it must be from 0 to 1"),
        ({"reset_probability": 0.1, "carry_state": False}, "reset_probability is 0.1, but carry_state is false"),
        ({"initialization": "chrono"}, "initialization is 'chrono'; for this network it is one of uniform, orthogonal"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextModel(8, **arguments)


def test_gradients_end_at_the_batchs_beginning(book: str) -> None:
    data = BookDataModule(book, seq_len=12, batch_size=5)
    model = TextModel(data.vocab_size, hidden_size=8)
    trainer(3).fit(model, data)
    assert model.carried_state is not None and not any(part.requires_grad for part in model.carried_state)


@pytest.mark.parametrize("num_streams", [None, 3])
def test_validation_reads_the_whole_split_with_its_state(num_streams: int | None, book: str) -> None:
    data = BookDataModule(book, seq_len=12, batch_size=5, val_fraction=0.2, eval_batch_size=num_streams)
    model = TextModel(data.vocab_size, hidden_size=8)
    metrics = trainer(3, limit_val_batches=1.0, val_check_interval=2, check_val_every_n_epoch=None)
    metrics.fit(model, data)
    carried = model.carried_state
    model.eval()
    ids = torch.from_numpy(data.splits["val"].astype("int64"))
    num, streams = len(ids) - 1, num_streams or 1
    losses, right = [], 0
    begin = 0
    for b in range(streams):
        end = begin + num // streams + (b < num % streams)
        with torch.no_grad():
            logits, _ = model.network(ids[None, begin:end])
        losses.append(functional.cross_entropy(logits[0], ids[begin + 1 : end + 1], reduction="sum"))
        right += int((logits[0].argmax(1) == ids[begin + 1 : end + 1]).sum())
        begin = end
    assert begin == num
    loss = float(sum(losses)) / num
    (measured,) = metrics.validate(model, data, verbose=False)
    assert measured == pytest.approx(
        {
            "val/loss": loss,
            "val/accuracy": right / num,
            "val/bits_per_character": loss / math.log(2),
            "val/perplexity": math.exp(loss),
        },
        rel=1e-5,
    )
    assert model.carried_state is carried
    # The same result again: each validation begins with zeros.
    assert metrics.validate(model, data, verbose=False) == [measured]


def test_it_memorizes_a_text(book: str) -> None:
    data = BookDataModule(book, seq_len=20, batch_size=16)
    model, recorder = TextModel(data.vocab_size, hidden_size=64, num_layers=1), Recorder()
    trainer(400, recorder).fit(model, data)
    assert sum(recorder.losses[-20:]) / 20 < 0.8 < 3 < recorder.losses[0]


def test_results_of_the_test_are_a_table(book: str) -> None:
    data = BookDataModule(book, seq_len=12)
    model = TextModel(data.vocab_size, hidden_size=8)
    (measured,) = trainer(1).test(model, data, verbose=False)
    heading, line = model.describe_test()
    assert heading.split() == ["characters", "test/loss", "test/accuracy", "bits", "per", "character", "perplexity"]
    assert line.split() == [
        f"{len(data.splits['test']) - 1:,}",
        f"{measured['test/loss']:.4f}",
        f"{100 * measured['test/accuracy']:.2f}",
        "%",
        f"{measured['test/bits_per_character']:.3f}",
        f"{measured['test/perplexity']:.3f}",
    ]
    assert len(heading) == len(line)


def test_predictions_are_below_the_text(book: str) -> None:
    data = BookDataModule(book, seq_len=12)
    model = TextModel(data.vocab_size, hidden_size=8)
    predictions = trainer(1).predict(model, data)
    shown = model.describe_predictions(predictions, num_shown=2)
    text = data.vocabulary.decode(data.splits["test"].tolist()).replace("\n", "\u21b5")
    assert [shown[1], shown[4]] == [f"  {text[1:61]}", f"  {text[61:121]}"]
    logits = model(torch.from_numpy(data.splits["test"].astype("int64"))[None, :60])
    assert shown[2] == "  " + data.vocabulary.decode(logits[0].argmax(1).tolist()).replace("\n", "\u21b5")
    assert len(shown) == 6


def test_data_without_a_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read PalindromeDataModule, which has no vocabulary"):
        trainer(1).fit(TextModel(), PalindromeDataModule(6))


def test_a_palindrome_model_refuses_text(book: str) -> None:
    with pytest.raises(ValueError, match="PalindromeClassifier cannot read BookDataModule, which has no palindromes"):
        trainer(1).fit(PalindromeClassifier(), BookDataModule(book, seq_len=12))
