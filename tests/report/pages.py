"""Explanations for reports, and the parts of a report as a program reads them."""

import base64
import io
import json
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd

import shapae
from tests import cases

# Names that a page, a spreadsheet or a screen might take for more than names.
HOSTILE = [
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "\u202egnp.exe\x00\x1b[2J",
    "x" * 5_000_000,
    "\ud800 half a pair {{ 7*7 }} $x$",
]


def explainer(head="reconstruction_error", columns=None, **settings):
    """Explainer of six features against 12 rows."""
    columns = [f"gene {j}" for j in range(cases.D)] if columns is None else columns
    background = pd.DataFrame(cases.table(12, seed=2), columns=columns)
    return shapae.Explainer(cases.build(cases.Question), background, head=head, **settings)


def rows(n=9, columns=None):
    """(n, 6), with names of rows."""
    columns = [f"gene {j}" for j in range(cases.D)] if columns is None else columns
    return pd.DataFrame(cases.table(n, seed=1), [f"row {i}" for i in range(n)], columns)


def wide(n=120, d=765, seed=0, scale=1.0, row="r{}", feature="a name of some length {}"):
    """An explanation whose values add up, of any size."""
    rng = np.random.default_rng(seed)
    values, base = (scale * rng.normal(size=(n, d))).astype(np.float32), np.full(n, 3.0)
    return shapae.Explanation(
        values,
        base,
        rng.normal(size=(n, d)),
        feature_names=[feature.format(j) for j in range(d)],
        output_names="score",
        scores=base + values.sum(axis=1),
        row_names=[row.format(i) for i in range(n)],
    )


class Page(HTMLParser):
    """A report: its elements with their attributes, and the text in each kind of element."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.policy, self._open = [], {}, "", []
        self.feed(text)

    @classmethod
    def of(cls, path):
        return cls(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        self._open.append((tag, attributes.get("id", "")))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    @property
    def text(self):
        """All text that is read, in one line."""
        shown = (part for (tag, _), parts in self.texts.items() if tag not in ("script", "style") for part in parts)
        return " ".join(" ".join(shown).split())

    def data(self, number=1):
        """The rows that can be picked in a section."""
        return json.loads("".join(self.texts["script", f"head-{number}-data"]))

    def tables(self):
        """The tables to download, by their names and in their order."""
        links = [each for tag, each in self.elements if tag == "a" and "download" in each]
        return [(each["download"], read_link(each["href"])) for each in links]


def read_link(link):
    kind, _, content = link.partition(",")
    assert kind == "data:text/csv;charset=utf-8;base64"
    return pd.read_csv(io.BytesIO(base64.b64decode(unquote(content))), index_col=0)


def picked(explanation, data):
    """Compare the rows that can be picked with an explanation of one output, number by number."""
    order = np.argsort(-explanation.scores, kind="stable")[: len(data["rows"])]
    for position, row in zip(order, data["rows"], strict=True):
        one = explanation[int(position)]
        assert row["name"] == str(one.row_names)
        np.testing.assert_allclose([row["score"], row["base"]], [one.scores, one.base_values], rtol=1e-5)
        largest = np.argsort(-np.abs(one.values), kind="stable")[: len(row["items"])]
        named = [data["features"][at] for at, *_ in row["items"]]
        assert named == [explanation.feature_names[feature] for feature in largest]
        np.testing.assert_allclose([value for _, value, *_ in row["items"]], one.values[largest], rtol=1e-5)
        np.testing.assert_allclose([number for _, _, number, _ in row["items"]], one.data[largest], rtol=1e-5)
        whole = row["base"] + sum(value for _, value, *_ in row["items"]) + row["rest"][1]
        np.testing.assert_allclose(whole, row["score"], rtol=1e-4)
