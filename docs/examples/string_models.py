"""A model of strings with another network."""

from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional

from models.transducer import Transducer


class GRUTransducer(Transducer):
    """Reads and writes strings with torch's gated recurrent unit (Cho et al. 2014).

    Args:
        hidden_size: hidden units, H.
        in_features, out_features: different symbols that it reads and predicts; the command line links them to the
            data's.
        optimizer, lr_scheduler: see ``Transducer``.
    """

    def __init__(
        self,
        hidden_size: int = 128,
        in_features: int = 12,
        out_features: int = 10,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(
            in_features=in_features, out_features=out_features, optimizer=optimizer, lr_scheduler=lr_scheduler
        )
        self.network: Any = GRU(in_features, hidden_size, out_features)


class GRU(nn.Module):
    """torch's GRU with a linear readout."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)
        self.output = nn.Linear(hidden_size, output_size)

    def logits(self, symbols: Tensor, num_last_steps: int = 1) -> Tensor:
        """(B, T) int64 -> (B, n, K)."""
        inputs = functional.one_hot(symbols, self.input_size).to(self.output.weight.dtype)
        return self.output(self.gru(inputs)[0][:, -num_last_steps:])
