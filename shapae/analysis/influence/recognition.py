"""The layers of a model whose gradients are products of two factors, recognized by their gradients."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from shapae.analysis.influence.examples import ExampleGradients, VectorizedGradients, gradients_of_row
from shapae.analysis.influence.factors import Factors, LinearLayer, add_hooks, gradients_of_uses, recorded
from shapae.analysis.influence.gradients import RowGradients
from shapae.heads.score import Score


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
        if isinstance(module, nn.Linear):
            own = module._parameters  # not those that are computed, as by torch.nn.utils.parametrizations
            weight, bias = (id(own.get(name)) in chosen for name in ("weight", "bias"))
            layers += [LinearLayer(path, weight, bias)] if weight or bias else []
    return layers


def _own_parameters(layer: LinearLayer, score: Score) -> list[nn.Parameter]:
    module, wanted = score.get_submodule(layer.path), {"weight": layer.weight, "bias": layer.bias}
    return [module.get_parameter(name) for name, counts in wanted.items() if counts]


def _names(layer: LinearLayer, score: Score) -> list[str]:
    own = {id(each) for each in _own_parameters(layer, score)}
    return [name for name, each in score.named_parameters() if id(each) in own]


@dataclass
class _Form:
    """A layer with an axis of the rows, and its gradients of some rows; None where the layer does not matter."""

    layer: LinearLayer
    factors: Factors | None
    seen: bool = False

    def agrees(self, row: int, true: Sequence[Tensor]) -> bool:
        """Compare the gradient of one row with the true one, of the weight and of the bias."""
        expected = torch.cat([each.unsqueeze(-1) if each.ndim == 1 else each for each in true], dim=1)
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
        forms = [form for layer in candidates for form in _forms(layer, found.get(layer.path, []), len(rows))]
        for row in range(len(rows)):
            parameters = [_own_parameters(form.layer, score) for form in forms]
            flat = list(dict.fromkeys(each for own in parameters for each in own))
            true = dict(zip(flat, gradients_of_row(score, rows[row : row + 1], flat), strict=True))
            compared = zip(forms, parameters, strict=True)
            forms = [form for form, own in compared if form.agrees(row, [true[each] for each in own])]
    return {form.layer.path: form.layer for form in forms[::-1] if form.is_known}


def _forms(layer: LinearLayer, uses: list[tuple[Tensor, Tensor]], n: int) -> list[_Form]:
    """List the forms of a layer whose inputs have n rows, in the order in which they are tried."""
    if any(inputs[..., 0].numel() % n for inputs, _ in uses):
        return []
    if not uses:
        return [_Form(layer, None)]
    forms = (replace(layer, rows_first=first) for first in (True, False))
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
