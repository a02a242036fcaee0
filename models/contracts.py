"""What the command line asks of a model, and what a model asks of its data. Neither needs torch or Lightning."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


class ReportingModel:
    """A model that describes its results in words. Each method has a default, so a subclass overrides what it needs.

    A ``LightningModule`` that is no ``ReportingModel`` can be trained and tested, too. Its results are printed as
    Lightning's own table of metrics.
    """

    MAY_DIFFER_IN_TEST: ClassVar[tuple[str, ...]] = ()
    """Arguments of ``__init__``, sorted, that affect training only. A checkpoint made with other values can still be
    validated, tested and used for predictions. An entry covers its nested keys: ``optimizer`` covers
    ``optimizer.init_args.lr``."""

    MAY_DIFFER_ON_RESUME: ClassVar[tuple[str, ...]] = ()
    """Arguments of ``__init__``, sorted, that may change when a run is resumed, nested keys included."""

    MAY_CHANGE_ON_RESUME: ClassVar[tuple[str, ...]] = ()
    """Arguments of ``__init__``, sorted, that a person may change on purpose when a run is resumed, nested keys
    included. Training uses them, but the weights and states in a checkpoint fit any of their values."""

    next_command: ClassVar[str] = "predict"
    """The command that best shows what the model has learned; suggested after ``fit``."""

    def adapt_weights(
        self, weights: "dict[str, Tensor]", data_state: Mapping[str, Any], data: Any
    ) -> "tuple[dict[str, Tensor], str]":
        """Make the weights of another model of this class fit to this one's data.

        Args:
            weights: the ``state_dict`` of the other model.
            data_state: the ``state_dict`` of its datamodule.
            data: the datamodule of this model.
        Returns:
            the weights for this model, and what was changed, a part of a sentence.
        """
        return weights, ""

    def remember(self, data_arguments: Mapping[str, Any], vocabulary: "Characters | None") -> None:
        """Take from the data that the model was trained on what predictions need; called when it is loaded.

        Args:
            data_arguments: of the datamodule's ``__init__``.
            vocabulary: the characters of a text.
        """

    def training_metrics(self) -> "dict[str, Tensor]":
        """Metrics of the training steps since the last call, by the names under which they are logged."""
        return {}

    def describe_test(self) -> list[str]:
        """Lines of a table with the results of the last test; none if nothing was tested."""
        return []

    def describe_learning(self) -> str:
        """A sentence about what the last test has shown; empty if nothing was tested."""
        return ""

    def describe_predictions(self, predictions: list[Any], num_shown: int = 10) -> list[str]:
        """A heading, and lines with the first ``num_shown`` predictions.

        Args:
            predictions: the results of ``predict_step``, one for each batch.
            num_shown: items to show.
        """
        return [f"{len(predictions)} batches of predictions"]


@runtime_checkable
class PalindromeData(Protocol):
    """A datamodule of palindromes; ``PalindromeDataModule`` is one."""

    num_classes: int
    """Different digits, K."""
    train_lengths: Any
    """The lengths of the next training batches; a curriculum changes them."""


@runtime_checkable
class StringData(Protocol):
    """A datamodule of strings; ``StringDataModule`` is one."""

    num_features: int
    """Different symbols in the input."""
    num_classes: int
    """Different symbols to predict."""
    num_symbols: int
    """Different symbols in a string."""


class Characters(Protocol):
    """The characters that a model of text knows; ``datamodules.vocabulary.Vocabulary`` is one."""

    @property
    def characters(self) -> Sequence[str]:
        """In the order of their ids."""

    @property
    def char_to_id(self) -> Mapping[str, int]:
        """The id of each character."""

    def encode(self, text: str) -> list[int]:
        """The ids of the characters; a ValueError names those that are unknown."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids."""

    def without_unknown(self, text: str) -> str:
        """``text`` without the characters that are unknown."""

    def with_replacements(self, text: str) -> str:
        """``text`` with similar characters in place of unknown ones."""


@runtime_checkable
class TextData(Protocol):
    """A datamodule of text; ``BookDataModule`` is one."""

    vocabulary: Any
    """The characters: ``len(vocabulary)`` of them; ``vocabulary.decode(ids)`` gives a string."""


@runtime_checkable
class GraphData(Protocol):
    """A datamodule with one graph; ``GraphDataModule`` is one."""

    graph: Any
    """The graph: ``names`` of its nodes and ``class_names``, each a list of strings."""
    num_classes: int
    """Classes of nodes, C."""


@runtime_checkable
class SignalData(Protocol):
    """A datamodule of signals that spread over graphs; ``SpreadDataModule`` is one."""

    num_nodes: int
    """Nodes of each graph, N."""
    refractory: int
    """Time steps for which a node rests after it was excited."""
