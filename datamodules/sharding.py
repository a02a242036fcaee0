"""What datamodules share, and how several processes share batches."""

from typing import Any, ClassVar, NamedTuple

from pytorch_lightning import LightningDataModule


class Shard(NamedTuple):
    """The rows of one of several processes.

    Args:
        rank: of the process, from 0.
        num_processes: how many share the batches.
    """

    rank: int = 0
    num_processes: int = 1

    def rows(self, batch_size: int) -> slice:
        """Its rows of a training batch, which has ``batch_size`` rows for each process."""
        return slice(self.rank * batch_size, (self.rank + 1) * batch_size)

    def size(self, num_rows: int) -> int:
        """How many of ``num_rows`` held-out rows it has: rows ``rank``, ``rank + num_processes``, ..."""
        return len(range(self.rank, num_rows, self.num_processes))


WHOLE = Shard()


class DataModule(LightningDataModule):
    """A datamodule that knows what may change on resume, and prints as its hyper-parameters."""

    MAY_DIFFER_ON_RESUME: ClassVar[tuple[str, ...]] = ()
    """Arguments of ``__init__``, sorted, that may change when a run is resumed: training does not depend on them, or
    ``check_state`` checks what they stand for."""

    def check_state(self, state_dict: dict[str, Any]) -> None:
        """Raise a ValueError if a checkpoint with this state was trained on other data.

        It is called before the weights are loaded, because their sizes may depend on the data.
        """

    def __str__(self) -> str:
        # Lightning's own iterates over the loaders.
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.hparams.items())})"


class ShardedDataModule(DataModule):
    """A datamodule that can serve several processes; ``fit`` and ``test`` refuse them with any other.

    The loaders of a subclass serve its ``shard``: the rows ``shard.rows(batch_size)`` of each training batch, and
    every ``shard.num_processes``-th held-out row. So all processes together read what one process would read with
    ``shard.num_processes`` times the batch size.
    """

    @property
    def shard(self) -> Shard:
        """The shard of this process; all rows without a trainer."""
        return WHOLE if self.trainer is None else Shard(self.trainer.global_rank, self.trainer.world_size)
