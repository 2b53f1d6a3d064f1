"""The engine: record the function, then multiply matrices or run the backward pass, operator by operator."""

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.deepshap import backward
from shapae.deepshap.anchored import sum_scores
from shapae.deepshap.backward import attribute_pairs, residuals
from shapae.deepshap.feedforward.contraction import ContractionOrder, best_order, contract
from shapae.deepshap.feedforward.deviations import Deviations
from shapae.deepshap.recording import Recording, call, check_tables, coarsest_error, split_tables
from shapae.deepshap.rules import steps_without_rule
from shapae.deepshap.tracing.tape import Tape, Values
from shapae.errors import AdditivityWarning, ModelError
from shapae.utils.additivity import additivity_tolerance, residual_message
from shapae.utils.blocks import block_bytes
from shapae.utils.context import ignore_batching_warnings
from shapae.utils.memory import MIN_BLOCKS
from shapae.utils.moments import Moments, gather
from shapae.utils.torch_trace import Function

# Bytes of a block that is allocated and freed once, so that glibc raises the size up to which it reuses freed memory.
# Otherwise the pages of each large value are mapped again, which takes longer than its computation.
MALLOC_BYTES = 2**25 - 2**16
# Advice for the warning that values do not add up.
HINT = "Look for values that overflow, or that jump between a row and the background."


def attribute(
    function: Function,
    rows: Tensor,
    background: Tensor,
    *,
    weights: Tensor | None = None,
    anchors: Tensor | None = None,
) -> Tensor:
    """Compute DeepSHAP values, averaged over the background.

    Args:
        function: From rows (n, d) to scores (n,) or (n, k); each score depends on its own row only. A module should be
            in eval mode.
        rows: (n, d), float32 or float64.
        background: (b, d), in the dtype and on the device of ``rows``.
        weights: (b,), positive weights of the background rows; None for equal weights.
        anchors: (n, a), for a ``function`` of (rows, anchors). Each row is scored with the anchor of the row being
            explained, for example that row itself; its features are not replaced.

    Returns:
        (n, d), or (n, d, k) where the scores are (n, k). They sum to function(row) - mean(function(background)), or
        there is an AdditivityWarning.

    Raises:
        DataError: ``rows`` and ``background`` do not have these shapes and dtypes, or are not finite.
        UnsupportedOperator: The function runs operators that have neither a rule nor a gradient, or that jump.
        ModelError: The function is random, mixes rows, chooses its operators by the values of a row, or overflows.
        ShapeError: The scores have another shape or dtype.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874

    >>> values = attribute(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2))
    >>> values.tolist()
    [[3.0, 3.0]]
    """
    optional = [] if anchors is None else [anchors]
    deep_shap = DeepShap(
        function, background, *(each[:1].expand(len(background), -1) for each in optional), weights=weights
    )
    moments = deep_shap.moments(rows, *optional).on_host()
    deep_shap._warn_of_residual(moments, rows, *optional)
    values = torch.as_tensor(moments.mean, dtype=rows.dtype, device=rows.device)
    return values if call(function, rows[:1], *(each[:1] for each in optional)).ndim == 2 else values.squeeze(2)


