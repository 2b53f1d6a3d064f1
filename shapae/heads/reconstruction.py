"""Heads on the reconstruction and its errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shapae.errors import ModelError, UnknownName
from shapae.heads.base import HEADS, Choice, Head, ScalarHead
from shapae.heads.losses import LOSSES, as_loss
from shapae.models.autoencoder import Autoencoder
from shapae.models.decoder import DecoderOnly
from shapae.utils.constraints import check_argument, check_arguments, check_optional
from shapae.utils.kinds import Kind


@HEADS.register("reconstruction_error")
class ReconstructionError(ScalarHead):
    """Reconstruction error of each row.

    score(x) = 1/d * sum_j loss(r_j(x), x_j), with r the model's reconstruction; or loss(r(x), x), for a loss per row.

    A feature enters twice, as input of the model and as target of the error. Both effects are attributed.

    Args:
        loss: "mse" for squares, "mae" for absolute values, "huber", "bce" for binary cross-entropy, "bce_with_logits"
            for a model that returns logits, "gaussian_nll", "l2" for the Euclidean distance, "cosine"; or an nn.Module
            of (reconstruction, target), see ``shapae.losses``.
        target: "moving": the target is the row with its replaced features, so that the score of a coalition is the
            anomaly score of this mixed row. "fixed": the target is the explained row, score(z) = 1/d * sum_j
            loss(r_j(z), x_j), so that the values show which features let the model reconstruct this row.

    Raises:
        DataError: ``target`` is neither "moving" nor "fixed".

    Reference:
        Antwarg et al., 2021, https://arxiv.org/abs/1903.02407
    """

    output = "reconstruction error"

    def __init__(self, loss: str | nn.Module = "mse", target: str = "moving") -> None:
        super().__init__()
        check_arguments(target=target)
        self.loss, self.anchored = as_loss(loss), target == "fixed"
        self._arguments = _given(loss) | ({"target": target} if self.anchored else {})
        loss_name = [] if loss == "mse" else [loss if isinstance(loss, str) else type(loss).__name__]
        if remarks := [*loss_name, *(["fixed target"] if self.anchored else [])]:
            self.output = f"reconstruction error ({', '.join(remarks)})"

    def __repr__(self) -> str:
        """Return the call that makes the head, because results record it."""
        return _call(self, self._arguments)

    @classmethod
    def of(cls, options: str) -> "ReconstructionError":
        """Make the head of a text: the name of a loss, a target, or both, such as "fixed" or "mae,fixed".

        Raises:
            UnknownName: There is neither such a loss nor such a target.
        """
        words = {word.strip() for word in options.split(",")}
        targets, losses = words & {"fixed", "moving"}, words - {"fixed", "moving"}
        unknown = [word for word in losses if word not in LOSSES]
        if unknown or len(targets) > 1 or len(losses) > 1:
            raise UnknownName("loss or target of the reconstruction error", options, [*LOSSES, "fixed", "mae,fixed"])
        return cls(next(iter(losses), "mse"), next(iter(targets), "moving"))

    def forward(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n,)."""
        losses: Tensor = self.loss(
            autoencoder.reconstruct(rows), autoencoder.target(rows if anchors is None else anchors)
        )
        return losses.mean(dim=1) if losses.ndim == 2 else losses


