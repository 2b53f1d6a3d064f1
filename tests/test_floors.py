"""A file imports only from floors below its own."""

import ast
from itertools import chain
from pathlib import Path

import pytest

import shapae

ROOT = Path(shapae.__file__).parent
# Lowest first. "plots.*" stands for each file of that folder that has no name here.
FLOORS = [
    ["errors"],
    ["table", "borrow", "moments", "folder", "progress", "plan", "extras", "names", "provenance", "stopwatch"],
    ["annotated", "loader", "running", "returned", "unwrap"],
    ["preprocess", "ways"],
    ["deepshap.parts", "deepshap.tape"],
    ["deepshap.record", "deepshap.rules.slopes"],
    ["deepshap.rules.terms"],
    ["deepshap.rules.linear", "deepshap.rules.axes"],
    ["deepshap.rules.elementwise"],
    ["deepshap.rules"],
    ["deepshap.chain"],
    ["deepshap.deviations"],
    ["deepshap.walk", "deepshap.fold"],
    ["deepshap"],
    ["data", "autoencoder", "losses", "frames", "files", "datasets.*", "estimate", "correlated", "metrics"],
    ["heads._head", "decoding", "background", "groups", "importance", "adapters", "datasets"],
    ["heads.*"],
    ["heads"],
    ["score", "explanation"],
    ["backends", "plots._canvas"],
    ["backends._peer", "plots.*"],
    ["backends._shap", "backends._captum"],
    ["backends.*", "plots", "compared"],
    ["work", "results", "scored"],
    ["found", "ranking"],
    ["job"],
    ["engine"],
    ["importances", "anomalies", "judge"],
    ["importances._replaced"],
    ["importances.*"],
    ["rank"],
    ["comparison", "demo"],
    ["cli"],
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}


def modules():
    """Names of all modules of the package, and their files; the surface has none and imports nothing eagerly."""
    for file in sorted(ROOT.rglob("*.py")):
        parts = [part for part in file.relative_to(ROOT).with_suffix("").parts if part != "__init__"]
        yield ".".join(parts), file


MODULES = dict(modules())


def floor(name):
    """Height of the floor of a module: its own, or that of its folder's ``*``."""
    folder, dot, _ = name.rpartition(".")
    home = name if name in FLOOR else f"{folder}{dot}*"
    assert home in FLOOR, f"no floor is known for {name}: add it to FLOORS"
    return FLOOR[home]


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


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_a_file_imports_only_from_floors_below_its_own(name):
    wrong = [other for other in imported(MODULES[name]) if floor(other) >= floor(name)]
    assert wrong == [], f"{name} imports {', '.join(wrong)}, which is not below it"


def test_imports_are_seen():
    """So that the test above can't pass because it looks at nothing."""
    assert {"backends", "heads", "score", "plan"} <= {*imported(MODULES["engine"])}
    assert "backends._shap" in imported(MODULES["backends.shap_deep"])
    tree = ast.parse("def f():\n    from shapae import heads\n    import shapae.engine")
    assert list(imports(tree)) == ["shapae", "shapae.heads", "shapae.engine"]


def test_the_surface_imports_nothing_of_its_own_when_it_is_imported():
    body = ast.parse((ROOT / "__init__.py").read_text()).body
    names = chain.from_iterable(imports(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    assert not any(name.startswith("shapae") for name in names)
