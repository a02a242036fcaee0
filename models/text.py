"""Character models of books (section 2 of the assignment).

Legend: B batch, T characters of a sample, V different characters, L layers, H hidden units.
"""

import math
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from models.classifier import Classifier, most_likely
from models.contracts import TextData
from models.networks.build import build_text_network
from models.networks.stacked_lstm import Initialization, State
from models.tables import percent
from models.text_writer import TextWriter

Batch = tuple[Tensor, Tensor]

LINE_LENGTH = 60
"""Characters of a line in which predictions are shown."""


class CharacterModel(Classifier):
    """What all models of text share; a subclass implements ``logits_and_target``.

    The loss is that of equation 13: the cross-entropy, the mean over steps and samples. Validation and test also
    measure ``bits_per_character``, the loss in bits, and ``perplexity``, the exponential of the loss.

    Args:
        optimizer, lr_scheduler: see ``Classifier``.
    Batch:
        ``(x, y)``, each (B, T) int64 in [0, V); ``y[b, t]`` follows ``x[b, t]``.
    Raises:
        ValueError: when training begins, the data has no vocabulary.
    """

    next_command = "generate"

    def setup(self, stage: str) -> None:
        self.check_data(TextData, "no vocabulary", "BookDataModule")

    def compute_eval_metrics(self) -> dict[str, Tensor]:
        means = super().compute_eval_metrics()
        if "loss" in means:
            means |= {"bits_per_character": means["loss"] / math.log(2), "perplexity": means["loss"].exp()}
        return means

    def test_cells(self, result: dict[str, Any]) -> dict[str, str]:
        return {
            "characters": f"{result['num_accuracy'][1]:,}",
            "test/loss": f"{result['loss']:.4f}",
            "test/accuracy": percent(result["accuracy"]),
            "bits per character": f"{result['bits_per_character']:.3f}",
            "perplexity": f"{result['perplexity']:.3f}",
        }

    def describe_learning(self) -> str:
        """A sentence: how well the model predicts the characters of the test split."""
        if not self.test_results:
            return ""
        (result,) = self.test_results
        num_different = len(self.trainer.datamodule.vocabulary)
        return (
            f"The model predicts {percent(result['accuracy'], 1)} of the characters of held-out text. "
            f"Its perplexity is {result['perplexity']:.1f}, among {num_different} different characters."
        )

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``target``, the text as it is, and the predictions ``preds``, both (B, T)."""
        logits, target = self.logits_and_target(batch)
        return {"target": target, "preds": most_likely(logits)}

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading, and ``num_shown`` lines of the first row's text, each above its predictions."""
        lines = ["the text, and below each character its prediction"]
        if not predictions:
            return lines
        decode = self.trainer.datamodule.vocabulary.decode
        target, preds = (
            decode(torch.cat([batch[key][0] for batch in predictions]).tolist()).replace("\n", "\u21b5")
            for key in ("target", "preds")
        )
        for begin in range(0, min(len(target), num_shown * LINE_LENGTH), LINE_LENGTH):
            lines += [f"  {text[begin : begin + LINE_LENGTH]}" for text in (target, preds)] + [""]
        return lines[:-1]


