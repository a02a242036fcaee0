"""The next-character network: embedding or one-hot, stacked ``torch.nn.LSTM``, logits (section 2 of the assignment).

Legend: B batch, T time steps, V different characters, E embedding, H hidden units, L layers.
"""

from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.initialization import check_name, normal_, orthogonal_

State = tuple[Tensor, Tensor]
"""h and c of all layers, each (L, B, H)."""

Initialization = Literal["uniform", "orthogonal"]


class StackedLSTM(nn.Module):
    """Predicts from the characters so far which comes next, at every step.

    The hidden states of a layer are the inputs of the next (Graves 2013, without its skip connections); the logits are
    ``p_t = W h_t + b`` of the last.

    Args:
        vocab_size: different characters, V.
        hidden_size: hidden units of each layer, H.
        num_layers: LSTM layers, L.
        embedding_size: features of a character, E; ``None`` for one-hot.
        dropout: probability with which a layer's output is set to zero on its way up, in training (Zaremba, Sutskever
            and Vinyals 2014).
        initialization: of the LSTM layers: ``uniform``, as ``torch.nn.LSTM`` starts, or ``orthogonal`` (each of a
            layer's four recurrent matrices; input weights normal, with as much variance at a gate as one input has;
            biases 0, but 1 for the forget gate: Jozefowicz, Zaremba and Sutskever 2015).
    Shape:
        ids (B, T) int64 in [0, V) -> logits (B, T, V) and the final state, h and c, each (L, B, H).
    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int = 128,
        num_layers: int = 2,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        initialization: Initialization = "uniform",
    ) -> None:
        super().__init__()
        sizes = {"vocab_size": vocab_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in (sizes | {"embedding_size": embedding_size}).items():
            if size is not None and size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; it must be at least 0 and below 1")
        check_name(initialization, get_args(Initialization))
        self.vocab_size = vocab_size
        self.embedding = None if embedding_size is None else nn.Embedding(vocab_size, embedding_size)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(
            vocab_size if embedding_size is None else embedding_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,  # of the last layer is below
        )
        self.output = nn.Linear(hidden_size, vocab_size)
        if initialization == "orthogonal":
            for layer in range(num_layers):
                self._make_orthogonal(layer)

    def _make_orthogonal(self, layer: int) -> None:
        W_x, W_h, b_x, b_h = (
            getattr(self.lstm, f"{name}_l{layer}").detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        orthogonal_(W_h.chunk(4))
        normal_([W_x], W_x.shape[1] ** -0.5)
        nn.init.zeros_(b_x)
        nn.init.zeros_(b_h)
        nn.init.ones_(b_x.chunk(4)[1])

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        if self.embedding is None:
            inputs = functional.one_hot(ids, self.vocab_size).to(self.output.weight.dtype)
        else:
            inputs = self.embedding(ids)
        hidden_states, state = self.lstm(inputs, state)
        return self.output(self.dropout(hidden_states)), cast(State, state)


class CharacterSteps:
    """A trained ``StackedLSTM`` one character at a time: the same function without dropout, gradients and overhead.

    The weights are copied and laid out for short products; what a character contributes to the gates of the first layer
    is looked up. A step takes a quarter of the time of ``torch.nn.LSTM`` called with one. It runs on the CPU,
    where steps as small as these are quickest.

    Args:
        network: its weights are taken as they are now.
    """

    @torch.no_grad()
    def __init__(self, network: StackedLSTM) -> None:
        weights = {name: weight.detach().float().cpu() for name, weight in network.named_parameters()}
        self.vocab_size = network.vocab_size
        self.num_layers = network.lstm.num_layers
        self.hidden_size = network.lstm.hidden_size
        layers = range(self.num_layers)
        biases = [weights[f"lstm.bias_ih_l{i}"] + weights[f"lstm.bias_hh_l{i}"] for i in layers]
        into_first = weights["lstm.weight_ih_l0"].t()
        if network.embedding is not None:
            into_first = weights["embedding.weight"] @ into_first
        self._gates_of_character = (into_first + biases[0]).contiguous()  # (V, 4H)
        self._recurrent = weights["lstm.weight_hh_l0"].t().clone(memory_format=torch.contiguous_format)
        self._upper = [
            # Of the layer below and of the layer's own last step together, (2H, 4H).
            (
                torch.cat([weights[f"lstm.weight_ih_l{i}"], weights[f"lstm.weight_hh_l{i}"]], dim=1).t().contiguous(),
                biases[i],
            )
            for i in layers[1:]
        ]
        self._output = weights["output.weight"].t().clone(memory_format=torch.contiguous_format)
        self._output_bias = weights["output.bias"].clone()

    def start(self, num: int) -> State:
        """The state before the first character of ``num`` texts."""
        h, c = (torch.zeros(self.num_layers, num, self.hidden_size) for _ in range(2))
        return h, c

    @torch.inference_mode()
    def __call__(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a character of each text: ids (B,) int64 -> logits of the next (B, V), and the new state."""
        h, c = state
        gates = torch.addmm(self._gates_of_character[ids], h[0], self._recurrent)
        h_next: list[Tensor] = []
        c_next: list[Tensor] = []
        for i in range(self.num_layers):
            if i > 0:
                weights, bias = self._upper[i - 1]
                gates = torch.addmm(bias, torch.cat([h_next[-1], h[i]], dim=1), weights)
            input_gate, forget_gate, g, output_gate = gates.chunk(4, dim=1)
            c_i = torch.addcmul(c[i] * forget_gate.sigmoid(), input_gate.sigmoid(), g.tanh())
            c_next.append(c_i)
            h_next.append(output_gate.sigmoid() * c_i.tanh())
        logits = torch.addmm(self._output_bias, h_next[-1], self._output)
        return logits, (torch.stack(h_next), torch.stack(c_next))
