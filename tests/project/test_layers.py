"""A room imports only from the rooms below it, and no file imports itself by way of others."""

import ast
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

import shapae

ROOT = Path(shapae.__file__).parent
# Lowest first.
LAYERS = [
    ["errors"],
    ["utils"],
    ["models", "tables", "deepshap", "datasets"],
    ["heads"],
    ["backends"],
    ["explainer"],
    ["plots"],
    ["analysis"],
    ["report"],
    ["cli"],
    ["__main__"],
]
LAYER = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}


def modules():
    """Names of all modules of the package, and their files."""
    for file in sorted(ROOT.rglob("*.py")):
        parts = [part for part in file.relative_to(ROOT).with_suffix("").parts if part != "__init__"]
        yield ".".join(parts), file


MODULES = {name: file for name, file in modules() if name}


def imports(tree):
    """Names of the modules of shapae that a file imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(file):
    names = (
        name.removeprefix("shapae.") for name in imports(ast.parse(file.read_text())) if name.startswith("shapae.")
    )
    return sorted({name for name in names if name in MODULES})


def room(name):
    return name.partition(".")[0]


def test_every_file_is_in_a_room():
    assert {room(name) for name in MODULES} == {*LAYER}


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_only_from_the_rooms_below_it(name):
    others = {room(other) for other in imported(MODULES[name])} - {room(name)}
    wrong = sorted(other for other in others if LAYER[other] >= LAYER[room(name)])
    assert wrong == [], f"{name} imports {', '.join(wrong)}, which is not below it"


def test_no_file_imports_itself_in_a_circle():
    """A folder is left out where a file of its own imports it: that file gets names, not the folder's face."""
    graph = {name: [other for other in imported(file) if not name.startswith(f"{other}.")] for name, file in modules()}
    TopologicalSorter(graph).prepare()


def test_imports_are_seen():
    """So that the tests above can't pass because they look at nothing."""
    assert {"explainer.run", "tables.table", "utils.memory"} <= {*imported(MODULES["explainer.explainer"])}
    tree = ast.parse("def f():\n    from shapae import heads\n    import shapae.cli")
    assert list(imports(tree)) == ["shapae", "shapae.heads", "shapae.cli"]


def test_the_surface_imports_nothing_of_its_own_when_it_is_imported():
    body = ast.parse((ROOT / "__init__.py").read_text()).body
    names = chain.from_iterable(imports(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    assert not any(name.startswith("shapae") for name in names)
