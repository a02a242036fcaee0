"""Recurrent networks as ONNX graphs.

ONNX has operators for a whole sequence, ``RNN`` and ``LSTM``, so batch size and length stay free. torch's exporter
would unroll the loop of a handwritten network to the length of an example.

Legend: B batch, T time steps, V symbols (characters or digits), E input features, H hidden units, L layers.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.networks import LSTM, VanillaRNN
from models.networks.stacked_lstm import StackedLSTM

OPSET = 17
"""Version of the operators; onnxruntime has it from 1.12 (2022) on."""

IR_VERSION = 8
"""Version of the file format that belongs to the operators."""

TORCH_GATES = (0, 3, 1, 2)
"""Where ONNX's gates, i, o, f, c, are in ``torch.nn.LSTM``, which stacks i, f, g, o."""

OUR_GATES = (1, 3, 2, 0)
"""Where they are in the handwritten LSTM, which stacks g, i, f, o."""


class Layer(NamedTuple):
    """A recurrent layer, with the weights in ONNX's order: W (G, E), R (G, H) and the biases (2 G,)."""

    operator: str
    W: np.ndarray
    R: np.ndarray
    B: np.ndarray


class Recurrence(NamedTuple):
    """A network as ONNX computes it: a table (V, E) of inputs, layers, and the readout (V, H), (V,)."""

    table: np.ndarray
    layers: list[Layer]
    W_out: np.ndarray
    b_out: np.ndarray


def recurrence_of(network: nn.Module) -> Recurrence:
    """The weights of a network in ONNX's order.

    Raises:
        ValueError: it is no recurrent network of this project.
    """
    if isinstance(network, StackedLSTM):
        table = (
            np.eye(network.vocab_size, dtype=np.float32)
            if network.embedding is None
            else array(network.embedding.weight)
        )
        layers = []
        for k in range(network.lstm.num_layers):
            W, R, b_W, b_R = (
                reordered(network.lstm.get_parameter(f"{name}_l{k}"), TORCH_GATES)
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            layers.append(Layer("LSTM", W, R, np.concatenate([b_W, b_R])))
        return Recurrence(table, layers, array(network.output.weight), array(network.output.bias))
    if not isinstance(network, LSTM | VanillaRNN):
        raise ValueError(f"{type(network).__name__} is no recurrent network; export it with --format safetensors")
    is_lstm = isinstance(network, LSTM)
    W, R, b = (reordered(w, OUR_GATES) if is_lstm else array(w) for w in network.recurrent_weights())
    layer = Layer("LSTM" if is_lstm else "RNN", W, R, np.concatenate([b, np.zeros_like(b)]))
    table = np.eye(network.input_size, dtype=np.float32)
    return Recurrence(table, [layer], array(network.W_ph), array(network.b_p))


def onnx_model(network: nn.Module, facts: dict[str, Any]) -> onnx.ModelProto:
    """The network as an ONNX model.

    Args:
        network: a ``StackedLSTM``, or a handwritten RNN or LSTM.
        facts: are stored in the model's metadata.
    Shape:
        ids (B, T) int64, h and for an LSTM c, each (L, B, H) -> logits (B, T, V), h_n, c_n.
    Raises:
        ValueError: it is no recurrent network of this project.
    """
    table, layers, W_out, b_out = recurrence_of(network)
    L, (V, H) = len(layers), W_out.shape
    states = ["h", "c"] if layers[0].operator == "LSTM" else ["h"]
    constants = {"table": table, "W_out": W_out.T, "b_out": b_out, "axis_1": np.array([1], dtype=np.int64)}
    nodes = [
        helper.make_node("Transpose", ["ids"], ["ids_time_first"], perm=[1, 0]),
        helper.make_node("Gather", ["table", "ids_time_first"], ["x_0"]),
    ]
    for state in states:
        nodes.append(helper.make_node("Split", [state], [f"{state}_{k}" for k in range(L)], axis=0))
    for k, layer in enumerate(layers):
        constants |= {f"W_{k}": layer.W[None], f"R_{k}": layer.R[None], f"B_{k}": layer.B[None]}
        starts = [f"{state}_{k}" for state in states]
        ends = [f"{state}_{k}_n" for state in states]
        inputs = [f"x_{k}", f"W_{k}", f"R_{k}", f"B_{k}", "", *starts]
        nodes.append(helper.make_node(layer.operator, inputs, [f"y_{k}", *ends], hidden_size=H))
        nodes.append(helper.make_node("Squeeze", [f"y_{k}", "axis_1"], [f"x_{k + 1}"]))  # the number of directions
    nodes += [
        helper.make_node("MatMul", [f"x_{L}", "W_out"], ["products"]),
        helper.make_node("Add", ["products", "b_out"], ["logits_time_first"]),
        helper.make_node("Transpose", ["logits_time_first"], ["logits"], perm=[1, 0, 2]),
        *(helper.make_node("Concat", [f"{s}_{k}_n" for k in range(L)], [f"{s}_n"], axis=0) for s in states),
    ]
    floats, of_states = TensorProto.FLOAT, [L, "batch", H]
    graph = helper.make_graph(
        nodes,
        type(network).__name__,
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "time"]),
            *(helper.make_tensor_value_info(state, floats, of_states) for state in states),
        ],
        [
            helper.make_tensor_value_info("logits", floats, ["batch", "time", V]),
            *(helper.make_tensor_value_info(f"{state}_n", floats, of_states) for state in states),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="palimpsest")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()})
    onnx.checker.check_model(model)
    return model


def write_onnx(network: nn.Module, facts: dict[str, Any], path: Path) -> None:
    """Write the network as an ONNX file; see ``onnx_model``."""
    onnx.save(onnx_model(network, facts), path)


def array(weight: Tensor) -> np.ndarray:
    return weight.detach().float().cpu().numpy()


def reordered(weight: Tensor, gates: tuple[int, ...]) -> np.ndarray:
    """Weights or biases whose first dimension stacks the gates, in ONNX's order."""
    blocks = array(weight).reshape(len(gates), -1, *weight.shape[1:])
    return np.concatenate([blocks[gate] for gate in gates])
