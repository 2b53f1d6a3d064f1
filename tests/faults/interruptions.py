"""Faults while results are written: others who write there, Ctrl-C, killed runs, signals, full disks."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest

from shapae.cli import reports
from shapae.cli.output import Report, write_report
from shapae.utils.directories import atomic_directory
from tests.explainer.explanations import explanation
from tests.faults.files import EARLIER, file, loads, mounted, save
from tests.faults.saved import RESULTS
from tests.faults.table import Fault

# Things that happen during the work.


def meanwhile(act, check, says_nothing=True):
    """Somebody acts on the place while results are computed."""

    def cause(folder):
        EARLIER.save(folder / "it")
        try:
            with atomic_directory(folder / "it", replaces=("explanation.*",)) as fresh:
                save(fresh / "new")
                for path in (fresh / "new").iterdir():
                    path.rename(fresh / path.name)
                (fresh / "new").rmdir()
                act(folder / "it")
        finally:
            check(folder)

    return cause


def _change(place):
    for path in place.iterdir():
        path.write_text("of another run")


def _another_run(place):
    shutil.rmtree(place)
    EARLIER[:3].save(place)


def _kept(folder, earlier):
    loads(folder / "it.finished", explanation())
    if earlier is not None:
        loads(folder / "it", earlier)


def _files_beside(folder):
    loads(folder / "it", explanation())
    assert (folder / "it" / "notes" / "thesis.tex").read_text() == "years of work"


MEANWHILE = {
    "a file appears": (lambda place: file(place, "notes/thesis.tex"), _files_beside, None),
    "the earlier results are deleted": (shutil.rmtree, lambda folder: loads(folder / "it", explanation()), None),
    "the earlier results are changed": (_change, lambda folder: _kept(folder, None), r"They are in .*it\.finished"),
    "another run replaces the earlier results": (
        _another_run,
        lambda folder: _kept(folder, EARLIER[:3]),
        r"They are in .*it\.finished",
    ),
    "a file takes the place": (
        lambda place: (shutil.rmtree(place), place.write_text("mine")),
        lambda folder: (_kept(folder, None), (folder / "it").read_text() == "mine" or pytest.fail("lost")),
        r"They are in .*it\.finished",
    ),
    "a link takes the place": (
        lambda place: (place.rename(place.with_name("moved")), place.symlink_to("moved")),
        lambda folder: loads(folder / "moved", EARLIER),
        r"They are in .*it\.finished",
    ),
}


@contextmanager
def failing_rename(place, error, after, times=1):
    """Raise an error at one of the renames, before or after it is done, and at the next ones."""
    count, rename = 0, Path.rename

    def fail(path, target):
        nonlocal count
        count += 1
        if place <= count < place + times:
            if after:
                rename(path, target)
            raise error
        return rename(path, target)

    with patch.object(Path, "rename", fail):
        yield
    assert count >= place, f"there are {count} renames"


def interrupted(place, error, after=False, times=1, volume=False):
    """The results are interrupted while they are put into place: the earlier and the new ones are both there."""

    def run(folder, home):
        EARLIER.save(home)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            try:
                with failing_rename(place, error, after, times):
                    save(home)
            except (KeyboardInterrupt, SystemExit):
                pass
        finished = [path for path in folder.rglob("*.finished") if path.is_dir()]
        loads(home, EARLIER)
        for path in finished:
            loads(path, explanation())
        assert len(finished) == (place > 1)

    def cause(folder):
        if not volume:
            return run(folder, folder / "it")
        with mounted(folder / "volume", "size=1m") as home:
            return run(folder, home)

    return cause


def left_behind(*inner, says=None):
    """A run was killed, and the next one says where its results are."""

    def cause(folder):
        ended = subprocess.Popen(["true"])
        ended.wait()
        scratch = folder / f".it.shapae-{ended.pid if says else os.getpid()}-abcd"
        for name in ("", *inner):
            (scratch / name).mkdir()
        (folder / f".its.shapae-{ended.pid}-abcd").mkdir()  # of another result
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            save(folder / "it")
        assert scratch.is_dir()
        assert [says in str(each.message) and str(scratch) in str(each.message) for each in caught] == [True] * bool(
            says
        )
        for path in folder.glob(".*"):
            shutil.rmtree(path)

    return cause


def stopped(error):
    """The work stops with an error; the folders above the results are made for them, and go."""

    def cause(folder):
        def work():
            with atomic_directory(folder / "a" / "b" / "it") as fresh:
                (fresh / "half").write_text("half")
                raise error

        with pytest.raises(type(error)):
            work()
        assert [*folder.iterdir()] == []

    return cause


@contextmanager
def full_disk(size=1000):
    """No file may be longer than a number of bytes, as on a disk that is almost full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def full_for_an_explainer(size):
    """The disk is full when an explainer is saved: the earlier one is in place."""

    def cause(folder):
        explainer = RESULTS["explainer"]()
        explainer.save(folder / "it")
        before = {path.name: path.read_bytes() for path in (folder / "it").iterdir()}
        try:
            with full_disk(size):
                explainer.save(folder / "it")
        finally:
            assert {path.name: path.read_bytes() for path in (folder / "it").iterdir()} == before

    return cause