class _PerFeatureHead(Head):
    """Base of the heads with one output per feature, or per feature among the worst reconstructed of each row.

    Args:
        features: Names or positions of features; None for all features.
        loss: A loss per feature.
        worst: Number of features, those with the largest losses in the explained row.

    Raises:
        ModelError: Both ``features`` and ``worst`` are given.
    """

    def __init__(self, features: Choice, loss: str | nn.Module, worst: int | None) -> None:
        check_optional(features=features, worst=worst)
        super().__init__(features)
        if worst is not None and features is not None:
            raise ModelError(f"worst={worst} and features= can't be combined. Give one of them.")
        self.loss, self.worst, self.anchored = as_loss(loss, by_feature=True), worst, worst is not None
        given = {"features": self.chosen, "worst": worst}
        self._arguments = {name: value for name, value in given.items() if value is not None} | _given(loss)

    def __repr__(self) -> str:
        """Return the call that makes the head, because results record it."""
        return _call(self, self._arguments)

    def losses(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        losses: Tensor = self.loss(autoencoder.reconstruct(rows), autoencoder.target(rows))
        return losses

    def worst_features(self, losses: Tensor) -> Tensor:
        """(n, d) -> (n, worst): positions of the features with the largest losses, in descending order."""
        return losses.topk(min(self.worst or losses.shape[1], losses.shape[1]), dim=1).indices

    def worst_mask(self, autoencoder: Autoencoder, anchors: Tensor) -> Tensor:
        """(n, worst, d): 1 at the features with the largest losses; a product with it has DeepSHAP multipliers."""
        losses = self.losses(autoencoder, anchors)
        return (self.worst_features(losses).unsqueeze(2) == self.labels(losses)).to(losses)

    def labels(self, losses: Tensor) -> Tensor:
        """(d,): the position, among those of ``worst_features``, of each feature."""
        return torch.arange(losses.shape[1], device=losses.device)

    def select_worst(self, autoencoder: Autoencoder, numbers: Tensor, anchors: Tensor) -> Tensor:
        """Select (n, worst) of ``numbers`` (n, d), at the features with the largest losses in ``anchors``."""
        if self.worst is None:
            return numbers
        return torch.bmm(self.worst_mask(autoencoder, anchors), numbers.unsqueeze(2)).squeeze(2)

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """Return the names of the features, or their ranks."""
        return list(features) if self.worst is None else [f"worst {place}" for place in range(1, width + 1)]


@HEADS.register("feature_error")
class FeatureError(_PerFeatureHead):
    """Reconstruction error of each feature by itself: score_j(x) = loss(r_j(x), x_j).

    Args:
        features: Names or positions of features; None for all features.
        loss: A loss per feature, see ``ReconstructionError``.
        worst: Number of features, those with the largest errors in each row, instead of ``features``.

    Raises:
        ModelError: Both ``features`` and ``worst`` are given, or the loss is per row.
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
        features: Names or positions of features; None for all features.
        worst: Number of features, those with the largest squared errors in each row, instead of ``features``.

    Raises:
        ModelError: Both ``features`` and ``worst`` are given.
    """

    def __init__(self, features: Choice = None, *, worst: int | None = None) -> None:
        super().__init__(features, "mse", worst)

    def forward(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n, d), or (n, worst)."""
        return self.select_worst(autoencoder, autoencoder.reconstruct(rows), rows if anchors is None else anchors)


class ErrorFromOthers(_PerFeatureHead):
    """Errors of the worst reconstructed features, or groups of them, attributed to the other features.

    score_j(z) = loss(r_j(z'), x_j), with x the explained row, and z' = z except z'_j = x_j: feature j itself is not
    replaced, so that its own value is 0. Positive values contribute to the error, negative values offset it. The error
    of a group is the sum of the errors of its features, none of which is replaced.

    Args:
        worst: Number of features or groups, those with the largest errors in each row.
        loss: See ``FeatureError``.
        groups: Group of each of the d features, (d,), integers from 0; None if each feature is by itself.

    Raises:
        ModelError: ``worst`` is less than 1, or the loss is per row, or the rows are latents, none of which is x_j.

    Reference:
        Antwarg et al., 2021, section 3, https://arxiv.org/abs/1903.02407, who explain r_j and leave feature j out
    """

    groups: Tensor | None

    def __init__(self, worst: int = 5, loss: str | nn.Module = "mse", groups: Tensor | None = None) -> None:
        check_arguments(worst=worst)
        if groups is not None:
            check_argument("groups", groups, Kind(Tensor, "a tensor of d integers"), ", or None")
        super().__init__(None, loss, worst)
        self.register_buffer("groups", groups, persistent=False)

    def worst_features(self, losses: Tensor) -> Tensor:
        """(n, d) -> (n, worst): positions of the features, or groups, with the largest losses, in descending order."""
        if self.groups is None:
            return super().worst_features(losses)
        sums = losses.new_zeros(len(losses), int(self.groups.max()) + 1)
        return super().worst_features(sums.index_add(1, self.labels(losses), losses))

    def labels(self, losses: Tensor) -> Tensor:
        """(d,): the position of each feature or of its group."""
        return super().labels(losses) if self.groups is None else self.groups.to(losses.device)

    def forward(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n, worst); see ``ErrorFromOthers`` for what is raised."""
        _refuse_latents(autoencoder)
        each = self.output_anchors(autoencoder, rows if anchors is None else anchors)
        rows = rows.unsqueeze(1).expand(-1, each.shape[1], -1).flatten(0, 1)
        return self.forward_output(autoencoder, rows, each.flatten(0, 1)).reshape(each.shape[:2])

    def output_anchors(self, autoencoder: Autoencoder, anchors: Tensor) -> Tensor:
        """(n, d) -> (n, worst, 2 d): for each output the explained row, and 1 at the feature that is not replaced."""
        mask = self.worst_mask(autoencoder, anchors)
        return torch.cat([anchors.unsqueeze(1).expand_as(mask), mask], dim=2)

    def forward_output(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor) -> Tensor:
        """(n, d) -> (n,), each with the anchor (n, 2 d) of one output."""
        anchors, mask = anchors.chunk(2, dim=1)
        return (mask * self.losses(autoencoder, (1 - mask) * rows + mask * anchors)).sum(dim=1)


def _given(loss: str | nn.Module) -> dict[str, Any]:
    """List the loss among the arguments of a head, unless it is the default."""
    return {} if loss == "mse" else {"loss": loss}


def _call(head: Head, arguments: Mapping[str, Any]) -> str:
    written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"{type(head).__name__}({written})"


def _refuse_latents(autoencoder: Autoencoder | DecoderOnly) -> None:
    if isinstance(autoencoder, DecoderOnly):
        raise ModelError(
            "source='latent' explains the decoder alone, in which no feature can be kept while others are replaced. "
            "Use head=shapae.heads.FeatureError(worst=5), or source='input'."
        )
