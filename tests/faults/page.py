"""The page of the documentation with the table of faults: ``python -m tests.faults.page > docs/project/faults.md``."""

import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # also as a script

from tests.faults.table import Fault  # noqa: E402

HERE = Path(__file__).parent
INTRODUCTION = """# Faults

Hours of work must not be lost to something trivial, and nothing may go wrong without a word. The table has
{count} faults, each of which is brought about by the tests, and what must be true afterwards. After each, no scratch
files, no shared memory and no worker processes are left, global generators and settings are as they were, and an
error is one sentence of shapae that says how to go on. The list is made by `tests/faults/page.py`.
"""


def all_faults() -> list[Fault]:
    """The faults of all modules of this folder, kind by kind."""
    own = ("table", "page")
    names = sorted(
        path.stem for path in HERE.glob("*.py") if path.stem not in own and not path.stem.startswith("test_")
    )
    return [fault for name in names for fault in import_module(f"tests.faults.{name}").FAULTS]


def page() -> str:
    faults = all_faults()
    return "\n".join([INTRODUCTION.format(count=len(faults)), *_lines(faults)]) + "\n"


def _lines(faults: list[Fault]) -> Iterator[str]:
    for kind, some in groupby(faults, lambda fault: fault.kind):
        yield from [f"## {kind.capitalize()}", "", "| fault | afterwards |", "|---|---|"]
        yield from (f"| {_cell(fault.name)} | {_cell(fault.after)} |" for fault in some)
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