class DeepShap(Recording):
    """DeepSHAP of one function and one background; see ``Recording`` for the arguments."""

    def attribute(self, rows: Tensor, *anchors: Tensor) -> Moments:
        """Compute the attributions, (n, d, k) also for one output.

        They are arrays. Values that do not add up are an AdditivityWarning. See ``moments`` for the arguments.
        """
        moments = self.moments(rows, *anchors).on_host()
        self._warn_of_residual(moments, rows, *anchors)
        return moments

    def moments(self, rows: Tensor, *anchors: Tensor) -> Moments:
        """Compute the attributions without checking that they add up, for callers who check this by themselves.

        They stay on the device of the rows. Their variation over the background is included if they are computed pair
        by pair, without weights.

        Args:
            rows: See ``shapae.deepshap.attribute``, also for the errors.
            anchors: (n, a), if the function is anchored.
        """
        check_tables(rows, self.background)
        torch.empty(MALLOC_BYTES, dtype=torch.uint8)
        slow = ignore_batching_warnings() if self.integrates else nullcontext()
        with torch.no_grad(), slow:
            batches = split_tables(self._batch_size, rows, *anchors)
            return gather((self._attribute_batch(*batch) for batch in batches), len(rows))

    def _warn_of_residual(self, moments: Moments, rows: Tensor, *anchors: Tensor) -> None:
        """Warn the caller of the caller, if the values do not add up to the scores of the function."""
        scores, base = self._all_scores(rows, *anchors), self._base_values(*anchors)
        sizes = torch.linalg.vector_norm(torch.as_tensor(moments.mean), 1, dim=1).amax(dim=0).numpy()
        spread, tolerance = additivity_tolerance(scores, base, sizes, coarsest_error(self._tape, rows.dtype))
        message = residual_message(scores - base - moments.mean.sum(axis=1), tolerance, spread)
        if message:
            warnings.warn(f"{message} {HINT}", AdditivityWarning, stacklevel=3)

    def _base_values(self, *anchors: Tensor) -> NDArray[Any]:
        """Compute the mean scores of the background, (1, k), or (n, k) for n anchors."""
        b = len(self.background)
        groups = torch.split(anchors[0], max(1, self._batch_size // b)) if anchors else []
        tables: list[tuple[Tensor, ...]]
        tables = [(self.background.repeat(len(each), 1), each.repeat_interleave(b, 0)) for each in groups]
        scores = np.concatenate([self._all_scores(*table) for table in tables or [(self.background,)]])
        weights = None if self.weights is None else self.weights.cpu().numpy()
        return np.average(scores.reshape(-1, b, scores.shape[1]), axis=1, weights=weights)

    @torch.no_grad()
    def mean_scores(self, *anchors: Tensor) -> Tensor:
        """Compute the mean scores of the background, on the tape, with each of n anchors: (n, k), float64.

        Only the operators that depend on the anchor and on the background row are run for each pair of them. For one
        pair of each anchor the scores are compared with those of the function.

        Args:
            anchors: (n, a).

        Raises:
            UnsupportedOperator: See ``shapae.deepshap.attribute``.
            ModelError: The tape does not reproduce the function, or might not for other pairs.
        """
        weights = self.background.new_ones(len(self.background)) if self.weights is None else self.weights
        if self._tape.reads:
            raise ModelError(f"the tape of one pair may not be that of others: {' and '.join(self._tape.reads)}.")
        with ignore_batching_warnings():
            sums = [self._sum_scores(weights, *batch) for batch in split_tables(self._batch_size, *anchors)]
        return torch.cat(sums) / weights.double().sum()

    def _sum_scores(self, weights: Tensor, anchors: Tensor) -> Tensor:
        """See ``sum_scores``."""
        some = torch.arange(len(anchors)) % len(self.background)
        x, tape = self._replay(self.background[some], anchors), self._cast_tape
        parts, size = self._split_weights(weights), block_bytes(backward.BLOCK_BYTES, anchors)
        return reduce(add, (sum_scores(tape, x, *part, size=size) for part in parts))

    def _split_weights(self, weights: Tensor | None) -> Iterator[tuple[Values, Any]]:
        """Pair the parts of the background with their weights."""
        sizes = [len(part[0]) for part in self._parts]
        return zip(self._parts, [None] * len(sizes) if weights is None else torch.split(weights, sizes), strict=True)

    def _all_scores(self, *inputs: Tensor) -> NDArray[Any]:
        with torch.no_grad():
            batches = split_tables(self._batch_size, *inputs)
            parts = [call(self.function, *batch).reshape(len(batch[0]), -1) for batch in batches]
        return torch.cat(parts).double().cpu().numpy()

    @cached_property
    def integrates(self) -> bool:
        """Whether there are operators without a rule, through which gradients are integrated."""
        return bool(steps_without_rule(self._tape))

    def integrated(self, rows: Tensor, *anchors: Tensor) -> dict[str, float]:
        """Name the operators without a rule, through which gradients are integrated, with what the integrals miss.

        Args:
            rows: (n, d).
            anchors: (n, a), if the function is anchored.

        Returns:
            From each operator and its place to the largest difference, over the outputs and over all pairs of rows and
            background rows, between the change of its output and the sum of its parts, both times the multipliers.
        """
        if not self.integrates:
            return {}
        with torch.no_grad(), ignore_batching_warnings():
            x = self._replay(rows, *anchors)
            return residuals(self._cast_tape, x, self._parts[0], steps_without_rule(self._tape))

    def _attribute_batch(self, *inputs: Tensor) -> Moments:
        x, chain = self._replay(*inputs), self._chain
        if chain and self._order:
            total = len(self.background) if self.weights is None else float(self.weights.sum())
            weights = None if self.weights is None else self.weights / total
            values = contract(chain, self._order, x, self._chain_background, weights)
            if values is not None:
                return Moments(total, values)
        pays_off = chain and chain.saving * len(inputs[0]) * len(self.background) > chain.preparation / MIN_BLOCKS
        tape = chain if chain and pays_off else self._cast_tape
        return reduce(add, (attribute_pairs(tape, x, *part) for part in self._split_weights(self.weights)))

    @cached_property
    def _cast_tape(self) -> Tape:
        """The tape in the dtype of the rows."""
        return self._tape.in_dtype(self.background.dtype)

    @cached_property
    def _order(self) -> ContractionOrder | Deviations | None:
        """Order of the contraction of a chain with many outputs; None if the backward pass is cheaper."""
        return best_order(self._chain, self._chain_background) if self._chain else None