def _save_long_names(place):
    explanation(feature_names=[letter * 1000 for letter in "abcdef"]).save(place)


def full(write, size=1000):
    def cause(folder):
        EARLIER.save(folder / "it")
        try:
            with full_disk(size):
                write(folder / "it")
        finally:
            loads(folder / "it", EARLIER)
            assert [path.name for path in folder.iterdir()] == ["it"]

    return cause


def rescued(folder):
    """The volume of the results is full, and that of temporary files is not."""
    (folder / "temporary").mkdir()
    with mounted(folder / "volume", "size=8k") as volume, patch.object(tempfile, "tempdir", str(folder / "temporary")):
        try:
            write_report(volume / "it", (), lambda: reports.report_explanation(explanation()))
        finally:
            assert [*volume.iterdir()] == []
            (found,) = (folder / "temporary").iterdir()
            loads(found / "explanation", explanation())


def rescued_without_a_table(folder):
    """A table that can't be written does not take the explanation with it."""
    report = reports.report_explanation(explanation())

    def fail(path):
        raise ValueError("no such column")

    with patch.object(tempfile, "tempdir", str(folder)):
        try:
            write_report(folder / "it", (), lambda: Report(report.files | {"importance.csv": fail}))
        finally:
            (found,) = folder.glob("it-*")
            loads(found / "explanation", explanation())


