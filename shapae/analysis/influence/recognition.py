"""The layers of a model whose gradients are products of two factors, recognized by their gradients."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from shapae.analysis.influence.examples import ExampleGradients, VectorizedGradients, gradients_of_row
from shapae.analysis.influence.factors import (
    Factors,
    LinearLayer,
    add_hooks,
    as_matrix,
    gradients_of_uses,
    recorded,
)
from shapae.analysis.influence.gradients import RowGradients
from shapae.heads.score import Score
from shapae.utils.torch_private import has_hooks, next_nodes, own_parameters


def find_row_gradients(scores: Sequence[Score], names: Sequence[str], rows: Tensor) -> list[RowGradients]:
    """Make the functions from rows to gradients of several scores of one model.

    A layer whose factors do not give the gradient of each of some rows is used in another way, too, as one that shares
    its weights with a function; or it mixes the axes of its inputs. Its gradients are computed like those of all other
    parameters.

    Args:
        scores: Scores of one output that share a model, a copy of the user's; hooks are added to it.
        names: Names of parameters of the scores.
        rows: (m, d), some rows.
    """
    for name, each in scores[0].named_parameters():
        each.requires_grad_(name in names)
    candidates = _linear_layers(scores[0], names)
    add_hooks(scores[0], [each.path for each in candidates])
    fitting = [_fitting_layers(score, candidates, rows) for score in scores]
    common = [layer.path for layer in candidates if all(layer.path in each for each in fitting)]
    kept = {name for path in common for name in _names(fitting[0][path], scores[0])}
    others = [name for name in names if name not in kept]
    return [
        RowGradients(score, [layers[path] for path in common], _example_gradients(score, others, rows))
        for score, layers in zip(scores, fitting, strict=True)
    ]


def _linear_layers(score: Score, names: Sequence[str]) -> list[LinearLayer]:
    """List the linear layers whose own weights or biases are among the named parameters."""
    chosen = {id(each) for name, each in score.named_parameters() if name in names}
    layers = []
    for path, module in score.named_modules():
        if isinstance(module, nn.Linear) and _runs_as_linear(module):
            own = own_parameters(module)
            weight, bias = (id(own.get(name)) in chosen for name in ("weight", "bias"))
            layers += [LinearLayer(path, weight, bias)] if weight or bias else []
    return layers


def _runs_as_linear(module: nn.Linear) -> bool:
    """Return whether the call of a layer is that of torch: no other forward of a subclass, and no hooks of the user."""
    own = getattr(module.forward, "__func__", None) is nn.Linear.forward
    return own and not has_hooks(module)


def _names(layer: LinearLayer, score: Score) -> list[str]:
    own = {id(each) for each in layer.parameters(score)}
    return [name for name, each in score.named_parameters() if id(each) in own]


@dataclass
class _Form:
    """A layer with an axis of the rows, and its gradients of some rows; None where the layer does not matter."""

    layer: LinearLayer
    factors: Factors | None
    seen: bool = False

    def agrees(self, row: int, true: Sequence[Tensor]) -> bool:
        """Compare the gradient of one row with the true one, of the weight and of the bias."""
        expected = as_matrix(true)
        if self.factors is None:
            return not expected.any()
        self.seen = self.seen or bool(expected.any())
        difference = (self.factors[row : row + 1].matrices()[0] - expected).abs().max()
        return bool(difference <= torch.finfo(expected.dtype).eps ** 0.5 * expected.abs().max())

    @property
    def is_known(self) -> bool:
        """Whether a gradient was compared that is not zero, if there is one."""
        return self.factors is None or self.seen


def _fitting_layers(score: Score, candidates: Sequence[LinearLayer], rows: Tensor) -> dict[str, LinearLayer]:
    """Find the layers whose factors are their gradients, by their paths."""
    with torch.enable_grad():
        with recorded() as uses:
            scores = score.self_scores(rows)[:, 0]
        found = gradients_of_uses(scores, uses)
        counts = _count_uses(scores)
        plain = [each for each in candidates if _is_all(found.get(each.path, []), each.parameters(score), counts)]
        forms = [form for layer in plain for form in _forms(layer, found.get(layer.path, []), len(rows))]
        for row in range(len(rows)):
            parameters = [form.layer.parameters(score) for form in forms]
            flat = list(dict.fromkeys(each for own in parameters for each in own))
            true = dict(zip(flat, gradients_of_row(score, rows[row : row + 1], flat), strict=True))
            compared = zip(forms, parameters, strict=True)
            forms = [form for form, own in compared if form.agrees(row, [true[each] for each in own])]
    return {form.layer.path: form.layer for form in forms[::-1] if form.is_known}


def _count_uses(scores: Tensor) -> Counter[int]:
    """Count the uses of each parameter in the graph of the scores, by the ids of the parameters."""
    counts, seen, found = Counter[int](), set[Any](), [scores.grad_fn]
    while found:
        node = found.pop()
        if node is not None and node not in seen:
            seen.add(node)
            following = next_nodes(node)
            counts.update(id(getattr(each, "variable", None)) for each in following)
            found += following
    return counts


def _is_all(uses: Sequence[Any], parameters: Sequence[nn.Parameter], counts: Counter[int]) -> bool:
    """Return whether the recorded uses of a layer are all uses of its parameters, also of those that count nothing."""
    return all(counts[id(each)] <= len(uses) for each in parameters)


def _forms(layer: LinearLayer, uses: list[tuple[Tensor, Tensor]], n: int) -> list[_Form]:
    """List the forms of a layer whose inputs have n rows, in the order in which they are tried."""
    if any(inputs[..., 0].numel() % n for inputs, _ in uses):
        return []
    if not uses:
        return [_Form(layer, None)]
    positions = tuple(inputs[..., 0].numel() // n for inputs, _ in uses)
    forms = (replace(layer, rows_first=first, positions=positions) for first in (True, False))
    return [_Form(form, form.factors(uses, n)) for form in forms]


def _example_gradients(score: Score, names: Sequence[str], rows: Tensor) -> ExampleGradients | None:
    """Choose the computation of gradients with respect to the named parameters: the fast one, where it is right."""
    if not names:
        return None
    single, vectorized = ExampleGradients(score, names), VectorizedGradients(score, names)
    with torch.enable_grad():
        true = single(rows)
        try:
            difference = (vectorized(rows) - true).abs().max()
        except Exception:  # torch.func does not take every operator, nor scripted modules
            return single
    return vectorized if difference <= torch.finfo(rows.dtype).eps ** 0.5 * true.abs().max() else single
