"""Decoded latents in the units of the table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.errors import ModelError
from shapae.models.autoencoder import Autoencoder
from shapae.models.preprocess import Affine
from shapae.utils.context import inference_state
from shapae.utils.memory import batched
from shapae.utils.text import enumerate_names, one_line
from shapae.utils.torch_trace import first_nonfinite

# Number of latents that are decoded at once.
BATCH = 1024
# Difference of the same decoded latents by which a model has changed, relative to the range of the decoded features,
# beyond some rounding errors of the features themselves.
CHANGED, ROUNDING = 0.01, 32
TABLE, MODEL = "the table", "the model"


@dataclass(frozen=True, eq=False)
class Decoder:
    """The decoder of an autoencoder, from arrays of latents to arrays of rows.

    Attributes:
        autoencoder: The model, with its parts found.
        like: Any tensor with the dtype and device of its rows.
        width: d, the number of features.
        probes: (p, m). Some latents, among those of the rows that were explained.
        decoded: (p, d). Decoded ``probes``, by which a later change of the model is noticed.
        units: Units of the decoded features: "the table"; "the model", if the preprocessing can't be undone.
    """

    autoencoder: Autoencoder
    like: Tensor
    width: int
    probes: NDArray[Any]
    decoded: NDArray[Any]
    units: str

    @classmethod
    def of(cls, autoencoder: Autoencoder, like: Tensor, width: int, probes: NDArray[Any]) -> "Decoder":
        """Try the decoder on ``probes``; for the arguments see the class.

        Raises:
            ModelError: The decoder is not clear, fails, or does not return d finite features.
        """
        rows, units = _decode(autoencoder, like, probes)
        expected = (len(probes), width)
        if rows.shape != expected or not np.isfinite(rows).all():
            got = f"shape {rows.shape}" if rows.shape != expected else "NaN or infinite numbers"
            raise ModelError(
                f"the decoder must return {width} finite features for each row of latents, got {got}. Say how to "
                f"decode: Autoencoder(model, decode=lambda m, z: m.decoder(z))."
            )
        return cls(autoencoder, like, width, probes, rows, units)

    def __call__(self, latents: NDArray[Any]) -> NDArray[Any]:
        """(q, m) -> (q, d), float64.

        Raises:
            ModelError: The model has changed since the report was made, or is not finite for these latents.
        """
        rows, _ = _decode(self.autoencoder, self.like, np.vstack([self.probes, latents]))
        decoded, rows = np.split(rows, [len(self.probes)])
        rounding = ROUNDING * np.finfo(np.float32).eps * np.abs(self.decoded).max()
        if np.abs(decoded - self.decoded).max() > CHANGED * np.ptp(self.decoded, axis=0).max() + rounding:
            raise ModelError(
                "the model has changed since this report was made: it decodes the same latents otherwise. Make the "
                "report again: shapae.latents(model, X)."
            )
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=0)).tolist()
        if bad:
            raise ModelError(
                f"the decoder gives NaN or infinity for mixtures of latents, in {enumerate_names(bad, 'column')}: "
                f"{self._cause(latents)}. Look at narrower quantiles, or at units that are less far apart."
            )
        return rows

    def _cause(self, latents: NDArray[Any]) -> str:
        """Name the operators that made NaN or infinity of the latents (q, m)."""
        with inference_state(self.autoencoder, self.like):
            first = first_nonfinite(self.autoencoder.decode, torch.as_tensor(latents).to(self.like))
        return " and ".join(f"{place} is the first to make {kind}" for kind, place in first.items()) or "it overflows"


def _decode(autoencoder: Autoencoder, like: Tensor, latents: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Decode latents (q, m): features in the units of the table if they are known, and the name of the units.

    Raises:
        ModelError: The decoder is not clear, or fails.
    """
    with inference_state(autoencoder, like):
        try:
            rows = batched(autoencoder.decode, torch.as_tensor(latents).to(like.dtype).to(like.device), BATCH)
            original = autoencoder.in_table_units(_precise(rows, autoencoder))
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"the decoder fails on latents of shape {latents.shape}: {type(error).__name__}: {one_line(error)}. "
                f"Say how to decode: Autoencoder(model, decode=lambda m, z: m.decoder(z))."
            ) from error
    return (rows if original is None else original).cpu().double().numpy(), MODEL if original is None else TABLE


def _precise(rows: Tensor, autoencoder: Autoencoder) -> Tensor:
    """Keep small changes beside large means of the columns: undo an affine map in float64."""
    return rows.cpu().double() if isinstance(autoencoder.preprocess, Affine) else rows
