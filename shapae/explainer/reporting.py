"""The verb of an Explanation that writes a report."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any


class Reporting:
    """Explanations that write a report; see ``Explanation``."""

    def report(
        self,
        path: str | Path,
        *,
        explainer: Any = None,
        others: Sequence[Any] = (),
        latents: Any = None,
        ranking: Any = None,
        title: str = "",
    ) -> Path:
        """Write one HTML file for readers who compute nothing: it needs no network, and no JavaScript to be read.

        The file has at most 1 MB; it says which part of the data is in it. An earlier report is replaced.

        Args:
            path: The file.
            explainer: The ``Explainer`` of this explanation. It tells the raw errors of the features, and about 30 rows
                are explained again: by another backend, with halves of the background, and with a constant column.
                None: the report says that this is not known.
            others: Explanations of other heads, such as those of ``explainer.with_head("latent")(X)``.
            latents: Report on the latent units, ``shapae.latents(model, X)``.
            ranking: Ranking of the features, ``shapae.rank_features(model, X)``.
            title: Title; empty for the name of the score.

        Returns:
            The path.

        Raises:
            DataError: A part is not what it must be; or the explainer is of another model, head or table.
            OutputError: The file can't be written, or it is no earlier report.
        """
        # By its name: reports are made of all results, so that their room is above this one.
        write = import_module("shapae.report.report").write_report
        written: Path = write(
            self,
            path,
            explainer=explainer,
            others=others,
            latent_report=latents,
            global_ranking=ranking,
            title=title,
        )
        return written
