"""What the weights of linear layers say of a feature, without any row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.analysis.ranking.task import RankingTask
from shapae.errors import ModelError
from shapae.models.autoencoder import Autoencoder
from shapae.models.unwrapping import deep_copy


def _first_layer(weights: list[Tensor]) -> Tensor:
    return weights[0].square().sum(dim=0)


def _gedeon(weights: list[Tensor]) -> Tensor:
    back = weights[-1].new_full((len(weights[-1]),), 1 / len(weights[-1]))
    for weight in reversed(weights):
        back = nn.functional.normalize(weight.abs(), p=1, dim=1).mT @ back
    return back


def _paths(weights: list[Tensor]) -> Tensor:
    back = weights[-1].new_ones(len(weights[-1]))
    for weight in reversed(weights):
        back = weight.abs().mT @ back
    return back


_MEASURES = {"first_layer": _first_layer, "gedeon": _gedeon, "paths": _paths}
QUANTITIES = DEFAULT = tuple(_MEASURES)


def measure(case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
    """What the weights W_1 ... W_L (out, in) of the linear layers say.

    "first_layer": the norm of column i of W_1. "gedeon": the share of the feature in its units, times their shares in
    the units after them, and so on, averaged over the outputs. "paths": the product of absolute weights, summed over
    all paths from the feature to an output, the sum of column i of abs(W_L) ... abs(W_1).

    What lies between the layers (activations, norms, additions) is not looked at, nor the scale of the features. They
    do not depend on rows, so their standard errors are 0.

    Raises:
        ModelError: The model's ``torch.nn.Linear`` layers do not lead from the features to the outputs one by one.

    Reference:
        Gedeon, 1997, Data mining of inputs: analysing magnitude and functional measures, section 2,
        https://doi.org/10.1142/S0129065797000227
    """
    layers = _layers(case.autoencoder, case.rows[:1])
    found = torch.stack([_MEASURES[column](layers) for column in columns])
    sums = case.sums(found.detach()).mT.double().cpu().numpy()
    squares = np.array([column == "first_layer" for column in columns])
    return np.stack([np.where(squares, np.sqrt(sums), sums), np.zeros_like(sums)], axis=-1)


def _layers(autoencoder: Autoencoder, row: Tensor) -> list[Tensor]:
    """The weights of the linear layers in the order in which they run, seen by hooks on a copy.

    Raises:
        ModelError: They do not lead one by one from the features to the outputs.
    """
    twin, ran = deep_copy(autoencoder), list[nn.Linear]()
    for layer in twin.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda module, given, out: ran.append(module))
    with torch.no_grad():
        twin.reconstruct(row)
    d, ways = row.shape[1], [(layer.in_features, layer.out_features) for layer in ran]
    ends, starts = [d, *(out for _, out in ways)], [*(into for into, _ in ways), d]
    if not ways or ends != starts:
        found = ", ".join(f"{into} to {out}" for into, out in ways) or "none"
        raise ModelError(
            f"weights are looked at in torch.nn.Linear layers that lead one by one from {d} features to {d} outputs; "
            f"the model runs {found}. Use other methods, which only run the model."
        )
    return [layer.weight for layer in ran]
