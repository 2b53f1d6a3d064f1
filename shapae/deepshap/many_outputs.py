"""All outputs of a feed-forward chain at once: Shapley values, and weighted gradients."""

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor

from shapae.deepshap.feedforward.chain import FeedForward
from shapae.deepshap.feedforward.closed_form import ClosedForm, closed_form, suits
from shapae.deepshap.feedforward.contraction import best_order_of_points, contract, contract_factors
from shapae.deepshap.feedforward.factors import Points
from shapae.deepshap.recording import Recording, check_tables, split_tables
from shapae.deepshap.tracing.tape import Values
from shapae.errors import ModelError


class ManyOutputs(Recording):
    """All outputs of a function at once, if it is a feed-forward chain; see ``Recording`` for the arguments.

    The methods return None for any other function, also if it can't be recorded, and if a result is not finite.
    """

    @property
    def has_closed_form(self) -> bool:
        """Whether the function is a chain with one nonlinearity that suits the closed form, see ``SUITED`` there."""
        with torch.no_grad():
            return self._closed_form is not None and self._chain is not None and suits(self._chain)

    @torch.no_grad()
    def closed_form(self, rows: Tensor) -> Tensor | None:
        """Compute Shapley values of a chain with one nonlinearity, as if the inputs of the nonlinearity were normal.

        Args:
            rows: (n, d), in the dtype and on the device of the background.

        Returns:
            (n, d, k). They sum to function(row) - mean(function(background)). See ``feedforward.closed_form`` for the
            method and its error. None also for a chain with several nonlinearities.

        Raises:
            DataError: The rows are no such table.
        """
        check_tables(rows, self.background)
        chain, form = self._usable_chain, self._closed_form
        if chain is None or form is None:
            return None
        weights = None if self.weights is None else self.weights / self.weights.sum()
        return _concatenate(
            contract(chain, form, self._chain_values(batch), self._chain_background, weights)
            for (batch,) in split_tables(self._batch_size, rows)
        )

    @torch.no_grad()
    def weighted_gradients(self, points: Tensor, weights: Tensor) -> Tensor | None:
        """Compute, for all outputs s_k, the sums over m of weights[n, m, i] ds_k / dz_i at z = points[n, m].

        Args:
            points: (n, m, d), in the dtype and on the device of the background.
            weights: (n, m, d), likewise.

        Returns:
            (n, d, k). None also if one backward pass for each output is cheaper.
        """
        chain, terms = self._usable_chain, points.shape[1]
        order = best_order_of_points(chain, terms) if chain else None
        if chain is None or order is None:
            return None
        return _concatenate(
            contract_factors(chain, order, Points(self._chain_values(batch), factors))
            for batch, factors in split_tables(max(1, self._batch_size // terms), points, weights)
        )

    @cached_property
    def _usable_chain(self) -> FeedForward | None:
        """The chain; None if there is none, or if the tape does not reproduce the scores of the background."""
        try:
            return self._chain if self._parts else None
        except ModelError:
            return None

    @cached_property
    def _closed_form(self) -> ClosedForm | None:
        return closed_form(self._usable_chain) if self._usable_chain else None

    def _chain_values(self, rows: Tensor) -> Values:
        """Compute the values of rows (..., d) in the slots that the chain needs, (..., width)."""
        assert self._chain is not None
        parts = [self._replay(batch) for (batch,) in split_tables(self._batch_size, rows.flatten(0, -2))]
        values = {slot: torch.cat([part[slot] for part in parts]) for slot in self._chain.slots}
        return {slot: value.reshape(*rows.shape[:-1], *value.shape[1:]) for slot, value in values.items()}


def _concatenate(results: Iterable[Tensor | None]) -> Tensor | None:
    """Concatenate the results of batches; None if one is None, or if the tape does not reproduce the function there."""
    found = []
    try:
        for result in results:
            if result is None:
                return None
            found.append(result)
    except ModelError:
        return None
    return torch.cat(found)
