"""The verbs of an Explainer that write and read files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from shapae.explainer.core import Core
from shapae.explainer.saved import FILES, asking_for_factory, check_changes, read_folder, reading, write_folder
from shapae.explainer.twins import check_twin, check_unchanged, make_twin
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.directories import atomic_directory

if TYPE_CHECKING:
    from shapae.explainer.written.blocks import ExplanationBlocks


class InFiles(Core):
    """An explainer, and the explanations of many rows, in folders; see ``Explainer``."""

    def write(
        self, X: Any, folder: str | Path, *, format: str = "parquet", timeout: float | None = None
    ) -> "ExplanationBlocks":
        """Explain the rows of ``X`` block by block, and write each block to ``folder`` as soon as it is explained.

        The same call again continues, also with other workers: blocks that are there are not computed again. So does a
        call after a worker was lost or the disk was full. Draws depend on the seed and on the position of a row in
        ``X`` alone, so that the values are those of ``explainer(X)``.

        Args:
            X: (n, d), with the columns of the background; or the path of its file, which may be larger than the memory.
            folder: New or empty folder, or one of the same call. ``shapae.read`` reads it.
            format: "parquet" for one table per block, see ``shapae.explainer.written.parquet``; "zarr" for arrays.
            timeout: Number of seconds after which a block counts as hung, and its worker is stopped; None for no limit.

        Returns:
            The explanations in the folder.

        Raises:
            OutputError: The folder holds other files, or blocks of another model, background, head or table, or can't
                be written to.
            UnknownName: There is no such format.
            MissingPackage: The package of the format is not installed.
            Exception: See ``__call__``.
        """
        check_arguments(folder=folder, format=format)
        check_optional(timeout=timeout)
        from shapae.explainer.written.write import write_blocks  # the base class of explanations takes a second

        return write_blocks(self, X, Path(folder), format=format, timeout=timeout)

    def save(self, folder: str | Path, factory: str | Callable[[], Any] | None = None) -> Path:
        """Write the explainer to ``folder``: rows can be explained later, elsewhere, without the background at hand.

        The folder holds the state_dict of the model, the background and all settings, as safetensors and JSON. Before
        anything is written to it, a second explainer is made of these files: it must give the scores of this one.

        Args:
            folder: New or empty, or one of an earlier explainer, which is replaced.
            factory: Function without arguments that makes the model, with any weights, or an Autoencoder of it; or the
                name of this function, "package.module:name". None for the class of the model.

        Returns:
            The folder.

        Raises:
            ModelError: The factory can't be imported by its name, or makes another model.
            OutputError: The folder holds other files, or the state_dict holds more than dense tensors.
        """
        check_arguments(folder=folder)
        check_optional(factory=factory)
        saved = self._saved()
        with atomic_directory(Path(folder), replaces=FILES) as fresh, asking_for_factory(factory, saved):
            own = write_folder(saved, factory, fresh)
            changes = {name: saved.arguments[name] for name in own}
            twin = make_twin(type(self), read_folder(fresh, changes, self.background.device))
            check_twin(twin._saved(), saved)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, *, device: str | torch.device | None = None, **changes: Any) -> Self:
        """Read a folder of ``save``. Load only folders that you trust: the factory that they name is imported and run.

        Nothing else in the files is run. The model must give the scores that it gave when it was saved.

        Args:
            folder: The folder.
            device: Device of the model; None for the one on which its factory makes it.
            changes: Arguments of ``Explainer`` that replace those in the folder, such as ``n_jobs``; and a head or a
                backend of your own, which is not in the folder.

        Raises:
            OutputError: The files are missing, damaged or of another version; or the factory can't be imported, or
                makes another model by now.
            DataError: The model or the background is among the changes.
        """
        check_arguments(folder=folder)
        check_optional(device=device)
        check_changes(changes)
        with reading(folder):
            saved = read_folder(Path(folder), changes, device)
        explainer = make_twin(cls, saved)
        with reading(folder):
            check_unchanged(explainer._saved(), saved, explainer._score.eps)
        return explainer
