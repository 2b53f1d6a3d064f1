"""Faults of files: places that can't be written to, work that is interrupted, full disks, pictures that fail."""

import errno
import os
import resource
import shutil
import signal
import socket
import stat
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
from matplotlib.figure import Figure

from shapae import Explanation
from shapae.analysis.comparison.benchmark import Benchmark
from shapae.cli import reports
from shapae.cli.influence import report_influence
from shapae.cli.output import Report, write_report
from shapae.errors import OutputWarning
from shapae.utils.directories import atomic_directory
from tests.explainer.explanations import assert_same, explanation
from tests.faults.saved import RESULTS
from tests.faults.table import Fault

EARLIER = explanation(3)


def save(place):
    return explanation().save(place)


def save_benchmark(place, force=False):
    table = pd.DataFrame({"time (s)": [1.0]}, index=pd.Index(["deep"], name="backend"))
    with reports.new_benchmark(place, force=force) as write:
        write(Benchmark(table, {"rows": np.int64(3)}, {}))


def loads(place, want):
    assert_same(Explanation.load(place), want)


def listed(folder):
    """All paths below a folder, with their kinds and the text of files."""
    paths = sorted(folder.rglob("*"))
    kinds = [(stat.S_IFMT(path.lstat().st_mode), path.lstat().st_rdev) for path in paths]
    return [
        (str(path), kind, path.read_bytes() if path.is_file() and kind[0] == stat.S_IFREG else None)
        for path, kind in zip(paths, kinds, strict=True)
    ]


@contextmanager
def mounted(place, options):
    """Mount an empty volume at a folder."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no volume can be mounted: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


# Places that are refused: functions of an empty folder that make one.


def device(folder, kind=stat.S_IFCHR, number=(1, 3)):
    try:
        os.mknod(folder / "it", kind | 0o600, os.makedev(*number))
    except PermissionError:
        pytest.skip("only root makes devices")
    return folder / "it"


def fifo(folder):
    os.mkfifo(folder / "it")
    return folder / "it"


def unix_socket(folder):
    before = Path.cwd()
    os.chdir(folder)  # paths of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("it")
    finally:
        os.chdir(before)
    return folder / "it"


def file(folder, inner="it"):
    (folder / inner).parent.mkdir(parents=True, exist_ok=True)
    (folder / inner).write_text("years of work")
    return folder / "it"


def link(folder, target):
    (folder / "link").symlink_to(target)
    return folder / "link"


def loop(folder):
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    return folder / "one"


def foreign(folder, inner):
    EARLIER.save(folder / "it")
    return file(folder, f"it/{inner}")


def foreign_link(folder):
    mine = file(folder, "mine")
    (folder / "it").mkdir()
    (folder / "it" / "explanation.json").symlink_to(mine)
    return folder / "it"


def foreign_folder(folder):
    (folder / "it" / "explanation.json").mkdir(parents=True)
    return folder / "it"


REFUSED = {
    "a file": (file, "is a file"),
    "a device": (device, "is a device"),
    "a device of blocks": (lambda folder: device(folder, stat.S_IFBLK, (7, 200)), "is a device"),
    "a fifo": (fifo, "is a pipe"),
    "a socket": (unix_socket, "is a socket"),
    "a link to a file": (lambda folder: link(folder, file(folder)), "is a file"),
    "a link to a device": (lambda folder: link(folder, "/dev/null"), "is a device"),
    "a link to a fifo": (lambda folder: link(folder, fifo(folder)), "is a pipe"),
    "a loop of links": (loop, "no results can be written to .*one"),
    "inside a loop of links": (lambda folder: loop(folder) / "in", "no results can be written to"),
    "inside a file": (lambda folder: file(folder) / "in", "can't write to the folder"),
    "inside a device": (lambda folder: Path("/dev/full/in"), "can't write to the folder /dev/full"),
    "in a file system of the kernel": (lambda folder: Path("/proc/shapae/in"), "can't write to the folder /proc"),
    "a dangling link to a place without folders": (
        lambda folder: link(folder, "/proc/shapae"),
        "can't write to the folder /proc",
    ),
    "a name of 300 letters": (lambda folder: folder / ("x" * 300), "File name too long"),
    "a name with a zero byte": (lambda folder: folder / "a\0b", "no results can be written to"),
    "a name with half of a surrogate pair": (lambda folder: folder / "a\ud800", "no results can be written to"),
    "a folder with a thesis": (lambda folder: foreign(folder, "thesis.tex"), r"holds thesis\.tex"),
    "a folder with a hidden file": (lambda folder: foreign(folder, ".mine"), r"holds \.mine"),
    "a folder with a link of our name": (foreign_link, r"holds explanation\.json"),
    "a folder with a folder of our name": (foreign_folder, r"holds explanation\.json"),
    "a folder with a folder": (lambda folder: foreign(folder, "mine/thesis.tex"), "holds mine"),
}


def refused(make, write=save):
    def cause(folder):
        place = make(folder)
        before = listed(folder)
        try:
            write(place)
        finally:
            assert listed(folder) == before
            for path in folder.rglob(".mine"):  # the user's own hidden file
                path.unlink()

    return cause


def refused_from_within(inside):
    def cause(folder):
        (folder / "it" / inside).mkdir(parents=True, exist_ok=True)
        before = Path.cwd()
        os.chdir(folder / "it" / inside)
        try:
            save(folder / "it")
        finally:
            os.chdir(before)
            assert (folder / "it" / inside).is_dir()

    return cause


def _replace_all(place):
    """Write a report as with --force."""
    write_report(place, reports.NAMES, lambda: reports.report_explanation(explanation()))


def with_force(inner):
    """Files of the user's among the results of an earlier run."""

    def make(folder):
        with patch.object(Figure, "savefig"):
            _replace_all(folder / "it")
        return file(folder, f"it/{inner}")

    return make


