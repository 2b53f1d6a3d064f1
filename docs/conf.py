"""How Sphinx makes the site: ``make docs``. Nothing is fetched, neither by the build nor by the pages."""

import re
import sys
from inspect import ismodule
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext import napoleon

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import shapae  # noqa: E402
from benchmarks import _pages  # noqa: E402

# Public modules whose home has another name can be found under their public name, too.
sys.modules |= {f"shapae.{name}": getattr(shapae, name) for name in shapae.__all__ if ismodule(getattr(shapae, name))}

# napoleon can show private members, which is not wanted here, and fails on objects of shap whose __qualname__ is None.
napoleon._skip_member = lambda *args: None

project = "shapae"
author = "The shapae developers"
copyright = "the shapae developers"  # noqa: A001
version = release = shapae.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

# Links: every one must hold. Types of other packages and base classes that are not public have no page here.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!shapae(\.|$)).*"), ("py:.*", r"shapae(\.\w+){3,}")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# Pages with code cells run once and are kept; the notebooks show the outputs that `make test` compares with a new run.
nb_execution_mode = "cache"
nb_execution_excludepatterns = ["tutorials/*.ipynb"]
nb_execution_cache_path = str(HERE / "_build" / ".jupyter_cache")
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars

autosummary_generate = [str(page.relative_to(HERE)) for page in sorted((HERE / "reference").glob("*.md"))]
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"shapae {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def copy_notebooks(app: Sphinx) -> None:
    """Copy the notebooks beside the list of tutorials, with links that hold there."""
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = notebook.read_text(encoding="utf-8").replace("../docs/", "../")
        _write(Path(app.srcdir) / "tutorials" / notebook.name, text)


def write_results(app: Sphinx) -> None:
    """Write one page for each file of results of the benchmarks."""
    folder = Path(app.srcdir) / "benchmarks" / "results"
    for name, text in _pages.pages().items():
        _write(folder / f"{name}.md", text)


def mend_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Point links to files of the repository, which hold on its own pages, to the pages of the site."""
    source[0] = re.sub(r"\]\((?:\.\./)+notebooks/(\w+\.ipynb)", r"](/tutorials/\1", source[0])
    pages = {"README": "start/five_minutes", "CONTRIBUTING": "project/contributing", "CHANGELOG": "project/changes"}
    for name, page in pages.items():
        source[0] = re.sub(rf"\]\((?:\.\./)+{name}\.md", f"](/{page}.md", source[0])


def show_cards(app: Sphinx, docname: str, source: list[str]) -> None:
    """Show the table of sections, which any reader of Markdown shows as a table, as cards."""
    if docname == "index":
        line = re.compile(r"^\| \[(.+)\]\((.+)\.md\) \| (.+) \|\n", flags=re.MULTILINE)
        card = r":::{grid-item-card} \1\n:link: /\2\n:link-type: doc\n\3\n:::\n"
        table = re.compile(r"^\| section .*\n\|.*\n((?:\|.*\n)+)", flags=re.MULTILINE)
        source[0] = table.sub(lambda m: f"::::{{grid}} 1 2 2 3\n:gutter: 3\n\n{line.sub(card, m[1])}::::\n", source[0])


def escape_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let |value| in a docstring be an absolute value; to docutils it is a substitution."""
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda match: match[1] or r"\|", line) for line in lines]


def _write(path: Path, text: str) -> None:
    """Write ``text`` if the file has another, so that Sphinx reads again only files that changed."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Run the functions above when Sphinx begins, and with each page."""
    app.connect("builder-inited", copy_notebooks, priority=100)
    app.connect("builder-inited", write_results, priority=100)
    app.connect("source-read", mend_links)
    app.connect("source-read", show_cards)
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
