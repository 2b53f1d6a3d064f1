"""Faults of explanations that are written block by block."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import shapae
from shapae.explainer.written import write
from shapae.utils import resumable
from tests.explainer.written.test_write import OTHERS, X, check_equal, explainer, in_place
from tests.faults.table import Fault

FORMATS = ("parquet", "zarr")
LAST, FIRST = "block-000005", "block-000000"


def _write(folder: Path, format: str = "parquet"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "MIN_BLOCKS", 6)
        patch.setattr(write, "MIN_ROWS", 1)
        return explainer().write(X, folder / "chunks", format=format)


def _check_whole(folder: Path, format: str = "parquet"):
    check_equal(_write(folder, format).explanation(), explainer()(X))


def _other_work(name):
    def cause(folder):
        _write(folder)
        before = in_place(folder)
        make, rows = OTHERS[name]
        try:
            make().write(rows, folder / "chunks")
        finally:
            assert in_place(folder) == before

    return cause


def _flip(place: float) -> Callable[[Path], None]:
    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 4
        path.write_bytes(content)

    return damage


def _cut(place: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(place * path.stat().st_size)])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a flipped bit near the start of": _flip(0.05),
    "a flipped bit in the middle of": _flip(0.5),
    "a missing end of": _cut(0.8),
    "nothing left of": _cut(0),
    "no": Path.unlink,
}
FILES = {
    "a Parquet file": ("parquet", f"{FIRST}.parquet"),
    "the record of a block": ("parquet", f"_blocks/{LAST}.json"),
    "a chunk of a Zarr array": ("zarr", "explanation.zarr/values/c/1/0/0"),
    "the description of a Zarr array": ("zarr", "explanation.zarr/data/zarr.json"),
    "the record of a block of Zarr": ("zarr", f"_blocks/{FIRST}.json"),
}


def _damaged(file, damage, call):
    format, name = FILES[file]

    def cause(folder):
        _write(folder, format)
        DAMAGES[damage](folder / "chunks" / name)
        call(folder, format)

    return cause


def _read(folder, format):
    shapae.read(folder / "chunks").explanation()


def _interrupted(at, error, format):
    """Fail when a file is put in place, and continue."""

    def cause(folder):
        real, calls = resumable.put_file, []

        def failing(path, put, **settings):
            calls.append(path)
            if len(calls) == at:
                raise error
            real(path, put, **settings)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resumable, "put_file", failing)
            with pytest.raises((KeyboardInterrupt, shapae.errors.OutputError)):
                _write(folder, format)
        before = in_place(folder / "chunks" / resumable.RECORDS)
        _check_whole(folder, format)
        after = in_place(folder)
        assert {path: after[path] for path in before} == before

    return cause


def _place(make, check=lambda path: True):
    def cause(folder):
        make(folder / "chunks")
        try:
            _write(folder)
        finally:
            assert check(folder / "chunks")

    return cause


def _linked(path):
    path.with_name("elsewhere").mkdir()
    path.symlink_to("elsewhere")


def _kept_link(folder):
    _linked(folder / "chunks")
    _check_whole(folder)
    assert (folder / "chunks").is_symlink()
    assert (folder / "elsewhere" / f"{FIRST}.parquet").exists()


def _with_notes(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def _below_a_file(folder):
    (folder / "file").write_text("mine")
    explainer().write(X, folder / "file" / "chunks")


def _foreign_file_appears(folder):
    _write(folder)
    (folder / "chunks" / "notes.txt").write_text("mine")
    (folder / "chunks" / f"{FIRST}.parquet").unlink()
    _check_whole(folder)
    assert (folder / "chunks" / "notes.txt").read_text() == "mine"


KEPT, WHOLE = "refused; the blocks of before stay", "the block is computed again: the same bits"
PLACES = {
    "is a file": (Path.touch, Path.is_file),
    "is a fifo": (os.mkfifo, Path.is_fifo),
    "is a link to nothing": (lambda path: path.symlink_to("nowhere"), Path.is_symlink),
    "is a link to itself": (lambda path: path.symlink_to("chunks"), Path.is_symlink),
    "holds files of others": (_with_notes, lambda path: (path / "notes.txt").read_text() == "mine"),
}
FULL = OSError(errno.ENOSPC, "No space left on device")
FAULTS = [
    *(Fault("chunks", f"continued with other {name}", _other_work(name), "differs", KEPT) for name in OTHERS),
    *(
        Fault("chunks", f"{damage} {file}, read", _damaged(file, damage, _read), "damaged|not finished", "named")
        for file in FILES
        for damage in DAMAGES
        if (file, damage) != ("a chunk of a Zarr array", "no")
    ),
    *(
        Fault("chunks", f"{damage} {file}, continued", _damaged(file, damage, _check_whole), None, WHOLE)
        for file in FILES
        for damage in DAMAGES
    ),
    *(
        Fault(
            "chunks",
            f"{name} at file {at} of {format}",
            _interrupted(at, error, format),
            None,
            "finished blocks stay; the same call continues",
        )
        for format, files in (("parquet", (2, 3, 7)), ("zarr", (2, 4)))
        for at in files
        for name, error in {"Ctrl-C": KeyboardInterrupt(), "a full disk": FULL}.items()
    ),
    *(
        Fault("chunks", f"the folder {name}", _place(make, check), "holds other files|can't write", "refused; it stays")
        for name, (make, check) in PLACES.items()
    ),
    Fault(
        "chunks", "the folder is below a file", _below_a_file, "can't write", "refused before the rows are explained"
    ),
    Fault("chunks", "the folder is a link to a folder", _kept_link, None, "written to its target; the link stays"),
    Fault("chunks", "a file of others appears in the folder", _foreign_file_appears, None, "it stays"),
]