def on_volume(options, write, check):
    def cause(folder):
        with mounted(folder / "volume", options) as volume:
            try:
                write(volume)
            finally:
                check(volume)

    return cause


def replaced(make, check=lambda folder, place: None):
    """Results are written to the place that ``make`` gives, though it is odd."""

    def cause(folder):
        place = make(folder)
        assert save(place) == place
        loads(place, explanation())
        check(folder, place)

    return cause


def linked(folder):
    EARLIER.save(folder / "target")
    return link(folder, "target")


def lent(folder):
    """A folder that a group may read and write, of which new files get the group."""
    (folder / "it").mkdir()
    (folder / "it").chmod(0o2770)
    return folder / "it"


def is_link(folder, place):
    assert place.is_symlink()


def is_lent(folder, place):
    assert stat.S_IMODE(place.stat().st_mode) == 0o2770


def is_readable(folder, place):
    """Files and folders have the rights that any file of the user's has."""
    before = os.umask(0o022)
    os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o777 & ~before
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o666 & ~before}


def twice_on_a_volume(volume):
    (volume / "lost+found").mkdir()
    for whole in (EARLIER, explanation()):
        whole.save(volume)
        loads(volume, whole)
    assert len([*volume.iterdir()]) == 3


def holds_only(*names):
    return lambda folder: sorted(path.name for path in folder.iterdir()) == sorted(names) or pytest.fail(str(folder))


