"""Preparation of the work: scores of a copy of the model, both tables, and their checks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.analysis.influence.checkpoints import Checkpoints
from shapae.analysis.influence.examples import Sketch
from shapae.analysis.influence.gradients import RowGradients
from shapae.analysis.influence.recognition import find_row_gradients
from shapae.analysis.influence.result import Influence
from shapae.errors import DataError, ModelError, UnknownName
from shapae.heads import ELBO, ReconstructionError
from shapae.heads.base import HEADS
from shapae.heads.checks import check_fitted_names, check_score
from shapae.heads.functions import HeadFunction, as_head, head_name
from shapae.heads.losses import LOSSES, Loss
from shapae.heads.score import Score, make_score
from shapae.models.adapters import as_autoencoder
from shapae.models.autoencoder import Autoencoder
from shapae.models.unwrapping import deep_copy
from shapae.tables.columns import numbered_features
from shapae.tables.table import Table, TableStream, check_n_features, read_table, resolve_feature_names
from shapae.utils.context import inference_state
from shapae.utils.fingerprint import fingerprint, fingerprint_state, fingerprint_text
from shapae.utils.memory import batches
from shapae.utils.text import enumerate_names
from shapae.utils.torch_private import TorchLoss

# Number of rows on which each score is checked.
CHECKED_ROWS = 64
# Number of rows that are encoded at once.
ENCODED_ROWS = 2**10


@dataclass(frozen=True, eq=False)
class Setup:
    """Two scores of a copy of the model, and the rows of both.

    Attributes:
        tested: Score whose decrease is asked for.
        trained: Loss of the training.
        rows: n rows for ``tested``.
        train: m training rows.
        trial: Some training rows.
        loss_name: Name of the loss.
    """

    tested: Score
    trained: Score
    rows: TableStream
    train: TableStream
    trial: Tensor
    loss_name: str

    @property
    def model(self) -> nn.Module:
        """The copy of the user's model."""
        return self.tested.autoencoder.model

    @property
    def scores(self) -> nn.ModuleList:
        """Both scores as one module, which shares the model."""
        return nn.ModuleList([self.tested, self.trained])

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of rows and of training rows, n and m."""
        return len(self.rows), len(self.train)

    @property
    def sign(self) -> int:
        """1, or -1 where exactly one of both scores is raised by training."""
        return _sign(self.tested) * _sign(self.trained)

    def row_gradients(self, names: Sequence[str], projection: int | None, seed: int) -> list[RowGradients]:
        """Make the functions from rows to gradients with respect to parameters of the model.

        Args:
            names: Names of parameters of the model.
            projection: Number of dimensions of the random projection; None for none.
            seed: Random seed of the projection.

        Raises:
            ModelError: One of the scores does not change with these parameters.
        """
        found = find_row_gradients(
            [self.tested, self.trained], [f"autoencoder.model.{name}" for name in names], self.trial
        )
        for each, noun in zip(found, ("head", "loss"), strict=True):
            if not each(self.trial).squared_norms().any():
                raise ModelError(
                    f"the {noun} does not change with {enumerate_names(names, 'parameter')}. Choose others, or "
                    f"parameters='all'; a model that detaches or leaves torch has no gradient."
                )
        rest = found[0].rest
        if projection is None or rest is None:
            return found
        sketch = Sketch.draw(rest.size, projection, seed, self.trial)
        return [replace(each, sketch=sketch) for each in found]

    def fingerprint(self, states: Checkpoints, gradients: Sequence[RowGradients]) -> dict[str, Any]:
        """Describe the model, the head, the loss and the tables, so that other work is told from this.

        Names do not tell all heads, losses and models from each other: the layers are compared, and what they give for
        some rows.
        """
        tables = {"rows": self.rows, "train": self.train}
        hashes = {name: fingerprint(table[block] for block in table.rows.blocks()) for name, table in tables.items()}
        trials, hashed = list[str](), list[str]()
        for _ in states.load_each(self.model):
            hashed.append(fingerprint_state(self.model))
            found = (each(self.trial) for each in gradients)
            trials += [f"{x:.3g}" for each in found for x in (*each.scores.tolist(), *each.squared_norms().tolist())]
        named = {"model": fingerprint_text(" ".join(hashed)), "layers": fingerprint_text(f"{self.model} {self.scores}")}
        return {**hashes, **named, "scores of some rows": trials}

    def result(self, arrays: dict[str, NDArray[Any]], made_by: dict[str, Any]) -> Influence:
        """Put the result together.

        Raises:
            ModelError: Some influences are NaN or infinite.
        """
        bad = ~np.isfinite(arrays["values"])
        bad_train = bad.any(axis=0) | ~np.isfinite(arrays["self_influence"]) | ~np.isfinite(arrays["losses"])
        bad_rows = bad.any(axis=1) | ~np.isfinite(arrays["scores"])
        if bad_rows.any() or bad_train.any():
            tested, trained = (np.flatnonzero(each).tolist() for each in (bad_rows, bad_train))
            raise ModelError(
                f"the influences are NaN or infinite for {enumerate_names(tested, 'row')} and "
                f"{enumerate_names(trained, 'training row')}: a gradient is not finite there, as that of a square root "
                f"at 0. Leave these rows out, or use another head or loss."
            )
        return Influence(
            **arrays,
            places=_places(self.rows, self.train),
            latents=self._encode(self.rows),
            train_latents=self._encode(self.train),
            row_names=self.rows.rows.row_names,
            train_names=self.train.rows.row_names,
            made_by=made_by,
        )

    def _encode(self, rows: TableStream) -> NDArray[Any] | None:
        """Encode rows; None if the encoder of the model is not known."""
        try:
            with torch.no_grad():
                parts = [self.tested.autoencoder.encode(rows[block]) for block in batches(len(rows), ENCODED_ROWS)]
        except ModelError:
            return None
        return np.asarray(torch.cat(parts).cpu())


def _places(rows: TableStream, train: TableStream) -> NDArray[Any]:
    """Find the position of each row among the training rows, by their numbers: (n,); -1 for rows that are not there."""
    known: dict[bytes, int] = {}
    for block in train.rows.blocks():
        for place, row in enumerate(train[block].cpu().numpy(), block.start):
            known.setdefault(row.tobytes(), place)
    keys = (row.tobytes() for block in rows.rows.blocks() for row in rows[block].cpu().numpy())
    return np.array([known.get(key, -1) for key in keys])


def _sign(score: Score) -> int:
    return -1 if isinstance(score.head, ELBO) else 1


def set_up(
    model: nn.Module | Autoencoder,
    tables: tuple[Any, Any],
    head: str | nn.Module | HeadFunction,
    loss: str | nn.Module | HeadFunction | None,
    *,
    feature_names: Sequence[str] | None = None,
) -> Setup:
    """Read the tables, copy the model, and bind it to the head and to the loss; see ``influence`` for the errors.

    Args:
        model: The user's model.
        tables: The training rows and the rows.
        head: See ``influence``.
        loss: See ``influence``.
        feature_names: See ``influence``.
    """
    autoencoder, head_module = as_autoencoder(model), as_head(head)
    loss_module = _as_loss_head(loss, head_module)
    train, rows = (read_table(table, what) for table, what in zip(tables, ("training rows", "rows"), strict=True))
    names = _feature_names(train, rows, feature_names)
    check_fitted_names(autoencoder, train, "training rows")
    trial, features = train.trial_rows(), names or numbered_features(train.shape[1])
    tested = make_score(autoencoder, head_module, features, trial)
    some = torch.as_tensor(trial).to(tested.original)
    trained = make_score(tested.autoencoder, loss_module, features, some)
    for score, noun in ((tested, "head"), (trained, "loss")):
        _check_width(score, noun)
    copies: Any = deep_copy(nn.ModuleList([tested, trained]))
    streams = TableStream(rows, some, "rows"), TableStream(train, some, "training rows")
    setup = Setup(copies[0], copies[1], *streams, some, _name_loss(loss_module))
    with inference_state(copies, some):
        check_score(setup.tested, torch.cat([setup.rows[:CHECKED_ROWS], some]))
        check_score(setup.trained, setup.train[:CHECKED_ROWS] if len(train) > 1 else some)
    return setup


def _feature_names(train: Table, rows: Table, given: Sequence[str] | None) -> list[str] | None:
    """Return the names of the columns, on which both tables must agree.

    Raises:
        DataError: They do not.
    """
    names = resolve_feature_names(train, given, "training rows")
    if names and rows.names:
        resolve_feature_names(rows, names, "rows")
    check_n_features(rows, train.shape[1], "rows")
    return names or rows.names


def _as_loss_head(loss: str | nn.Module | HeadFunction | None, head: nn.Module) -> nn.Module:
    """Make the head that is the loss of the training.

    Raises:
        UnknownName: There is no such loss or head.
        ModelError: ``loss`` is none of what it may be.
    """
    if loss is None:
        return head if isinstance(head, ReconstructionError | ELBO) else ReconstructionError()
    if isinstance(loss, Loss | TorchLoss) or (isinstance(loss, str) and loss in list(LOSSES)):
        return ReconstructionError(loss)
    if isinstance(loss, str) and loss.partition(":")[0] not in HEADS:
        raise UnknownName("loss", loss, [*LOSSES, *HEADS])
    return as_head(loss)


def _name_loss(head: nn.Module) -> str:
    """Name the loss of the training in a line, such as "reconstruction error (mae)"."""
    return str(getattr(head, "output", head_name(head)))


def _check_width(score: Score, noun: str) -> None:
    if score.width != 1:
        names = score.outputs()
        raise DataError(
            f"influence takes a {noun} with one number per row, got {len(names)} outputs: {', '.join(names[:8])}. "
            f"Choose one of them by its name or position, such as {noun}='latent:0'."
        )
