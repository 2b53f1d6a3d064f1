"""The surface is what the documentation says it is."""

import inspect
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import shapae
from shapae import backends


def test_completion_shows_the_exported_names():
    assert dir(shapae) == sorted(shapae.__all__)


@pytest.mark.parametrize("name", shapae.__all__)
def test_every_exported_name_is_there_and_described(name):
    assert inspect.getdoc(getattr(shapae, name))


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="module 'shapae' has no attribute 'explain'"):
        shapae.explain  # noqa: B018


@pytest.mark.parametrize("name", [name for name in shapae.__all__ if inspect.ismodule(getattr(shapae, name))])
def test_a_public_module_shows_the_names_that_are_meant(name):
    module = getattr(shapae, name)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, each) for each in module.__all__)


def test_the_backends_are_the_files_of_their_folder():
    folder = Path(backends.__file__).parent
    files = {file.stem for file in [*folder.glob("*.py"), *folder.glob("external/*.py")] if file.stem[0] != "_"}
    assert {*backends.names()} == files - {"base", "closed_form", "differentiation", "game", "interactions"}


def test_importing_shapae_loads_neither_torch_nor_shap():
    code = "import sys, shapae; print(sorted({'torch', 'shap'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_in_one_place():
    root = Path(shapae.__file__).parents[1]
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", shapae.__version__)
    assert f"\nversion: {shapae.__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"\n## {shapae.__version__}" in (root / "CHANGELOG.md").read_text()


WITHOUT_A_DISTRIBUTION = """
import importlib.metadata, sys
found = importlib.metadata.version
def version(name):
    if name in {"shapae", "torch"}:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)
importlib.metadata.version = version
import numpy as np, torch, shapae
table = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
made_by = shapae.Explainer(torch.nn.Linear(3, 3), table)(table).made_by
print(made_by["versions"]["shapae"] == shapae.__version__, made_by["versions"]["torch"] == torch.__version__)
"""


def test_a_copy_of_the_folder_explains_where_nothing_is_installed(tmp_path):
    shutil.copytree(Path(shapae.__file__).parent, tmp_path / "shapae")
    code = f"import sys; sys.path.insert(0, '.')\n{WITHOUT_A_DISTRIBUTION}\nprint(shapae.__file__)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", str(tmp_path / "shapae" / "__init__.py")]


# Packages that take a tenth of a second or more to import, and what does without them.
SLOW = ["matplotlib", "numba", "scipy.stats", "shap", "sklearn", "torch._dynamo"]
EXPLAINER = "import torch; from shapae import Explainer; e = Explainer(torch.nn.Linear(3, 3), torch.randn(9, 3))"
WITHOUT = {
    "the command line": ("from shapae.cli import commands", [*SLOW, "pandas", "scipy", "torch"]),
    "an Explainer": (EXPLAINER, SLOW),
    "an explanation": (f"{EXPLAINER}; e(torch.randn(2, 3))", ["torch._dynamo"]),
}


@pytest.mark.parametrize("case", WITHOUT)
def test_slow_packages_are_imported_when_they_are_needed(case):
    code, packages = WITHOUT[case]
    code = f"import sys, warnings; warnings.simplefilter('ignore'); {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted({*done.stdout.split()} & {*packages}) == []
