"""The site has every public name, every error and every page; ``make docs`` checks its links and makes it."""

import re
from pathlib import Path

import pytest

import shapae
from benchmarks import _pages
from shapae import errors
from tests.project.test_docs import DOCS, PAGES, blocks, name, text

REFERENCE = sorted((DOCS / "reference").glob("*.md"))
HOW_TO = sorted({*(DOCS / "howto").glob("*.md")} - {DOCS / "howto" / "index.md"})
COMING_FROM = sorted({*(DOCS / "coming_from").glob("*.md")} - {DOCS / "coming_from" / "index.md"})
TREE = re.compile(r"^```\{toctree\}\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def sections(pages):
    """From each heading of the second level to the text below it."""
    found = {}
    for page in pages:
        title, *parts = re.split(r"^## (.+)\n", text(page), flags=re.MULTILINE)
        found |= dict(zip(parts[::2], parts[1::2], strict=True))
    return found


def in_order(page):
    """Pages below ``page``, by the lists of pages in it."""
    entries = [line for tree in TREE.findall(text(page)) for line in tree.splitlines() if line and line[0] != ":"]
    below = [page.parent / f"{entry}.md" for entry in entries if "*" not in entry]
    return [page, *(each for path in below if path.exists() for each in in_order(path))]


@pytest.mark.parametrize("public", [each for each in shapae.__all__ if each != "errors"])
def test_every_public_name_has_a_section_with_an_example_that_uses_it(public):
    section = sections(REFERENCE)[public]
    example = re.search(r"^```python\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)[1]
    assert f"shapae.{public}" in example
    assert re.search(rf"^(\.\. auto\w+::|  ) shapae\.{public}$", section, flags=re.MULTILINE)


@pytest.mark.parametrize("kind", errors.__all__)
def test_every_error_and_warning_has_an_anchor_with_its_cure(kind):
    section = sections([DOCS / "reference" / "errors.md"])[kind]
    assert f".. autoexception:: shapae.errors.{kind}\n" in section
    assert len(section.partition("**What to do.** ")[2].split()) > 8


def test_the_page_of_errors_has_no_others():
    assert {*sections([DOCS / "reference" / "errors.md"])} == {*errors.__all__}


def test_there_are_twenty_how_to_pages():
    assert len(HOW_TO) >= 20


@pytest.mark.parametrize("page", HOW_TO, ids=name)
def test_a_how_to_page_is_short_and_has_one_block(page):
    assert len(text(page).splitlines()) <= 40
    assert len(blocks(page)) == 1


@pytest.mark.parametrize("page", COMING_FROM, ids=name)
def test_every_call_in_the_table_of_a_page_is_run_by_its_block(page):
    lines = [line.strip("| ").split(" | ") for line in text(page).splitlines() if line.startswith("| ")]
    calls = [call for _, ours in lines[1:] for call in re.findall(r"`([^`]+)`", ours)]
    assert len(calls) >= 4
    assert [call for call in calls if call not in blocks(page)[0]] == []


def test_every_page_is_in_the_tree_of_pages_once():
    found = in_order(DOCS / "index.md")
    assert len(found) == len({*found})
    assert {*found} == {*PAGES}


@pytest.mark.parametrize("path", sorted(_pages.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_results_of_a_benchmark_become_a_page(path):
    page = _pages.page(path)
    described, command = page.splitlines()[2], re.search(r"`python -m benchmarks\.(\w+)`", page)[1]
    assert described
    assert (Path(_pages.RESULTS).parent / f"{command}.py").exists()
    assert not re.search(r"[{}]", page)  # every dict has become cells
    widths = [[line.count(" | ") for line in table.splitlines()] for table in re.findall(r"(?:^\|.*\n)+", page, re.M)]
    assert all(len({*width[2:], width[0]}) == 1 for width in widths)


def test_records_are_the_innermost_dicts_with_the_names_on_the_way_to_them():
    found = {"deep": {"ReLU": {"s": [1.25, 2.0]}, "tanh": {"s": 3}}, "exact": {"ReLU": {"n": 2, "s": {"best": 0.5}}}}
    rows = [[*row.values()] for row in _pages.records(found)]
    assert rows == [["deep", "ReLU", [1.25, 2.0]], ["deep", "tanh", 3], ["exact", "ReLU", 2, 0.5]]
    table = _pages.table([{"a|b": "x|y", "c": 1234.5}, {"c": None, "a|b": [1.0, 2]}, {"a|b": [3.0, 1.0, 2.0]}])
    assert table.splitlines()[2:] == [
        "| x\\|y | 1.23e+03 |",
        "| 1, 2 |  |",
        "| 2&nbsp;(1&nbsp;to&nbsp;3) |  |",
    ]


def test_one_record_alone_is_written_from_top_to_bottom():
    assert _pages.table([{"a": 1, "b": 2, "c": 3}]).splitlines()[2:] == ["| a | 1 |", "| b | 2 |", "| c | 3 |"]
