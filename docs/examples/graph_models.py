"""Controls for the GCN, and a callback that tells failed training from smoothed features.

They are used like every class of the project, for example ``--model docs.examples.graph_models.ControlClassifier``.

Legend: N nodes, M edges, F features of a node, C classes.
"""

from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from callbacks.contracts import RunCallback
from models.graph import NodeClassifier, mean_cosine_distance
from models.networks.gcn import adjacency_matrix, normalize_adjacency, product


class ControlClassifier(NodeClassifier):
    """``NodeClassifier`` without its graph, or without its hidden layer. There is no bias, as in equation 14.

    Args:
        network: ``mlp`` has the two layers of the GCN, and the identity in place of A-hat: each node is classified by
            its own features. ``sgc`` is ``A-hat^K X W`` with K = ``num_layers`` (Wu et al. 2019): as many steps along
            edges, but a single matrix of weights, and no ReLU.
        num_layers: layers of the MLP; steps along edges of the SGC.
        dropout: probability that an entry of a layer's input is set to zero in training; the SGC has one such input,
            the features.
        in_features, out_features, hidden_size, weight_decay, optimizer, lr_scheduler: see ``NodeClassifier``.
    """

    def __init__(
        self,
        network: Literal["mlp", "sgc"] = "mlp",
        in_features: int = 1,
        out_features: int = 2,
        hidden_size: int = 16,
        num_layers: int = 2,
        dropout: float = 0.5,
        weight_decay: float = 5e-4,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        layers = num_layers if network == "mlp" else 1
        super().__init__(
            in_features, out_features, hidden_size, layers, dropout, weight_decay, "none", optimizer, lr_scheduler
        )
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        self.num_steps = 0 if network == "mlp" else num_layers
        self._identity: Tensor | None = None

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        H: Tensor = self.network(self.identity(features, edges), features)
        for _ in range(self.num_steps):
            H = product(self.adj_norm(features, edges), H)
        return H

    def identity(self, features: Tensor, edges: Tensor) -> Tensor:
        """A-hat of a graph without edges, (N, N) CSR; made once for each size and dtype."""
        N = len(features)
        if self._identity is None or len(self._identity) != N or self._identity.dtype != features.dtype:
            self._identity = normalize_adjacency(adjacency_matrix(edges[:, :0], N)).to(features.dtype)
        return self._identity


class TrainingDiagnosis(RunCallback):
    """Measures what tells a deep GCN that was not trained from one whose features were smoothed.

    It logs ``train/gradient_first`` and ``train/gradient_last``, the norms of the gradient of the first and of the
    last layer's W, as means over the steps between two rows of ``metrics.csv``. The gradient is that of the
    cross-entropy, without weight decay and before clipping. When training ends it measures, without
    dropout and with the last weights, ``final/train_accuracy`` of the labelled nodes, ``final/test_accuracy``, and
    ``final/distance`` of all outputs (see ``NodeClassifier``).
    """

    def __init__(self) -> None:
        self.norms: list[tuple[Tensor, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        first, last = (pl_module.network.layers[k].W for k in (0, -1))
        of_loss = first.grad - pl_module.weight_decay * first.detach()
        self.norms.append((of_loss.norm(), of_loss.norm() if last is first else last.grad.norm()))

    def training_metrics(self) -> dict[str, Tensor]:
        first, last = (torch.stack(norms).mean() for norms in zip(*self.norms, strict=True))
        self.norms.clear()
        return {"train/gradient_first": first, "train/gradient_last": last}

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        features, edges, *_ = trainer.datamodule.batch("train")
        pl_module.eval()
        logits = pl_module(features.to(pl_module.device), edges.to(pl_module.device))
        pl_module.train()
        for split in ("train", "test"):
            _, _, nodes, target = trainer.datamodule.batch(split)
            is_correct = logits[nodes].argmax(dim=1).cpu() == target
            trainer.callback_metrics[f"final/{split}_accuracy"] = is_correct.float().mean()
        trainer.callback_metrics["final/distance"] = mean_cosine_distance(logits)
