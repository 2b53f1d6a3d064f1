"""Faults of saved results: damaged, swapped, half, forged, of another version; and records and names of any kind."""

import enum
import json
import os
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file, save_file

from shapae import Explainer, Explanation, Importance, Influence, Interactions
from shapae.errors import OutputError
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.utils.records import BLANK, read_record, write_record
from tests.cases import build, table
from tests.explainer import factories
from tests.explainer.explanations import explanation
from tests.faults.table import Fault

PAIRS = np.random.default_rng(0).normal(size=(4, 3, 3))
RESULTS = {
    "explanation": explanation,
    "explanation of outputs": lambda: explanation(3),
    "importance": lambda: Importance.of(explanation(3)),
    "grouped_importance": lambda: GroupedImportance.of(explanation(3), list("aabbbcca")),
    "interactions": lambda: Interactions(PAIRS, abs(PAIRS), PAIRS[:, 0], PAIRS[:, 0, 0], PAIRS[:, 0, 1], list("abc")),
    "influence": lambda: Influence(
        PAIRS[0], abs(PAIRS[0, 0]), PAIRS[0, 1], PAIRS[0, 2], np.array([1, -1, 0]), row_names=list("abc")
    ),
    "explainer": lambda: Explainer(build(factories.Plain), table(5, seed=2)),
}


def saved(kind, folder):
    """Save a result of a kind, and return its folder."""
    return RESULTS[kind]().save(folder / "out")


def load(kind, folder):
    return type(RESULTS[kind]()).load(folder)


def _files(folder):
    """The record and the files of arrays of a folder, by their suffixes."""
    return {path.suffix: path for path in sorted(folder.iterdir(), key=lambda path: path.name == "model.safetensors")}


def _damaged(kind, suffix, damage):
    def cause(folder):
        folder = saved(kind, folder)
        path = _files(folder)[suffix]
        path.write_bytes(damage(path.read_bytes()))
        load(kind, folder)

    return cause


def _flip(place):
    def damage(data):
        data = bytearray(data)
        data[int(place * (len(data) - 1))] ^= 1
        return bytes(data)

    return damage


