"""Faults of files: places that can't be written to, and odd places that can be."""

import os
import shutil
import socket
import stat
import subprocess
import tempfile
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
from shapae.cli.output import Report, write_report
from tests.explainer.explanations import assert_same, explanation
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


def is_whole(home):
    loads(home / "it", explanation())
    assert [path.name for path in home.iterdir()] == ["it"]


def of_another_user(mode, inner, check):
    """Somebody without rights writes to a folder of root."""

    def cause(folder):
        if os.geteuid():
            pytest.skip("only root can become somebody else")
        home = Path(tempfile.mkdtemp())  # others can't enter the folder of the tests
        save(home / "it")
        (home / "it").chmod(mode)
        home.chmod(0o755)
        os.seteuid(65534)
        try:
            save(home / inner)
        finally:
            os.seteuid(0)
            check(home)
            shutil.rmtree(home)

    return cause


def begins_early(write):
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


RIGHT = "refused before the work, and left as it was"
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
FAULTS += [
    Fault("files", f"the output is {name}", of_another_user(*how), says, RIGHT)
    for name, how, says in [
        ("in a folder of another user", (0o755, "new", is_whole), "can't write to the folder .*Permission"),
        (
            "a folder of another user",
            (0o755, "it", is_whole),
            "Permission denied",
        ),
        (
            "a folder that only its owner reads",
            (0o700, "it", is_whole),
            "no results can be .*Permission denied",
        ),
    ]
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


def _to_full_volume(folder, begun):
    with mounted(folder / "volume", "size=4k") as volume:
        (volume / "mine").write_bytes(bytes(4096))
        try:
            write_report(volume / "it", (), lambda: begun.append(1) or Report({}))
        finally:
            assert [path.name for path in volume.iterdir()] == ["mine"]


FAULTS += [Fault("files", "a command writes to a full volume", begins_early(_to_full_volume), "No space left", RIGHT)]
FAULTS += [
    Fault("files", f"a command writes to {name}", begins_early(_report_to(place)), says, RIGHT)
    for name, place, says in [
        ("a file", file, "is a file"),
        ("a folder in a file", lambda folder: file(folder) / "in", "can't write"),
        ("a thesis", lambda folder: foreign(folder, "thesis.tex"), r"thesis\.tex"),
        ("the kernel", lambda folder: Path("/proc/shapae/in"), "can't write"),
    ]
]
