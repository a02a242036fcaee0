"""The next-character network: embedding or one-hot, stacked ``torch.nn.LSTM``, logits (section 2 of the assignment).

Legend: B batch, T time steps, V different characters, E embedding, H hidden units, L layers, S dropout masks.
"""

from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.checks import check_choice, check_dropout, check_sizes
from models.networks.initialization import orthogonal_

State = tuple[Tensor, Tensor]
"""h and c of all layers, each (L, B, H)."""

Initialization = Literal["uniform", "orthogonal"]


class StackedLSTM(nn.Module):
    """Predicts at every step the next character from the characters so far.

    The hidden states of a layer are the inputs of the next (Graves 2013, without its skip connections). The logits are
    ``p_t = W h_t + b`` of the last layer.

    Args:
        vocab_size: different characters, V.
        hidden_size: hidden units of each layer, H.
        num_layers: LSTM layers, L.
        embedding_size: features of a character, E; ``None`` for one-hot.
        dropout: probability that an output of a layer is set to zero in training. The mask is the same for all steps,
            and drawn for each row of a batch (Gal and Ghahramani 2016).
        dropout_samples: dropout masks of the last layer, S; in training logits are computed for each (Inoue 2019).
            Several masks are shared by all rows of a batch.
        weight_dropout: probability that a recurrent weight is set to zero in training, for all steps of a batch (Wan et
            al. 2013; Merity, Keskar and Socher 2018); rounded to 1/256 ... 255/256 unless it is 0.
        initialization: of the LSTM layers: ``uniform``, the default of ``torch.nn.LSTM``, or ``orthogonal`` (each of a
            layer's four recurrent matrices; input weights normal, so that a gate gets the variance of one input;
            biases 0, but 1 for the forget gate: Jozefowicz, Zaremba and Sutskever 2015).
    Shape:
        ids (B, T) int64 in [0, V) -> logits (B, T, V), or in training with S > 1 (B, T, S, V), and the final state, h
        and c, each (L, B, H).
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
        dropout_samples: int = 1,
        weight_dropout: float = 0.0,
        initialization: Initialization = "uniform",
    ) -> None:
        super().__init__()
        check_sizes(vocab_size=vocab_size, hidden_size=hidden_size, num_layers=num_layers)
        check_sizes(embedding_size=embedding_size, dropout_samples=dropout_samples)
        check_dropout(dropout=dropout, weight_dropout=weight_dropout)
        if dropout_samples > 1 and dropout == 0:
            raise ValueError(
                f"dropout_samples is {dropout_samples}, but dropout is 0, so all samples would be equal; set dropout "
                "above 0, or dropout_samples to 1"
            )
        check_choice("initialization", initialization, get_args(Initialization))
        self.vocab_size = vocab_size
        self.embedding = None if embedding_size is None else nn.Embedding(vocab_size, embedding_size)
        self.dropout = dropout
        self.dropout_samples = dropout_samples
        self.weight_dropout = weight_dropout
        self.lstm = nn.LSTM(
            vocab_size if embedding_size is None else embedding_size, hidden_size, num_layers, batch_first=True
        )
        self.output = nn.Linear(hidden_size, vocab_size)
        if initialization == "orthogonal":
            for layer in range(num_layers):
                self._make_orthogonal(layer)

    def _make_orthogonal(self, layer: int) -> None:
        W_x, W_h, b_x, b_h = (weight.detach() for weight in self._weights(layer))
        orthogonal_(W_h.chunk(4))
        nn.init.normal_(W_x, std=W_x.shape[1] ** -0.5)
        nn.init.zeros_(b_x)
        nn.init.zeros_(b_h)
        nn.init.ones_(b_x.chunk(4)[1])

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        if self.embedding is None:
            inputs = functional.one_hot(ids, self.vocab_size).to(self.output.weight.dtype)
        else:
            inputs = self.embedding(ids)
        if self.training and (self.dropout > 0 or self.weight_dropout > 0):
            return self._with_dropout(inputs, state)
        hidden_states, state = self.lstm(inputs, state)
        return self.output(hidden_states), cast(State, state)

    def _with_dropout(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The layers one by one, with dropout, and the logits."""
        sizes = self.lstm.num_layers, len(inputs), self.lstm.hidden_size
        h_0, c_0 = (inputs.new_zeros(sizes),) * 2 if state is None else state
        h_n, c_n = [], []
        for layer in range(self.lstm.num_layers):
            W_x, W_h, b_x, b_h = self._weights(layer)
            weights = [W_x, drop_weights(W_h, self.weight_dropout), b_x, b_h]
            start = [h_0[layer, None], c_0[layer, None]]
            hidden_states, h, c = torch.lstm(inputs, start, weights, True, 1, 0.0, True, False, True)
            if layer < self.lstm.num_layers - 1 or self.dropout_samples == 1:
                # A mask for each step would take almost as long as the layer's forward pass.
                inputs = hidden_states * self._mask(hidden_states, len(inputs))
            h_n.append(h)
            c_n.append(c)
        logits = self.output(inputs) if self.dropout_samples == 1 else self._logits_of_samples(hidden_states)
        return logits, (torch.cat(h_n), torch.cat(c_n))

    def _mask(self, like: Tensor, num: int) -> Tensor:
        """``num`` dropout masks, with the scale of the units that are kept: (num, 1, H)."""
        return functional.dropout(like.new_ones(num, 1, self.lstm.hidden_size), self.dropout)

    def _logits_of_samples(self, hidden_states: Tensor) -> Tensor:
        """(B, T, H) -> (B, T, S, V)."""
        # Masks are applied to the weights, which have fewer elements than the hidden states.
        S = self.dropout_samples
        weights = (self.output.weight * self._mask(self.output.weight, S)).flatten(0, 1)
        return functional.linear(hidden_states, weights, self.output.bias.repeat(S)).unflatten(-1, (S, self.vocab_size))

    def _weights(self, layer: int) -> list[nn.Parameter]:
        """W_x, W_h and their biases of an LSTM layer."""
        return [
            self.lstm.get_parameter(f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]


def drop_weights(weights: Tensor, probability: float) -> Tensor:
    """Set each weight to zero with this probability, rounded to 1/256 ... 255/256 unless 0, and scale the others."""
    # One random byte for each weight: torch's dropout would take a quarter of a training step.
    if probability == 0:
        return weights
    num_dropped = min(max(round(probability * 256), 1), 255)
    num_words = -(-weights.numel() // 8)
    words = torch.empty(num_words, dtype=torch.int64, device=weights.device).random_(INT64.min, INT64.max)
    kept = words.view(torch.uint8)[: weights.numel()].view_as(weights) >= num_dropped
    return weights * (kept * (256 / (256 - num_dropped))).to(weights.dtype)


INT64 = torch.iinfo(torch.int64)


def for_vocabulary(weights: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """The weights of a ``StackedLSTM`` for another vocabulary.

    Args:
        weights: its ``state_dict``.
        theirs: its characters, in the order of their ids.
        ours: the characters of the other vocabulary.
    Returns:
        the same weights, but characters that are in both keep theirs, and new ones have the mean of those; if none is
        in both, the mean of all.
    """
    dims = {"output.weight": 0, "output.bias": 0}
    dims |= {"embedding.weight": 0} if "embedding.weight" in weights else {"lstm.weight_ih_l0": 1}
    places = [theirs.find(character) for character in ours]
    known = [place for place in places if place >= 0] or list(range(len(theirs)))
    new = len(theirs)  # where the mean is appended
    ids = torch.tensor([new if place < 0 else place for place in places])
    adapted = dict(weights)
    for name, dim in dims.items():
        weight = weights[name]
        mean = weight.index_select(dim, torch.tensor(known)).mean(dim, keepdim=True)
        adapted[name] = torch.cat([weight, mean], dim).index_select(dim, ids)
    return adapted


class CharacterSteps:
    """A trained ``StackedLSTM`` one character at a time: the same function without dropout and gradients, and faster.

    The weights are copied, with a layout for small products. The contribution of a character to the gates of the first
    layer is a row of a table. With two layers of 128, a step takes a sixth of the time of ``torch.nn.LSTM`` for one
    character. It runs on the CPU, where steps of this size are fastest.

    Args:
        network: its present weights are copied.
    Attributes:
        num_weights: weights in the matrix products of a step.
    """

    @torch.no_grad()
    def __init__(self, network: StackedLSTM) -> None:
        weights = {name: weight.detach().float().cpu() for name, weight in network.named_parameters()}
        self.vocab_size = network.vocab_size
        self.num_layers = network.lstm.num_layers
        self.hidden_size = network.lstm.hidden_size
        # All four gates take one call of sigmoid: tanh(x) = 2 sigmoid(2x) - 1, so the input of g is doubled.
        factor = torch.ones(4, self.hidden_size)
        factor[2] = 2
        layers = [
            [
                factor.view(-1, 1) * weight.view(4 * self.hidden_size, -1)
                for weight in (
                    weights[f"lstm.weight_ih_l{i}"],
                    weights[f"lstm.weight_hh_l{i}"],
                    weights[f"lstm.bias_ih_l{i}"] + weights[f"lstm.bias_hh_l{i}"],
                )
            ]
            for i in range(self.num_layers)
        ]
        W_x, W_h, bias = layers[0]
        table = W_x.t() if network.embedding is None else weights["embedding.weight"] @ W_x.t()
        self._gates_of_character = (table + bias.t()).contiguous()  # (V, 4H)
        self._recurrent = with_layout(W_h.t())
        # Weights of the layer below and of the layer's previous step, together (2H, 4H).
        self._upper = [(with_layout(torch.cat([W_x, W_h], dim=1).t()), bias.flatten()) for W_x, W_h, bias in layers[1:]]
        self._output = weights["output.weight"].clone()
        self._output_bias = weights["output.bias"].clone()
        self.num_weights = sum(W.numel() for W in (self._recurrent, *(W for W, _ in self._upper), self._output))

    def start(self, num: int) -> State:
        """The state before the first character of ``num`` texts."""
        h, c = (torch.zeros(self.num_layers, num, self.hidden_size) for _ in range(2))
        return h, c

    # Here a call of torch costs about as much as its arithmetic, so there are as few calls as possible.
    @torch.inference_mode()
    def __call__(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a character of each text: ids (B,) int64 -> logits of the next (B, V), and the new state."""
        h, c = state
        gates = self._gates_of_character.index_select(0, ids).addmm_(h[0], self._recurrent)
        h_next: list[Tensor] = []
        c_next: list[Tensor] = []
        for i in range(self.num_layers):
            if i > 0:
                weights, bias = self._upper[i - 1]
                gates = torch.addmm(bias, torch.cat([h_next[-1], h[i]], dim=1), weights)
            input_gate, forget_gate, g, output_gate = gates.sigmoid_().chunk(4, dim=1)
            # c_t = f c_{t-1} + i (2 g - 1)
            c_i = (c[i] * forget_gate).addcmul_(input_gate, g, value=2).sub_(input_gate)
            c_next.append(c_i)
            h_next.append(c_i.tanh().mul_(output_gate))
        logits = functional.linear(h_next[-1], self._output, self._output_bias)
        return logits, (torch.stack(h_next), torch.stack(c_next))


def with_layout(weights: Tensor) -> Tensor:
    """A transposed matrix in the memory layout in which a product with a few rows is fastest."""
    return weights.contiguous() if weights.numel() < MIN_NUMEL_TRANSPOSED else weights


MIN_NUMEL_TRANSPOSED = 1 << 18
"""Below this size the contiguous layout is a tenth faster. With 512 units two threads share the product better in the
transposed layout, which takes a quarter less time."""