DAMAGES = {f"a bit is flipped at {place:.0%}": _flip(place) for place in (0, 0.3, 0.6, 1)}
DAMAGES |= {
    "its last byte is missing": lambda data: data[:-1],
    "its second half is missing": lambda data: data[: len(data) // 2],
    "it is empty": lambda data: b"",
    "it is zeros": lambda data: bytes(len(data)),
    "it has a byte more": lambda data: data + b" ",
}


def _many_bits(kind):
    """Flip every 59th bit of both files, one after the other; no load may succeed."""

    def cause(folder):
        folder = saved(kind, folder)
        paths = [*folder.iterdir()]
        for path in paths:
            data = path.read_bytes()
            for at in range(0, 8 * len(data), 59):  # no multiple of 2: all bits of bytes take their turns
                damaged = bytearray(data)
                damaged[at // 8] ^= 1 << at % 8
                path.write_bytes(damaged)
                try:
                    load(kind, folder)
                except OutputError:
                    continue
                raise AssertionError(f"{path.name} was loaded with bit {at} flipped")
            path.write_bytes(data)
        load(kind, folder)

    return cause


def edited(change, kind="explanation", arrays=None, first=False):
    """A folder whose record and arrays are changed, with checksums that fit; or a folder of the first format."""

    def cause(folder):
        folder = saved(kind, folder)
        text, numbers = _files(folder)[".json"], _files(folder)[".safetensors"]
        record = read_record(text, format=2, files=[numbers.name])
        parts = load_file(numbers)
        change(record)
        (arrays or (lambda parts: None))(parts)
        save_file({name: np.ascontiguousarray(each) for name, each in parts.items()}, numbers)
        number = record.pop("format")
        if first:
            record.pop("complete", None)
            text.write_text(json.dumps(record))
        else:
            write_record(text, record, format=number, files=[numbers.name])
        return load(kind, folder)

    return cause


def _same(record):
    pass


def _replace(**entries):
    return lambda parts: parts.update(entries)


def _without(name):
    return lambda parts: parts.pop(name)


def _shorter(name):
    return lambda parts: parts.update({name: parts[name][:-1]})


def _set(name, number):
    def change(parts):
        parts[name] = parts[name].copy()
        parts[name].flat[-1] = number

    return change


def _text(change, kind="explanation"):
    """A record whose text is changed, without a checksum that fits."""

    def cause(folder):
        folder = saved(kind, folder)
        path = _files(folder)[".json"]
        path.write_text(change(path.read_text()))
        load(kind, folder)

    return cause


def _swapped(suffix):
    def cause(folder):
        one, other = saved("explanation", folder / "1"), explanation(n=5).save(folder / "2")
        shutil.copy(_files(other)[suffix], _files(one)[suffix])
        load("explanation", one)

    return cause


def _instead(suffix, make):
    def cause(folder):
        folder = saved("explanation", folder)
        path = _files(folder)[suffix]
        path.unlink()
        make(path)
        try:
            load("explanation", folder)
        finally:
            shutil.rmtree(folder)

    return cause


def _other_folder(name):
    """Load a kind of result from a folder of another."""

    def cause(folder):
        load(name, saved("explanation" if name != "explanation" else "importance", folder))

    return cause


REFUSED = "refused, with the reason"
FAULTS = [
    Fault("saved", f"{kind}, {suffix[1:]}: {name}", _damaged(kind, suffix, damage), r"damaged|no file|is not", REFUSED)
    for kind in RESULTS
    for suffix in (".json", ".safetensors")
    for name, damage in DAMAGES.items()
    if kind != "explainer" or name in ("a bit is flipped at 100%", "its last byte is missing")
]
FAULTS += [
    Fault(
        "saved", f"{kind}: many bits of both files are flipped, one by one", _many_bits(kind), None, "each is refused"
    )
    for kind in ("explanation", "influence")
]
FAULTS += [
    Fault("saved", f"a folder of another result is loaded as {kind}", _other_folder(kind), "there is no", REFUSED)
    for kind in RESULTS
    if kind not in ("explanation of outputs",)
]
FAULTS += [
    Fault("saved", f"{suffix[1:]} is that of another result", _swapped(suffix), "of another result", REFUSED)
    for suffix in (".json", ".safetensors")
]
INSTEAD = {"a fifo": os.mkfifo, "a folder": Path.mkdir, "missing": lambda path: None}
INSTEAD |= {
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
}
FAULTS += [
    Fault("saved", f"{suffix[1:]} is {name}", _instead(suffix, make), "there is no|is no file", "refused at once")
    for suffix in (".json", ".safetensors")
    for name, make in INSTEAD.items()
]
TEXTS = {
    "a list": (lambda text: "[]", "holds a list"),
    "a number": (lambda text: "3", "holds a int"),
    "nested 100 000 times": (lambda text: "[" * 100_000 + "]" * 100_000, "RecursionError"),
    "a name twice": (
        lambda text: text.replace('{\n "format"', '{\n "format": 2,\n "format"'),
        "'format' is there twice",
    ),
    "NaN": (lambda text: text.replace('"seed": 0', '"seed": NaN'), "NaN, which JSON does not have"),
    "another seed": (lambda text: text.replace('"seed": 0', '"seed": 1'), "by its checksum"),
    "a space more": (lambda text: text + " ", "by its checksum"),
    "no checksum": (lambda text: text.replace('"checksum"', '"check"'), "by its checksum"),
    "a blank checksum": (lambda text: text[:-67] + BLANK + text[-3:], "by its checksum"),
    "UTF-16": (lambda text: "\ufeff" + text, "not JSON"),
    "a later format": (
        lambda text: text.replace('"format": 2', '"format": 7').replace('"written_by": "', '"written_by": "9.'),
        r"was written by shapae 9\.\S+ in format 7.*Update",
    ),
    "a format in words": (lambda text: text.replace('"format": 2', '"format": "two"'), "by its checksum"),
}
FAULTS += [
    Fault("saved", f"the record is, or has, {name}", _text(change), says, REFUSED)
    for name, (change, says) in TEXTS.items()
]
FORGED = {
    "a name is missing": (_replace(feature_names=list("abcde")), None, r"values has the shape \(8, 6\)"),
    "a name is there twice": (_replace(feature_names=list("abcdea")), None, "feature_names repeats name a"),
    "the names are a number": (_replace(feature_names=6), None, "not a list of names|expected"),
    "the names are lists": (_replace(feature_names=[["a"]] * 6), None, "not a list of names"),
    "no names": (_without("feature_names"), None, "lacks part feature_names"),
    "made_by is text": (_replace(made_by="me"), None, "made_by is not a dict"),
    "an unknown entry": (_replace(theirs=1), None, "theirs that no such result has"),
    "a row name is missing": (_replace(row_names=list("abc")), None, "where .* is expected"),
    "no values": (_same, _without("values"), "lacks part values"),
    "an unknown array": (_same, _replace(theirs=np.zeros(3)), "theirs that no such result has"),
    "fewer scores": (_same, _shorter("scores"), "scores has the shape"),
    "fewer rows of data": (_same, _shorter("data"), "data has the shape"),
    "a value is NaN": (_same, _set("values", np.nan), "values has numbers that are NaN"),
    "a score is infinite": (_same, _set("scores", np.inf), "scores has numbers that are NaN or infinite"),
    "a standard error is negative": (_same, _set("standard_errors", -1), "standard_errors has negative"),
    "values are truth values": (_same, _replace(values=np.ones((8, 6), bool)), "values has the type bool"),
}
FAULTS += [
    Fault("saved", f"{of}: {name}", edited(change, arrays=arrays, first=first), says, REFUSED)
    for of, first in (("an explanation of the first format", True), ("an explanation with new checksums", False))
    for name, (change, arrays, says) in FORGED.items()
]
SUMS = "score - base value - sum of values is not the residual"
OTHERS = {
    "values do not add up": ("explanation", _same, _set("values", 99.0), SUMS),
    "rows are a text": ("importance", _replace(rows="8"), None, "rows is '8'"),
    "means are larger than sizes": ("importance", _same, _set("values", 1e9), "larger than their sizes"),
    "a label is missing": ("grouped_importance", _replace(labels=["a", "b"]), None, "do not fit to 2 labels"),
    "a label is there twice": ("grouped_importance", _replace(labels=["a", "b", "a"]), None, "do not fit to 3 labels"),
    "groups have other rows": ("grouped_importance", _replace(rows=[3, 3, 3, 8]), None, "9 rows together, and not 8"),
    "pairs of other features": ("interactions", _replace(feature_names=["a", "b"]), None, "values has the shape"),
    "a place beyond the rows": ("influence", _same, _set("places", 3), "places are not those of 3 training rows"),
    "places are fractions": ("influence", _same, _replace(places=np.zeros(3)), "places has the type float64"),
}
FAULTS += [
    Fault("saved", f"{kind}: {name}", edited(change, kind, arrays), says, REFUSED)
    for name, (kind, change, arrays, says) in OTHERS.items()
]
FAULTS += [
    Fault("saved", f"a folder of {kind} of the first format", edited(_same, kind, first=True), None, "it is loaded")
    for kind in RESULTS
    if kind != "explainer"
]


def _circle(folder):
    whole = explanation()
    whole.made_by["itself"] = whole.made_by
    whole.save(folder / "out")


class Colour(enum.Enum):
    RED = "red"


RECORDS = {
    "an integer of numpy": (np.int64(3), 3),
    "a number of numpy": (np.float32(0.5), 0.5),
    "a truth value of numpy": (np.bool_(True), True),
    "text of numpy": (np.str_("a"), "a"),
    "an array": (np.arange(3), [0, 1, 2]),
    "a tensor": (torch.arange(2), [0, 1]),
    "a path": (Path("a/b"), "a/b"),
    "a tuple": ((1, (2, "x")), [1, [2, "x"]]),
    "a set": ({7}, [7]),
    "a dtype of torch": (torch.float32, "torch.float32"),
    "a dtype of numpy": (np.dtype("float64"), "float64"),
    "a device": (torch.device("cpu"), "cpu"),
    "NaN": (float("nan"), "nan"),
    "infinity": (-np.inf, "-inf"),
    "a date": (date(2024, 1, 2), "2024-01-02"),
    "a member of an enumeration": (Colour.RED, "red"),
    "a key that is a number": ({3: 4}, {"3": 4}),
    "an object": (object(), "builtins.object"),
    "a function": (len, "builtins.builtin_function_or_method"),
    "half of a surrogate pair": ("\ud800", "\ud800"),
    "bytes": (b"x", "builtins.bytes"),
}


def _record(given, want):
    def cause(folder):
        whole = explanation()
        whole.made_by["setting"] = given
        assert Explanation.load(whole.save(folder / "out")).made_by["setting"] == want

    return cause


NAMES = {
    "half of a surrogate pair": "\ud800",
    "a byte that is no UTF-8": os.fsdecode(b"\xff"),
    "a zero byte": "a\0b",
    "100 000 letters": "x" * 100_000,
    "a line break": "a\nb",
    "a quotation mark and a backslash": 'a"\\u0041',
    "no letter": "",
    "the name of a number": "NaN",
    "its own checksum": BLANK,
}


def _named(name):
    def cause(folder):
        names = [name, "b", "c", "d", "e", "f"]
        whole = explanation(feature_names=names, row_names=[name] * 8)
        loaded = Explanation.load(whole.save(folder / "out"))
        assert loaded.feature_names == names
        assert [*loaded.row_names] == [name] * 8
        np.testing.assert_array_equal(loaded.values, whole.values)

    return cause


INDICES = {
    "times": pd.date_range("2024-01-01", periods=8),
    "integers of numpy": np.arange(8, dtype=np.uint16),
    "numbers and NaN": [1.5, np.nan, 2, 3, 4, 5, 6, 7],
    "tuples": pd.MultiIndex.from_product([[1, 2], list("abcd")]),
    "nothing": [None] * 8,
}


def _indexed(index):
    def cause(folder):
        whole = explanation(row_names=index)
        assert len(Explanation.load(whole.save(folder / "out")).row_names) == 8

    return cause


def _explainer_setting(folder):
    explainer = Explainer(
        build(factories.Plain), table(5), seed=np.int64(3), n_jobs=np.int32(1), groups={"\ud800": ["feature 0"]}
    )
    assert Explainer.load(explainer.save(folder / "out")).seed == 3


FAULTS += [
    Fault("records", f"a setting is {name}", _record(*pair), None, "it is saved") for name, pair in RECORDS.items()
]
FAULTS += [Fault("records", f"a name is {name}", _named(each), None, "it comes back") for name, each in NAMES.items()]
FAULTS += [
    Fault("records", f"names of rows are {name}", _indexed(each), None, "saved") for name, each in INDICES.items()
]
FAULTS += [Fault("records", "a setting holds itself", _circle, "made_by can't be saved: it holds itself", REFUSED)]
FAULTS += [Fault("records", "settings of an explainer are of numpy", _explainer_setting, None, "they come back")]
