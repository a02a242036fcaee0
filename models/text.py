"""A network that learns a book letter by letter (section 2 of the assignment).

Legend: B batch, T characters of a sample, V different characters, L layers, H hidden units.
"""

import math
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from models.classifier import Classifier, Share
from models.decoding import read, sampling, write
from models.networks.stacked_lstm import CharacterSteps, Initialization, StackedLSTM, State

Batch = tuple[Tensor, Tensor]

LINE_LENGTH = 60
"""Characters of a line in which predictions are shown."""


def rmsprop(parameters: Any) -> torch.optim.Optimizer:
    """RMSProp with a learning rate of 0.002, the assignment's default."""
    return torch.optim.RMSprop(parameters, lr=2e-3)


class TextModel(Classifier):
    """Names the next character at every step.

    The loss is that of equation 13: the cross-entropy, the mean over the steps and the samples. Beside it and the
    accuracy, validation and test measure ``bits_per_character``, the loss in bits, and ``perplexity``, its exponential.

    With ``carry_state`` each row of a training batch begins in the state, detached, in which that row of the batch
    before ended: gradients reach back T characters, the memory further. A model that has seen nothing but the middle of
    texts is at a loss where one begins; ``reset_probability`` lets rows begin anew now and then. Validation and test
    always carry their state, from a state of zeros at the beginning of the split.

    Args:
        vocab_size: different characters, V; the CLI links it to the book's.
        hidden_size: hidden units of each layer, H.
        num_layers: layers of ``torch.nn.LSTM``, L.
        embedding_size: features of a character; ``None`` for one-hot.
        dropout: probability with which a unit of a layer is zero on its way up, for all steps of a row of a batch, in
            training.
        dropout_samples: masks of the last layer's units under which the loss of a batch is computed; it is their mean.
        weight_dropout: probability with which a recurrent weight is zero for all steps of a batch, in training.
        carry_state: whether the rows of a batch go on where those of the batch before ended; the CLI links it to the
            data's.
        reset_probability: with which a row begins a batch in a state of zeros all the same, from 0 to 1.
        initialization: how the LSTM layers start, ``uniform`` or ``orthogonal``; see ``StackedLSTM``.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        ``(x, y)``, each (B, T) int64 in [0, V); ``y[b, t]`` follows ``x[b, t]``.
    Raises:
        ValueError: an argument is out of its range, there is no state that could be reset; when training begins, the
            data has no vocabulary.
    """

    next_command = "generate"

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
        optimizer: OptimizerCallable = rmsprop,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        if not 0 <= reset_probability <= 1:
            raise ValueError(f"reset_probability is {reset_probability}; it must be from 0 to 1")
        if reset_probability > 0 and not carry_state:
            raise ValueError(
                f"reset_probability is {reset_probability}, but carry_state is false: each row begins anew as it is; "
                "leave one of them out"
            )
        self.network = StackedLSTM(
            vocab_size,
            hidden_size,
            num_layers,
            embedding_size,
            dropout,
            dropout_samples,
            weight_dropout,
            initialization,
        )
        self.carry_state = carry_state
        self.reset_probability = reset_probability
        self.training_state: State | None = None  # in which the next training batch begins
        self.state_after: State | None = None  # of the batch seen last; an observer may have looked at others before
        self.held_out_state: State | None = None
        self.test_results: dict[str, float] = {}

    def setup(self, stage: str) -> None:
        self.check_data("vocabulary", "which has no vocabulary; give it BookDataModule")
        if self.trainer.strategy.root_device.type == "cpu":
            self._try_precision()

    def _try_precision(self) -> None:
        """Raise a ValueError where the processor lacks instructions for an LSTM in the trainer's precision."""
        try:
            with torch.no_grad(), self.trainer.precision_plugin.forward_context():
                self.network.lstm(torch.zeros(1, 1, self.network.lstm.input_size, dtype=self.dtype))
        except RuntimeError as error:
            raise ValueError(
                f"trainer.precision is {self.trainer.precision}, in which this processor cannot compute an LSTM; take "
                "32-true, or auto, the quickest that it can"
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the characters that follow: (B, T) int64 -> (B, T, V)."""
        logits, _ = self.network(x)
        return logits

    def logits_and_target(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x, y = batch
        if not self.training:
            logits, self.held_out_state = self.network(x, of_rows(self.held_out_state, len(x)))
        elif self.carry_state:
            logits, (h, c) = self.network(x, self._first_state(of_rows(self.training_state, len(x))))
            # Under autocast they come in another precision, in which the next batch need not be trained.
            self.state_after = h.detach().to(self.dtype), c.detach().to(self.dtype)
        else:
            logits, _ = self.network(x)
        if logits.dim() > y.dim() + 1:  # (B, T, S, V), of several masks
            logits, y = logits.flatten(1, 2), y.repeat_interleave(logits.shape[2], dim=1)
        return logits, y

    def _first_state(self, carried: State | None) -> State | None:
        """In which a training batch begins: some rows in zeros."""
        if carried is None or self.reset_probability == 0:
            return carried
        h, c = carried
        goes_on = torch.rand(h.shape[1], 1, device=h.device) >= self.reset_probability
        return h * goes_on, c * goes_on

    def write(self, first: Tensor, length: int, tau: Tensor, seeds: list[int]) -> Tensor:
        """Texts of ``length`` characters that begin with the characters ``first``: (B,) -> (B, length) int64.

        Args:
            first: of each text, int64.
            length: characters of a text, at least 1.
            tau: what the logits are multiplied by before a character is drawn, of each text; infinity is greedy.
            seeds: what is drawn, of each text.
        """
        network = CharacterSteps(self.network)
        logits, state = read(network, first[:, None], network.start(len(first)))
        written = write(network, logits, state, sampling(seeds, length, tau), length - 1)
        return torch.stack([first, *written], dim=1)

    def on_fit_start(self) -> None:
        if self.training_state is not None:  # out of a checkpoint, which is read to the CPU
            h, c = self.training_state
            self.training_state = h.to(self.device), c.to(self.device)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.training_state = self.state_after

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["carried_state"] = self.training_state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.training_state = checkpoint["carried_state"]

    def on_validation_epoch_start(self) -> None:
        self.held_out_state = None

    on_predict_epoch_start = on_validation_epoch_start

    def on_test_epoch_start(self) -> None:
        self.held_out_state = None
        self.test_results = {}

    def take_held_out(self) -> dict[str, Tensor]:
        means = super().take_held_out()
        if "loss" in means:
            means["bits_per_character"] = means["loss"] / math.log(2)
            means["perplexity"] = means["loss"].exp()
        return means

    def on_test_epoch_end(self) -> None:
        means = self.take_held_out()
        for name, value in means.items():
            self.log(f"test/{name}", value)
        if means:
            accuracy = self.held_out_metrics["accuracy"]
            assert isinstance(accuracy, Share)
            self.test_results = {"characters": accuracy.counted[1]} | {
                name: value.item() for name, value in means.items()
            }

    def describe_test(self) -> list[str]:
        """A heading and a line with what the test has measured."""
        results = self.test_results
        if not results:
            return []
        cells = {
            "characters": f"{results['characters']:,}",
            "test/loss": f"{results['loss']:.4f}",
            "test/accuracy": f"{100 * results['accuracy']:.2f} %",
            "bits per character": f"{results['bits_per_character']:.3f}",
            "perplexity": f"{results['perplexity']:.3f}",
        }
        widths = [max(len(heading), len(cell)) for heading, cell in cells.items()]
        lines = (cells.keys(), cells.values())
        return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]

    def describe_learning(self) -> str:
        """A sentence: how well it knows what comes next."""
        if not self.test_results:
            return ""
        share = f"{100 * self.test_results['accuracy']:.1f} %"
        unsure = f"{self.test_results['perplexity']:.1f} of {len(self.trainer.datamodule.vocabulary)}"
        return f"In text that it never saw it foretells {share} of the characters, as unsure as between {unsure}."

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``target``, the text as it is, and the predictions ``preds``, both (B, T)."""
        logits, target = self.logits_and_target(batch)
        return {"target": target, "preds": logits.argmax(dim=-1)}

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading, and the beginning of the text, ``num_shown`` lines of it, each above what was predicted there."""
        lines = ["the text, and below it the character that was expected in the place of each"]
        if not predictions:
            return lines
        target, preds = (self._shown([p[key][0] for p in predictions]) for key in ("target", "preds"))
        for begin in range(0, min(len(target), num_shown * LINE_LENGTH), LINE_LENGTH):
            lines += [f"  {text[begin : begin + LINE_LENGTH]}" for text in (target, preds)] + [""]
        return lines[:-1]

    def _shown(self, parts: list[Tensor]) -> str:
        """The characters of these ids, with a sign for a line break."""
        text: str = self.trainer.datamodule.vocabulary.decode(torch.cat(parts).tolist())
        return text.replace("\n", "\u21b5")


def of_rows(state: State | None, num: int) -> State | None:
    """The state of the first ``num`` rows: the last batch of a text may have fewer than those before."""
    if state is None or state[0].shape[1] == num:
        return state
    h, c = state
    return h[:, :num].contiguous(), c[:, :num].contiguous()
