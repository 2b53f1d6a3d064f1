"""The code of the README and of every page of docs/ runs as it stands, in its order; the files they name are there."""

import re
from pathlib import Path

import numpy as np
import pytest

from shapae import backends

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
# Pages that are written by the build of the site are in none of the folders that git knows.
WRITTEN = ("_build", "benchmarks/results", "reference/generated")
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if not str(page.relative_to(DOCS)).startswith(WRITTEN)]
# A picture or a link to a file, without its anchor; and a path in backticks, relative to the root of the repository.
ANCHOR = re.compile(r"\]\(((?!https?://)[^)#\s]*\.md)?#([^)\s]+)\)")
LINK = re.compile(r"\]\(((?!https?://|#)[^)#\s]+)[^)]*\)")
PATH = re.compile(r"`((?:benchmarks|docs|notebooks|shapae|tests)/[\w./]*)`")


def name(page):
    return str(page.relative_to(ROOT))


def text(page):
    return page.read_text(encoding="utf-8")


def blocks(page):
    return re.findall(r"^```(?:python|\{code-cell\} python)\n(.*?)^```", text(page), flags=re.DOTALL | re.MULTILINE)


def prose(page):
    return re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE)


def run(page):
    """Run the Python blocks of ``page``, and return the names that they leave behind."""
    names = {"__name__": "__main__"}
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), names)
    return names


def slugs(page):
    """Anchors of the headings of ``page``, as GitHub and the site write them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def named(page):
    """Paths of the files that ``page`` links to or names."""
    links, paths = LINK.findall(prose(page)), PATH.findall(prose(page))
    return [page.parent / link for link in links] + [ROOT / path for path in paths]


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run(README)
    assert {path.name for path in tmp_path.iterdir()} == {
        "summary.png",
        "latents.png",
        "waterfall.png",
        "explained",
        "report.html",
    }
    assert names["explanation"].values.shape == (700, 765)
    assert np.abs(names["explanation"].residual).max() < 1e-6
    assert names["one"].output_names == "latent 3"


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")  # shap's check of the sums
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")  # captum says so in every call
@pytest.mark.filterwarnings("ignore:(X|references) must be one-hot encoded")  # tangermeme, of a table
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backends, "_REGISTERED", {})
    run(page)


def test_the_first_screen_has_a_picture_an_install_line_and_at_most_seven_lines_of_code():
    first = "\n".join(text(README).splitlines()[:30])
    assert re.search(r"!\[.+\]\((.+\.png)\)", first)
    assert "pip install" in first
    assert len(blocks(README)[0].strip().splitlines()) <= 7
    assert blocks(README)[0] in first


def test_the_readme_is_one_reading():
    assert len(text(README).splitlines()) <= 170


@pytest.mark.parametrize("page", [README, *PAGES], ids=name)
def test_files_that_a_page_names_are_there(page):
    missing = [str(path) for path in named(page) if not path.exists()]
    assert not missing, f"{page.name} names files that do not exist: {missing}"


@pytest.mark.parametrize("page", [README, *PAGES], ids=name)
def test_anchors_that_a_page_links_to_are_there(page):
    anchors = [((page.parent / path).resolve() if path else page, slug) for path, slug in ANCHOR.findall(prose(page))]
    missing = [f"{path.name}#{slug}" for path, slug in anchors if slug not in slugs(path)]
    assert not missing, f"{page.name} links to anchors that do not exist: {missing}"