class TextModel(TextWriter, CharacterModel):
    """Predicts the next character at every step.

    With ``carry_state`` each row of a training batch begins in the final state of that row in the previous batch,
    detached. Gradients reach back at most T characters, but the state also has information from earlier ones. Such a
    model rarely sees the beginning of a text, so ``reset_probability`` lets some rows begin in a state of zeros.
    Validation and test begin with zeros and carry the state through the split.

    Args:
        vocab_size: different characters, V; the CLI links it to the book's.
        hidden_size: hidden units of each layer, H.
        num_layers: layers of ``torch.nn.LSTM``, L.
        embedding_size: features of a character; ``None`` for one-hot.
        dropout: probability that an output of a layer is set to zero in training, for all steps of a row of a batch.
        dropout_samples: dropout masks of the last layer for each batch; the loss is the mean over them.
        weight_dropout: probability that a recurrent weight is set to zero in training, for all steps of a batch.
        carry_state: whether a row of a batch continues the row of the batch before; the CLI links it to the data's.
        reset_probability: with ``carry_state``, probability that a row begins a batch in a state of zeros, from 0 to 1.
        initialization: of the LSTM layers, ``uniform`` or ``orthogonal``; see ``StackedLSTM``.
        optimizer: makes the optimizer from the parameters; by default RMSProp, lr 0.002, as in the assignment.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        see ``CharacterModel``, also for the loss.
    Raises:
        ValueError: an argument is out of its range; there is no state to reset; when training begins, the data has no
            vocabulary, or the processor has no LSTM in the trainer's precision.
    """

    MAY_DIFFER_IN_TEST = (
        "carry_state",
        "dropout",
        "dropout_samples",
        "initialization",
        "lr_scheduler",
        "optimizer",
        "reset_probability",
        "weight_dropout",
    )
    MAY_CHANGE_ON_RESUME = (
        "dropout",
        "dropout_samples",
        "lr_scheduler",
        "optimizer",
        "reset_probability",
        "weight_dropout",
    )

    def __init__(
        self,
        vocab_size: int = 128,
        hidden_size: int = 128,
        num_layers: int = 2,
        embedding_size: int | None = 64,
        dropout: float = 0.0,
        dropout_samples: int = 1,
        weight_dropout: float = 0.0,
        carry_state: bool = True,
        reset_probability: float = 0.0,
        initialization: Initialization = "uniform",
        optimizer: OptimizerCallable = lambda parameters: torch.optim.RMSprop(parameters, lr=2e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        if not 0 <= reset_probability <= 1:
            raise ValueError(f"reset_probability is {reset_probability}; it must be from 0 to 1")
        if reset_probability > 0 and not carry_state:
            raise ValueError(
                f"reset_probability is {reset_probability}, but carry_state is false, so every row begins with zeros; "
                "leave one of them out"
            )
        self.network = build_text_network(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            embedding_size=embedding_size,
            dropout=dropout,
            dropout_samples=dropout_samples,
            weight_dropout=weight_dropout,
            initialization=initialization,
        )
        self.carry_state = carry_state
        self.reset_probability = reset_probability
        self.carried_state: State | None = None  # in which the next training batch begins
        self.final_state: State | None = None  # of the latest batch; a callback may have looked at others before it
        self.eval_state: State | None = None

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.trainer.strategy.root_device.type == "cpu":
            check_precision(self.trainer, self.network.lstm, self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the characters that follow: (B, T) int64 -> (B, T, V)."""
        logits, _ = self.network(x)
        return logits

    def logits_and_target(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x, y = batch
        if not self.training:
            logits, self.eval_state = self.network(x, first_rows(self.eval_state, len(x)))
        elif self.carry_state:
            start = with_resets(first_rows(self.carried_state, len(x)), self.reset_probability)
            logits, (h, c) = self.network(x, start)
            # Under autocast their dtype is lower, but a run may be resumed without autocast.
            self.final_state = h.detach().to(self.dtype), c.detach().to(self.dtype)
        else:
            logits, _ = self.network(x)
        if logits.dim() > y.dim() + 1:  # (B, T, S, V), of several dropout masks
            logits, y = logits.flatten(1, 2), y.repeat_interleave(logits.shape[2], dim=1)
        return logits, y

    def on_fit_start(self) -> None:
        if self.carried_state is not None:  # from a checkpoint, whose tensors are on the CPU
            h, c = self.carried_state
            self.carried_state = h.to(self.device), c.to(self.device)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.carried_state = self.final_state

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["carried_state"] = self.carried_state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.carried_state = checkpoint["carried_state"]

    def on_validation_epoch_start(self) -> None:
        self.eval_state = None

    on_predict_epoch_start = on_validation_epoch_start

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self.eval_state = None


def check_precision(trainer: Trainer, lstm: nn.LSTM, dtype: torch.dtype) -> None:
    """Raise a ValueError if the processor has no instructions for an LSTM in the trainer's precision."""
    try:
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            lstm(torch.zeros(1, 1, lstm.input_size, dtype=dtype))
    except RuntimeError as error:
        raise ValueError(
            f"trainer.precision is {trainer.precision}, in which this processor cannot compute an LSTM; use 32-true, "
            "or auto, the fastest that it can compute"
        ) from error


def first_rows(state: State | None, num: int) -> State | None:
    """The state of the first ``num`` rows: the last batch of a text may have fewer rows than the one before."""
    if state is None or state[0].shape[1] == num:
        return state
    h, c = state
    return h[:, :num].contiguous(), c[:, :num].contiguous()


def with_resets(state: State | None, probability: float) -> State | None:
    """The state, in which each row is set to zeros with this probability."""
    if state is None or probability == 0:
        return state
    h, c = state
    keeps = torch.rand(h.shape[1], 1, device=h.device) >= probability
    return h * keeps, c * keeps
