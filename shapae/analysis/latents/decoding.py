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
from shapae.utils.text import one_line

# Number of latents that are decoded at once.
BATCH = 1024
TABLE, MODEL = "the table", "the model"


@dataclass(frozen=True, eq=False)
class Decoder:
    """The decoder of an autoencoder, from arrays of latents to arrays of rows.

    Attributes:
        autoencoder: The model, with its parts found.
        like: Any tensor with the dtype and device of its rows.
        width: d, the number of features.
        center: (m,). Mean latents of the rows that were explained.
        decoded: (d,). Decoded ``center``, by which a later change of the model is noticed.
        units: Units of the decoded features: "the table"; "the model", if the preprocessing can't be undone.
    """

    autoencoder: Autoencoder
    like: Tensor
    width: int
    center: NDArray[Any]
    decoded: NDArray[Any]
    units: str

    @classmethod
    def of(cls, autoencoder: Autoencoder, like: Tensor, width: int, center: NDArray[Any]) -> "Decoder":
        """Try the decoder on ``center``; for the arguments see the class.

        Raises:
            ModelError: The decoder is not clear, fails, or does not return d finite features.
        """
        rows, units = _decode(autoencoder, like, center[None])
        if rows.shape != (1, width) or not np.isfinite(rows).all():
            got = f"shape {rows.shape}" if rows.shape != (1, width) else "NaN or infinite numbers"
            raise ModelError(
                f"the decoder must return {width} finite features for the mean latents, got {got}. Say how to decode: "
                f"Autoencoder(model, decode=lambda m, z: m.decoder(z))."
            )
        return cls(autoencoder, like, width, center, rows[0], units)

    def __call__(self, latents: NDArray[Any]) -> NDArray[Any]:
        """(q, m) -> (q, d), float64.

        Raises:
            ModelError: The model has changed since the report was made.
        """
        rows, _ = _decode(self.autoencoder, self.like, np.vstack([self.center, latents]))
        scale = np.abs(rows).max() + np.abs(self.decoded).max()
        if not np.allclose(rows[0], self.decoded, rtol=0, atol=1e-4 * scale):
            raise ModelError(
                "the model has changed since this report was made: it decodes the mean latents otherwise. Make the "
                "report again: shapae.latents(model, X)."
            )
        return rows[1:]


def _decode(autoencoder: Autoencoder, like: Tensor, latents: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Decode latents (q, m): features in the units of the table if they are known, and the name of the units.

    Raises:
        ModelError: The decoder is not clear, or fails.
    """
    with inference_state(autoencoder, like):
        try:
            rows = batched(autoencoder.decode, torch.as_tensor(latents).to(like), BATCH)
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