WRITTEN = {
    "a link to earlier results": replaced(linked, is_link),
    "a dangling link": replaced(lambda folder: link(folder, "later"), is_link),
    "a link to a link": replaced(lambda folder: (linked(folder), (folder / "two").symlink_to("link"))[0], is_link),
    "missing folders": replaced(lambda folder: folder / "a" / "b" / "it"),
    "a name of 240 letters": replaced(lambda folder: folder / ("x" * 240)),
    "a name of 80 letters of three bytes": replaced(lambda folder: folder / ("遺" * 80)),
    "a name with a line break and brackets": replaced(lambda folder: folder / "a\n[b]*"),
    "a name that is no UTF-8": replaced(lambda folder: folder / os.fsdecode(b"\xff")),
    "a folder lent to a group": replaced(lent, is_lent),
    "new": replaced(lambda folder: folder / "it", is_readable),
}


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
    "the earlier results are changed": (_change, lambda folder: _kept(folder, None), r"it\.finished"),
    "another run replaces the earlier results": (
        _another_run,
        lambda folder: _kept(folder, EARLIER[:3]),
        r"it\.finished",
    ),
    "a file takes the place": (
        lambda place: (shutil.rmtree(place), place.write_text("mine")),
        lambda folder: (_kept(folder, None), (folder / "it").read_text() == "mine" or pytest.fail("lost")),
        r"it\.finished",
    ),
    "a link takes the place": (
        lambda place: (place.rename(place.with_name("moved")), place.symlink_to("moved")),
        lambda folder: loads(folder / "moved", EARLIER),
        r"it\.finished",
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


@contextmanager
def full_disk(size=1000):
    """No file may be longer than a number of bytes, as on a disk that is almost full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


def begins_early(write, place):
    """A place that can't be written to is refused before the work."""

    def cause(folder):
        begun = []
        try:
            write(folder, begun)
        finally:
            assert begun == []

    return cause


def _report_to(place):
    return lambda folder, begun: write_report(place(folder), (), lambda: begun.append(1) or Report({}))


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
        process = subprocess.Popen([sys.executable, "-c", make, *options], cwd=folder, env=environment)
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


def drawn(make, count, error=None):
    """All pictures fail, and all else is written."""

    def cause(folder):
        error_ = error or ValueError("Image size of 4000000x1050 pixels is too large")
        with patch.object(Figure, "savefig", side_effect=error_), pytest.warns(OutputWarning) as caught:
            report, names = write_report(folder / "it", (), make)
        assert len(report.pictures) == count
        messages = [str(each.message) for each in caught]
        for name in report.pictures:
            assert any(message.startswith(f"{name} can't be drawn: {type(error_).__name__}") for message in messages)
        assert sorted(path.name for path in (folder / "it").iterdir()) == names == sorted(report.files)

    return cause


def one_fails(folder):
    """One picture fails, and the next one is drawn."""
    report = reports.report_explanation(explanation(feature_names=list("abcdef")))

    def fail():
        raise MemoryError

    pictures = {"summary.png": fail, "bar.png": report.pictures["bar.png"]}
    with pytest.warns(OutputWarning, match=r"summary\.png can't be drawn: MemoryError"):
        _, names = write_report(folder / "it", (), lambda: Report(report.files, pictures))
    assert names == ["bar.png", "explanation", "importance.csv"]
    assert (folder / "it" / "bar.png").read_bytes()[1:4] == b"PNG"


def long_names(folder):
    """Names of 100 000 letters do not fit onto a picture, or are drawn."""
    names = [letter * 100_000 for letter in "abcdef"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, found = write_report(
            folder / "it", (), lambda: reports.report_explanation(explanation(3, feature_names=names))
        )
    assert {"explanation", "importance.csv"} <= {*found}
    assert ("latents.png" in found) or any("latents.png can't be drawn" in str(each.message) for each in caught)


def picture_appears(folder):
    """A picture of the user's appears while ours is drawn."""
    report = reports.report_explanation(explanation())

    def draw():
        (folder / "it" / "bar.png").write_text("mine")
        return report.pictures["bar.png"]()

    with pytest.warns(OutputWarning, match=r"bar\.png can't be drawn: .*already exists"):
        write_report(folder / "it", (), lambda: Report(report.files, {"bar.png": draw}))
    assert (folder / "it" / "bar.png").read_text() == "mine"


RIGHT = "refused before the work, and left as it was"
SAFE = "the earlier results are in place, and the new ones beside them, with their place in the message"
FAULTS = [Fault("files", f"the output is {name}", refused(make), says, RIGHT) for name, (make, says) in REFUSED.items()]
FAULTS += [
    Fault("files", f"the output file is {name}", refused(make, save_benchmark), says, RIGHT)
    for name, make, says in [
        ("a text", lambda folder: file(folder).rename(folder / "it.csv"), "already exists"),
        ("a device", lambda folder: device(folder).rename(folder / "it.json"), "already exists"),
        ("a fifo", lambda folder: fifo(folder).rename(folder / "it.json"), "already exists"),
        ("a folder", lambda folder: foreign_folder(folder).rename(folder / "it.json"), "is a folder"),
        ("a loop of links", lambda folder: loop(folder) / "it.json", "no results can be|already"),
        ("of an unknown kind", lambda folder: folder / "it.txt", "a .json or .csv file"),
        ("inside a file", lambda folder: file(folder) / "it.json", "can't write to the folder"),
    ]
]
FAULTS += [
    Fault("files", "the output is the working directory", refused_from_within(""), "is the working directory", RIGHT),
    Fault("files", "the output holds the working directory", refused_from_within("a/b"), "holds the working", RIGHT),
]
FAULTS += [
    Fault(
        "files",
        f"--force, and {inner} is the user's",
        refused(with_force(inner), _replace_all),
        f"holds .*{says}",
        RIGHT,
    )
    for inner, says in {
        "thesis.tex": r"thesis\.tex",
        "explanation/thesis.tex": r"explanation/thesis\.tex",
        "rows/me.png": r"rows/me\.png",
        "drives/holiday.png": r"drives/holiday\.png",
        "mine/bar.png": "mine",
    }.items()
]
FAULTS += [Fault("files", f"the output is {name}", cause, None, "written") for name, cause in WRITTEN.items()]
FAULTS += [
    Fault(
        "files", "the output is a volume", on_volume("size=1m", twice_on_a_volume, Path.stat), None, "written into it"
    ),
    Fault(
        "files",
        "the output is a read-only volume",
        on_volume("size=1m,ro", save, holds_only()),
        "can't write to the folder .*Read-only",
        RIGHT,
    ),
    Fault(
        "files",
        "the output is in a read-only volume",
        on_volume("size=1m,ro", lambda volume: save(volume / "it"), holds_only()),
        "can't write to the folder .*Read-only",
        RIGHT,
    ),
    Fault(
        "files",
        "the output is in a full volume",
        on_volume("nr_inodes=2", lambda volume: save(volume / "it"), holds_only()),
        "can't write to the folder .*No space left",
        RIGHT,
    ),
    Fault(
        "files",
        "the volume is full when the results are written",
        on_volume("size=4k", lambda volume: save(volume / "it"), holds_only()),
        "can't write to the folder .*No space left.*Nothing there has changed",
        "the earlier results are in place",
    ),
]
FAULTS += [
    Fault("files", f"during the work, {name}", meanwhile(act, check), says, "nothing of either is lost")
    for name, (act, check, says) in MEANWHILE.items()
]
INTERRUPTED = [
    (place, kind, after) for kind in (KeyboardInterrupt, SystemExit) for place in (2, 3, 4) for after in (False, True)
] + [(1, KeyboardInterrupt, False)]
FAULTS += [
    Fault(
        "files",
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
    Fault("files", "Ctrl-C, and again", interrupted(4, KeyboardInterrupt, times=2), None, SAFE),
    *(
        Fault(
            "files",
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
        "files",
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
        "files",
        "the disk is full when arrays are written",
        full(save),
        "can't write to the folder .*File too large",
        SAFE,
    ),
    Fault(
        "files",
        "the disk is full when the record is written",
        full(_save_long_names, 3000),
        "can't write to the folder .*File too large",
        SAFE,
    ),
    Fault(
        "files",
        "the disk is full for a command",
        full(lambda place: _report_once(place)),
        "can't be written .* either",
        "the earlier results are in place",
    ),
    Fault(
        "files",
        "the disk of a command is full",
        rescued,
        r"No space left.*The results are in",
        "the results are in a temporary folder",
    ),
    Fault(
        "files",
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
    Fault("files", f"a command writes to {name}", begins_early(_report_to(place), None), says, RIGHT)
    for name, place, says in [
        ("a file", file, "is a file"),
        ("a folder in a file", lambda folder: file(folder) / "in", "can't write"),
        ("a thesis", lambda folder: foreign(folder, "thesis.tex"), r"thesis\.tex"),
        ("the kernel", lambda folder: Path("/proc/shapae/in"), "can't write"),
    ]
]
FAULTS += [
    Fault("files", f"a command gets {number.name}", ended(number), None, "no scratch files")
    for number in (signal.SIGTERM,)
]
FAULTS += [
    Fault("pictures", f"all pictures of {name} fail", drawn(make, count), None, "all tables are there")
    for name, make, count in [
        ("an explanation", lambda: reports.report_explanation(explanation()), 2),
        ("several outputs", lambda: reports.report_explanation(explanation(3)), 1),
        (
            "groups",
            lambda: reports.report_grouped_importance(
                RESULTS["grouped_importance"]().__class__.of(explanation(), list("aabbbcca"))
            ),
            1,
        ),
        ("interactions", lambda: reports.report_interactions(RESULTS["interactions"]()), 2),
        ("influences", lambda: report_influence(RESULTS["influence"](), 2), 3),
    ]
]
FAULTS += [
    Fault(
        "pictures",
        f"pictures fail by {error!r}",
        drawn(lambda: reports.report_explanation(explanation()), 2, error),
        None,
        "tables are there",
    )
    for error in (MemoryError(), RecursionError("too deep"), KeyError("font"), OSError(28, "No space left on device"))
]
FAULTS += [
    Fault("pictures", "one of two pictures fails", one_fails, None, "the other one is drawn"),
    Fault("pictures", "names have 100 000 letters", long_names, None, "all tables are there"),
    Fault("pictures", "a file appears in the place of a picture", picture_appears, None, "it stays"),
]
