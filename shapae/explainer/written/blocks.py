"""Explanations in a folder, read block by block."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shapae.errors import OutputError, UnknownName, WrongIndex
from shapae.explainer.explanation import Explanation
from shapae.explainer.importance import Importance, merge_records
from shapae.explainer.written.arrays import to_explanation
from shapae.explainer.written.parquet import ParquetFiles
from shapae.explainer.written.zarr import ZarrFiles
from shapae.utils.constraints import check_argument, check_arguments
from shapae.utils.described import Described, count
from shapae.utils.kinds import Integer
from shapae.utils.memory import batches
from shapae.utils.resumable import BlockFiles, finished_blocks, read_block, read_facts, read_manifest

FORMATS = ["parquet", "zarr"]


class ExplanationBlocks(Described):
    """Explanations of many rows in a folder, block by block; the values of all rows are never held at once.

    Iterating over it, and ``blocks[0]``, reads explanations of blocks of rows. Each is compared with its checksum.

    Args:
        folder: Folder of ``Explainer.write``.

    Attributes:
        folder: The folder.
        names: Names of all blocks, with their rows.
        feature_names: Names of the features, or groups.
        output_names: One name; a list for several outputs.

    Raises:
        OutputError: The folder does not hold explanations, or they are of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        check_arguments(folder=folder)
        self.folder = Path(folder).absolute()  # the working folder may change
        plan = read_manifest(self.folder)["plan"]
        try:
            self._files, self.names = block_files(plan), name_blocks(plan)
            self.feature_names, self.output_names = plan["feature_names"], plan["output_names"]
        except KeyError as error:
            raise OutputError(
                f"{folder} holds the blocks of other work than explanations: {error} is missing."
            ) from error

    def _description(self) -> Sequence[str]:
        blocks, missing = len(self), len(self.missing)
        finished = f"{blocks - missing} of {count(blocks, 'block')} finished"
        outputs = 1 if isinstance(self.output_names, str) else len(self.output_names)
        shape = f"{count(self.rows, 'row')}, {count(len(self.feature_names), 'feature')}, {count(outputs, 'output')}"
        folder = str(self.folder)
        return [
            f"ExplanationBlocks of {shape}",
            f"in {folder if len(folder) < 80 else '...' + folder[-76:]}",
            finished,
            "next: blocks[0], for explanation in blocks, .explanation(), .importance()",
        ]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Explanation:
        """Read the explanation of a block.

        Args:
            number: Number of the block; -1 for the last one.

        Raises:
            DataError: It is not an integer.
            WrongIndex: There is no such block.
            OutputError: The block is not finished, or its files are damaged.
        """
        check_argument("number", number, Integer())
        if not -len(self) <= number < len(self):
            raise WrongIndex(f"there is no block {number}: the blocks have the numbers 0 to {len(self) - 1}.")
        arrays, record = read_block(self.folder, [*self.names][number], self._files)
        return self._make(arrays, record["row_names"], record["made_by"])

    def __iter__(self) -> Iterator[Explanation]:
        """Read the explanation of each block.

        Raises:
            OutputError: Some blocks are not finished, or their files are damaged.
        """
        for _, arrays, record in self._read_all():
            yield self._make(arrays, record["row_names"], record["made_by"])

    @property
    def rows(self) -> int:
        """Number of rows, also of those that are not explained yet."""
        return int(max(rows.stop for rows in self.names.values()))

    @property
    def missing(self) -> list[str]:
        """Names of the blocks that are not finished."""
        finished = finished_blocks(self.folder)
        return [name for name in self.names if name not in finished]

    @property
    def messages(self) -> dict[str, str]:
        """By the names of finished blocks: what does not add up in them, for those in which something does not."""
        missing = {*self.missing}
        records = ((name, read_facts(self.folder, name)) for name in self.names if name not in missing)
        return {name: record["message"] for name, record in records if record["message"]}

    def explanation(self) -> Explanation:
        """Read all blocks into one explanation, which must fit the memory.

        Raises:
            OutputError: Some blocks are not finished, or their files are damaged.
        """
        whole: dict[str, NDArray[Any]] = {}
        names, records = list[Any](), list[dict[str, Any]]()
        for rows, arrays, record in self._read_all():
            if records and arrays.keys() != whole.keys():  # of blocks that different versions have written
                raise OutputError(
                    f"the blocks of {self.folder} hold different arrays, {sorted(arrays.keys() ^ whole.keys())} not "
                    f"all of them. Write them again, to a new folder."
                )
            for name, array in arrays.items():
                if name not in whole:
                    whole[name] = np.empty((self.rows, *array.shape[1:]), array.dtype)
                whole[name][rows] = array
            names += record["row_names"] or []
            records.append(record["made_by"])
        return self._make(whole, names or None, merge_records(records))

    def importance(self) -> Importance:
        """Average the values of all blocks, one after the other, as ``Explainer.summarize`` does.

        Raises:
            OutputError: Some blocks are not finished, or their files are damaged.
        """
        return reduce(Importance.merge, map(Importance.of, self))

    def _read_all(self) -> Iterator[tuple[slice, dict[str, NDArray[Any]], dict[str, Any]]]:
        if missing := self.missing:
            raise OutputError(
                f"{len(missing)} of {len(self)} blocks of {self.folder} are not finished, first {missing[0]} with the "
                f"rows {self.names[missing[0]].start} to {self.names[missing[0]].stop - 1}. The same call of "
                f"explainer.write continues; blocks[0] reads a single block."
            )
        for name, rows in self.names.items():
            yield rows, *read_block(self.folder, name, self._files)

    def _make(self, arrays: Mapping[str, NDArray[Any]], row_names: Any, made_by: dict[str, Any]) -> Explanation:
        names = {"feature_names": self.feature_names, "output_names": self.output_names, "row_names": row_names}
        return to_explanation(arrays, **names, made_by=made_by)


def read(folder: str | Path) -> ExplanationBlocks:
    """Read a folder of ``Explainer.write``: a sequence of explanations, one explanation, or averages.

    Raises:
        OutputError: The folder does not hold explanations, or they are of another version.
    """
    return ExplanationBlocks(folder)


def name_blocks(plan: Mapping[str, Any]) -> dict[str, slice]:
    """Name the blocks of a plan, which has the number of ``rows`` and the ``height`` of a block."""
    return {f"block-{number:06}": rows for number, rows in enumerate(batches(plan["rows"], plan["height"]))}


def block_files(plan: Mapping[str, Any]) -> BlockFiles:
    """Make the files of the format of a plan, with its names.

    Raises:
        UnknownName: There is no such format.
        MissingPackage: Its package is not installed.
    """
    outputs = np.atleast_1d(plan["output_names"]).tolist()
    if plan["format"] == "parquet":
        return ParquetFiles(plan["feature_names"], outputs, names_as_text=plan["names_as_text"])
    if plan["format"] == "zarr":
        names = {"feature_names": plan["feature_names"], "output_names": outputs}
        return ZarrFiles(name_blocks(plan), names)
    raise UnknownName("format", plan["format"], FORMATS)