def ended(number):
    """A command is ended by a signal while it computes."""

    def cause(folder):
        (folder / "slow.py").write_text(
            "import pathlib, time\nfrom torch import nn\n"
            "class Net(nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.encoder, self.decoder = nn.Linear(3, 2), nn.Linear(2, 3)\n"
            "    def forward(self, x):\n"
            "        pathlib.Path('begun').touch()\n        time.sleep(100)\n"
        )
        pd.DataFrame(np.eye(3), columns=list("abc")).to_csv(folder / "X.csv", index=False)
        make = "import slow, torch; torch.save(slow.Net().state_dict(), 'w.pt'); from shapae.cli import main; main()"
        options = ["explain", "--model", "slow:Net", "--weights", "w.pt", "--data", "X.csv", "--out", "out"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
        defaults = {"preexec_fn": lambda: signal.signal(number, signal.SIG_DFL)}  # nohup ignores SIGHUP
        process = subprocess.Popen([sys.executable, "-c", make, *options], cwd=folder, env=environment, **defaults)
        try:
            while not (folder / "begun").exists():
                assert process.poll() is None
                time.sleep(0.05)
            scratch = [path.name for path in folder.iterdir() if path.name.startswith(".out.shapae-")]
            assert scratch[0].startswith(f".out.shapae-{process.pid}-")
            process.send_signal(number)
            assert process.wait() == 128 + number
        finally:
            process.kill()
        assert not (folder / "out").exists()

    return cause


SAFE = "the earlier results are in place, and the new ones beside them, with their place in the message"
FAULTS = [
    Fault("interruptions", f"during the work, {name}", meanwhile(act, check), says, "nothing of either is lost")
    for name, (act, check, says) in MEANWHILE.items()
]
INTERRUPTED = [
    (place, kind, after) for kind in (KeyboardInterrupt, SystemExit) for place in (2, 3, 4) for after in (False, True)
] + [(1, KeyboardInterrupt, False)]
FAULTS += [
    Fault(
        "interruptions",
        f"{kind.__name__} {'after' if after else 'at'} rename {place} of 4",
        interrupted(place, kind, after),
        None,
        SAFE,
    )
    for place, kind, after in INTERRUPTED
]
FAULTS += [
    Fault(
        "files", f"rename {place} of 4 fails", interrupted(place, OSError(errno.EIO, "Input/output error")), says, SAFE
    )
    for place, says in ((2, "They are in"), (3, "They are in"), (4, "They are in"))
]
FAULTS += [
    Fault("interruptions", "Ctrl-C, and again", interrupted(4, KeyboardInterrupt, times=2), None, SAFE),
    *(
        Fault(
            "interruptions",
            f"on a volume, Ctrl-C at rename {place}",
            interrupted(place, KeyboardInterrupt, volume=True),
            None,
            SAFE,
        )
        for place in (3, 4, 5, 6)
    ),
]
FAULTS += [
    Fault(
        "interruptions",
        f"a killed run left {name}",
        left_behind(*inner, says=says),
        None,
        "the next run says where, and keeps it",
    )
    for name, inner, says in [
        ("finished results", ["finished"], "finished results in"),
        ("earlier results", ["finished", "earlier"], "were to replace in"),
        ("unfinished results", ["unfinished"], "no finished results: delete it"),
        ("nothing, as it still runs", ["unfinished"], None),
    ]
]
FAULTS += [
    Fault(
        "interruptions",
        "the disk is full when arrays are written",
        full(save),
        "can't write to the folder .*File too large",
        SAFE,
    ),
    Fault(
        "interruptions",
        "the disk is full when the record is written",
        full(_save_long_names, 3000),
        "can't write to the folder .*File too large",
        SAFE,
    ),
    Fault(
        "interruptions",
        "the disk is full for a command",
        full(lambda place: _report_once(place)),
        "can't be written .* either",
        "the earlier results are in place",
    ),
    Fault(
        "interruptions",
        "the disk of a command is full",
        rescued,
        r"No space left.*The results are in",
        "the results are in a temporary folder",
    ),
    Fault(
        "interruptions",
        "a table of a command can't be written",
        rescued_without_a_table,
        r"importance\.csv can't be written .*no such column.*The results are in",
        "the other results are in a temporary folder",
    ),
]


def _report_once(place):
    with patch.object(tempfile, "tempdir", str(place.parent)):
        write_report(place, ("explanation.*",), lambda: Report({"explanation": explanation().save}))


FAULTS += [
    Fault("interruptions", f"a command gets {number.name}", ended(number), None, "no scratch files")
    for number in (signal.SIGTERM, signal.SIGHUP)
]
FAULTS += [
    Fault("interruptions", f"{type(error).__name__} during the work", stopped(error), None, "nothing is left")
    for error in (KeyboardInterrupt(), SystemExit(143), ValueError("bad"), MemoryError())
]
FAULTS += [
    Fault(
        "interruptions",
        f"the disk is full after {size} bytes of an explainer",
        full_for_an_explainer(size),
        "can't write to the folder .*File too large",
        "the earlier explainer is in place",
    )
    for size in (100, 1200)
]
