"""Heads on the reconstruction: how good it is, and what it is."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.heads.base import HEADS, Choice, Head, ScalarHead
from shapae.heads.losses import as_loss
from shapae.models.autoencoder import Autoencoder


@HEADS.register("reconstruction_error")
class ReconstructionError(ScalarHead):
    """Reconstruction error of each row.

    score(x) = 1/d * sum_j loss(r_j(x), x_j), with r the model's reconstruction; or loss(r(x), x), for a loss that is
    not by feature.

    A feature enters twice, as input of the model and as target of the error; both ways are attributed.

    Args:
        loss: "mse" for squares, "mae" for absolute values, "huber", "bce" for binary cross-entropy, "gaussian_nll",
            "l2" for the Euclidean distance, "cosine"; or an nn.Module of (reconstruction, target), see
            ``shapae.losses``.
        target: "moving": the row is compared with itself while its features are replaced, so that the score of a
            mixed row is that row's own anomaly score. "fixed": it is compared with the row being explained, score(z) =
            1/d * sum_j loss(r_j(z), x_j): which features let the model rebuild this row.

    Raises:
        ModelError: Another target.

    Reference:
        Antwarg et al., 2021, https://arxiv.org/abs/1903.02407
    """

    output = "reconstruction error"

    def __init__(self, loss: str | nn.Module = "mse", target: str = "moving") -> None:
        super().__init__()
        if target not in ("moving", "fixed"):
            raise ModelError(f"the target of the reconstruction error must be 'moving' or 'fixed', got {target!r}.")
        self.loss, self.anchored = as_loss(loss), target == "fixed"

    def forward(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n,)."""
        losses: Tensor = self.loss(
            autoencoder.reconstruct(rows), autoencoder.target(rows if anchors is None else anchors)
        )
        return losses.mean(dim=1) if losses.ndim == 2 else losses


class _PerFeatureHead(Head):
    """One number for each feature; or for each of the features that are rebuilt worst, whichever these are in a row.

    Args:
        features: Names or positions of the wanted features; None for all.
        loss: Of each feature.
        worst: So many features with the largest loss in the row being explained.

    Raises:
        ModelError: Both ``features`` and ``worst`` are given.
    """

    def __init__(self, features: Choice, loss: str | nn.Module, worst: int | None) -> None:
        super().__init__(features)
        if worst is not None and (features is not None or worst < 1):
            raise ModelError(f"worst must be a number of features, without others that are named, got {worst!r}.")
        self.loss, self.worst, self.anchored = as_loss(loss, by_feature=True), worst, worst is not None

    def losses(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        losses: Tensor = self.loss(autoencoder.reconstruct(rows), autoencoder.target(rows))
        return losses

    def worst_mask(self, autoencoder: Autoencoder, anchors: Tensor) -> Tensor:
        """(n, worst, d): 1 at the features with the largest losses, because a product has multipliers."""
        losses = self.losses(autoencoder, anchors)
        d = losses.shape[1]
        largest = losses.topk(min(self.worst or d, d), dim=1).indices
        return (largest.unsqueeze(2) == torch.arange(d, device=losses.device)).to(losses)

    def select_worst(self, autoencoder: Autoencoder, numbers: Tensor, anchors: Tensor) -> Tensor:
        """``numbers`` (n, d), or those of the features that are worst in ``anchors``: (n, worst)."""
        if self.worst is None:
            return numbers
        return torch.bmm(self.worst_mask(autoencoder, anchors), numbers.unsqueeze(2)).squeeze(2)

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """The features, or their ranks."""
        return list(features) if self.worst is None else [f"worst {place}" for place in range(1, width + 1)]


@HEADS.register("feature_error")
class FeatureError(_PerFeatureHead):
    """Reconstruction error of each feature by itself: score_j(x) = loss(r_j(x), x_j).

    Args:
        features: Names or positions of the wanted features; None for all.
        loss: See ``ReconstructionError``; those that are by feature.
        worst: Instead of ``features``: so many features with the largest errors of each row.

    Raises:
        ModelError: Both ``features`` and ``worst`` are given, or the loss is not by feature.
    """

    def __init__(self, features: Choice = None, loss: str | nn.Module = "mse", *, worst: int | None = None) -> None:
        super().__init__(features, loss, worst)

    def forward(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n, d), or (n, worst)."""
        return self.select_worst(autoencoder, self.losses(autoencoder, rows), rows if anchors is None else anchors)


@HEADS.register("reconstruction")
class Reconstruction(_PerFeatureHead):
    """Each reconstructed feature: score_j(x) = r_j(x).

    Args:
        features: Names or positions of the wanted features; None for all.
        worst: Instead of ``features``: so many features with the largest squared errors of each row.

    Raises:
        ModelError: Both are given.
    """

    def __init__(self, features: Choice = None, *, worst: int | None = None) -> None:
        super().__init__(features, "mse", worst)

    def forward(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n, d), or (n, worst)."""
        return self.select_worst(autoencoder, autoencoder.reconstruct(rows), rows if anchors is None else anchors)


class ErrorFromOthers(_PerFeatureHead):
    """Errors of the features that are rebuilt worst, as the other features make them.

    score_j(z) = loss(r_j(z'), x_j), with x the row being explained, and z' = z but for z'_j = x_j: feature j itself
    is not replaced, so its own value is 0. Positive values contribute to the error, negative ones offset it.

    Args:
        worst: So many features with the largest errors of each row.
        loss: See ``FeatureError``.

    Reference:
        Antwarg et al., 2021, section 3, https://arxiv.org/abs/1903.02407, who explain r_j and leave feature j out
    """

    def __init__(self, worst: int = 5, loss: str | nn.Module = "mse") -> None:
        super().__init__(None, loss, worst)

    def forward(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n, worst)."""
        anchors = rows if anchors is None else anchors
        picks = self.worst_mask(autoencoder, anchors)
        mixed = (1 - picks) * rows.unsqueeze(1) + picks * anchors.unsqueeze(1)
        losses = self.losses(autoencoder, mixed.flatten(0, 1)).reshape(mixed.shape)
        return (picks * losses).sum(dim=2)
