"""Results that are written so that nothing is lost: files first, as a whole, and then each picture by itself."""

import shutil
import tempfile
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.axes import Axes

from shapae.errors import OutputError, OutputWarning, ShapaeError
from shapae.plots._figure import parent_figure
from shapae.utils.directories import atomic_directory, atomic_file
from shapae.utils.text import enumerate_names, one_line

# Functions that write files, and functions that draw pictures, by the paths in the folder of the results.
Files: TypeAlias = dict[str, Callable[[Path], Any]]
Pictures: TypeAlias = dict[str, Callable[[], Axes]]
REMEDY = "Give a new or empty folder, or --force to replace the results of an earlier run."


@dataclass(frozen=True, eq=False)
class Report:
    """Results that are not yet written.

    Attributes:
        files: From paths relative to the folder of the results to functions that write a file, or a folder.
        pictures: From paths to functions that draw a picture and return its Axes.
        text: Words for the terminal.
    """

    files: Files
    pictures: Pictures = field(default_factory=dict)
    text: str | None = None

    def write(self, folder: Path) -> dict[str, Exception]:
        """Write each file to a folder.

        Returns:
            Errors of those that can't be written.
        """
        errors = dict[str, Exception]()
        for name, write in self.files.items():
            try:
                write(folder / name)
            except Exception as error:
                errors[name] = error
        return errors

    def draw(self, folder: Path) -> list[str]:
        """Draw each picture by itself; a picture that can't be drawn is a warning.

        Returns:
            Paths of the pictures that were drawn.
        """
        drawn = []
        for name, draw in self.pictures.items():
            try:
                _save_picture(draw(), folder / name)
                drawn.append(name)
            except Exception as error:
                message = f"{name} can't be drawn: {_reason(error)} All other results are in {folder}."
                warnings.warn(message, OutputWarning, stacklevel=2)
        return drawn


def write_report(out: Path, force: Collection[str], make: Callable[[], Report]) -> tuple[Report, list[str]]:
    """Make a report, write its files to a folder as a whole, and then draw its pictures.

    Whether the folder can be written to is tried before the report is made.

    Args:
        out: New or empty folder, or a folder of earlier results.
        force: Patterns of the files that are replaced.
        make: Function that makes the report.

    Returns:
        The report, and the names of the files and folders that were written.

    Raises:
        OutputError: ``out`` holds other files, or can't be written to.
    """
    with atomic_directory(out, replaces=force, remedy=REMEDY) as fresh:
        report = make()
        write_or_rescue(report, fresh, out)
    written = [*report.files, *report.draw(out)]
    return report, sorted({name.partition("/")[0] for name in written})


def write_or_rescue(report: Report, folder: Path, out: Path) -> None:
    """Write the files of a report; if some can't be written, write all that can to a temporary folder.

    Args:
        report: The report.
        folder: An empty folder.
        out: The folder that it will be, for messages.

    Raises:
        OutputError: Some can't be written. The error says where the others are.
    """
    if not (errors := report.write(folder)):
        return
    name, error = next(iter(errors.items()))
    message = f"{enumerate_names([*errors], 'result')} can't be written to {out}: {_reason(error)}"
    try:
        other = Path(tempfile.mkdtemp(prefix=f"{out.stem[:50]}-"))
    except OSError:
        raise OutputError(f"{message} There is no temporary folder for the results either.") from error
    missing = report.write(other)
    if len(missing) == len(report.files):
        shutil.rmtree(other, ignore_errors=True)
        raise OutputError(f"{message} They can't be written to {other.parent} either.") from error
    without = f", but for {', '.join(missing)}" if missing else ""
    raise OutputError(f"{message} The results are in {other}{without}.") from error


def _save_picture(ax: Axes, path: Path) -> None:
    """Save the figure of some Axes as a PNG."""
    figure = parent_figure(ax)
    with BytesIO() as picture, atomic_file(path) as fresh:
        figure.savefig(picture, dpi=150, format="png")
        fresh.write_bytes(picture.getvalue())


def _reason(error: Exception) -> str:
    kind = "" if isinstance(error, ShapaeError) else f"{type(error).__name__}: "
    return f"{kind}{one_line(error).rstrip('.')}."
