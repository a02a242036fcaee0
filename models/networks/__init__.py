"""Plain torch modules; importing them never imports Lightning, so that using a trained network starts fast."""

from models.networks.gcn import GCN
from models.networks.gcn_lstm import GCNLSTM
from models.networks.lstm import LSTM
from models.networks.stack_rnn import StackRNN
from models.networks.vanilla_rnn import VanillaRNN

__all__ = ["GCN", "GCNLSTM", "LSTM", "StackRNN", "VanillaRNN"]
