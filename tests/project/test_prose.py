"""Plain English: the worst habits do not come back, and files and functions stay short."""

import ast
import re
from pathlib import Path

import pytest

from tests.project import test_docs

ROOT = Path(__file__).parents[2]
CODE = sorted([*ROOT.glob("shapae/**/*.py"), *ROOT.glob("benchmarks/*.py")])
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *test_docs.PAGES]
HABITS = {
    "a sentence without a noun of its own": re.compile(r'^\s*(?:r?"""|# )What', re.MULTILINE),
    "'so many' for a number": re.compile(r"\bso many\b", re.IGNORECASE),
    "'all that is drawn' for a random seed": re.compile(r"\ball that is drawn\b", re.IGNORECASE),
    "'rebuild' for reconstruct": re.compile(r"\brebuil", re.IGNORECASE),
}


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*CODE, *PAGES], ids=name)
def test_sentences_have_nouns_and_the_words_of_the_field(path):
    text = path.read_text(encoding="utf-8")
    found = [f"{habit}: {match[0]!r}" for habit, pattern in HABITS.items() for match in pattern.finditer(text)]
    assert found == []


def test_the_habits_are_seen():
    """So that the test above can't pass because it looks for nothing."""
    worst = '"""What comes out."""\n# So many rows.\n# Of all that is drawn.\n# rebuilt'
    assert all(pattern.search(worst) for pattern in HABITS.values())


@pytest.mark.parametrize("path", CODE, ids=name)
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            begin = first.end_lineno if documented else node.lineno
            assert node.end_lineno - begin <= 50, f"{node.name} has more than 50 lines"
