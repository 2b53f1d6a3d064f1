"""The versions that are promised are the versions that the tests were run with; private names are all known."""

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from torch import nn

from shapae.errors import MissingPackage
from shapae.tables.files import load_table
from shapae.utils import torch_private
from shapae.utils.torch_private import ATTRIBUTES, TESTED, is_compiled, private, writes_into_first
from shapae.utils.version import major_minor

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = {each.name: each for each in map(Requirement, PROJECT["dependencies"])}
# Extras whose packages the core of tests runs with.
WITH_EXTRAS = {
    each.name: each
    for name in ("anndata", "captum", "parquet", "xarray")
    for each in map(Requirement, PROJECT["optional-dependencies"][name])
}
PAGE = (ROOT / "docs" / "project" / "versions.md").read_text()
# Private or undocumented names of other packages; shapae uses no others.
OTHERS = [
    "captum.attr._core.deep_lift.SUPPORTED_NON_LINEAR",
    "captum.attr._core.deep_lift.nonlinear",
    "matplotlib._pylab_helpers.Gcf",
    "shap.explainers._deep.deep_pytorch.nonlinear_1d",
    "shap.explainers._deep.deep_pytorch.op_handler",
    "shap.explainers._deep.deep_pytorch.passthrough",
    "shap.utils.OpChain",
    "shap.utils._legacy.DenseData",
    "torch.nn.parameter.is_lazy",
    "torch.utils.flop_counter.flop_registry",
]
HERE = "shapae/utils/torch_private.py"
FILES = [path for path in sorted((ROOT / "shapae").rglob("*.py")) if str(path.relative_to(ROOT)) != HERE]
NAMES = [*re.findall(r'private\(\s*"([\w.]+)"', (ROOT / HERE).read_text()), *ATTRIBUTES]


def pins(name):
    """Versions in a file of constraints, by the names of the packages."""
    lines = (ROOT / name).read_text().splitlines()
    return dict(re.fullmatch(r"([\w-]+)==(\S+)", line).groups() for line in lines if line and line[0] != "#")


OLDEST, NEWEST = pins("constraints-oldest.txt"), pins("constraints-newest.txt")


def lower(requirement):
    (bound,) = [each.version for each in requirement.specifier if each.operator == ">="]
    return bound


def padded(text):
    """2.6 as 2.6.0."""
    return ".".join([*text.split("."), "0", "0"][:3])


@pytest.mark.parametrize("name", [*NEEDED, *WITH_EXTRAS])
def test_the_lower_bound_is_the_version_in_the_oldest_constraints(name):
    requirement = (NEEDED | WITH_EXTRAS)[name]
    assert padded(lower(requirement)) == padded(OLDEST[name])


@pytest.mark.parametrize("name", [*NEEDED, *WITH_EXTRAS])
def test_the_newest_constraints_lie_within_the_bounds(name):
    assert (NEEDED | WITH_EXTRAS)[name].specifier.contains(NEWEST[name])


@pytest.mark.parametrize("name", NEEDED)
def test_the_installed_version_lies_within_the_bounds(name):
    assert NEEDED[name].specifier.contains(version(name), prereleases=True)


@pytest.mark.parametrize("name", ["shap"])
def test_a_package_whose_private_names_are_used_has_an_upper_bound_after_the_newest_that_was_run(name):
    (upper,) = [each.version for each in NEEDED[name].specifier if each.operator == "<"]
    major, minor = major_minor(NEWEST[name])
    assert upper == f"{major}.{minor + 1}"


@pytest.mark.parametrize("name", NEEDED)
def test_the_page_has_the_bounds_and_the_versions_that_were_run(name):
    (bounds,) = [each.removeprefix(name) for each in PROJECT["dependencies"] if Requirement(each).name == name]
    assert f"| {name} | `{bounds}` | {OLDEST[name]} | {NEWEST[name]} |" in PAGE


def test_the_page_has_the_versions_of_python():
    assert f"Python `{PROJECT['requires-python']}`" in PAGE


def test_the_tested_releases_of_torch_are_those_of_the_constraints():
    assert (OLDEST["torch"], NEWEST["torch"]) == TESTED


@pytest.mark.parametrize("name", NAMES)
def test_torch_has_the_private_name(name):
    private(name)


def test_all_private_names_are_found():
    """So that the test above can't pass because it looks at nothing."""
    assert {"torch._C._set_grad_enabled", "torch.utils._pytree.tree_map", "torch._ops.OpOverload"} <= {*NAMES}


@pytest.mark.parametrize(
    "name", ["torch._C._no_such_name", "torch._no_such_module.thing", "torch.ops.aten.add_.Tensor.x"]
)
def test_a_name_that_is_gone_is_named_with_the_version_of_torch(name):
    with pytest.raises(MissingPackage) as caught:
        private(name)
    message = str(caught.value)
    assert message.startswith(f"torch {torch.__version__} has no {name}, which shapae needs.")
    assert f"pip install 'torch>={TESTED[0]},<={TESTED[1]}'" in message


def test_the_import_says_which_name_is_gone(monkeypatch):
    monkeypatch.delattr("torch.utils._pytree.tree_map")
    code = compile(Path(torch_private.__file__).read_text(), HERE, "exec")
    with pytest.raises(MissingPackage, match=r"has no torch\.utils\._pytree\.tree_map, which"):
        exec(code, {"__name__": "again"})


@pytest.mark.parametrize("name", OTHERS)
def test_other_packages_have_their_private_names(name):
    package = name.partition(".")[0]
    try:
        resolve_name(name)
    except (AttributeError, ImportError):
        pytest.fail(f"{package} {version(package)} has no {name}.")


def private_imports(tree):
    """Names that a file imports from private modules, or by private names, of other packages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.module.startswith("shapae"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if not alias.name.startswith("shapae"))
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def is_private(name):
    package, *parts = name.split(".")
    named = package.isidentifier() and package not in {"self", "cls", "sys"}
    return named and any(re.fullmatch(r"_[a-zA-Z]\w*", part) for part in parts)


# Attributes of torch's own objects, which only torch_private reads.
TORCH_ATTRIBUTES = {"_schema", "_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks"} | {
    *("_backward_hooks", "_compiled_call_impl", "_orig_mod", "next_functions", "alias_info", "is_write"),
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_of_torch_are_in_one_file_and_those_of_others_are_known(path):
    tree = ast.parse(path.read_text())
    used = {name for name in private_imports(tree) if is_private(name)}
    packages = {"torch", "shap", "captum", "matplotlib", "joblib", "pandas", "numpy", "scipy", "sklearn", "narwhals"}
    foreign = {name for name in used if name.split(".")[0] in packages}
    assert foreign <= {*OTHERS, *(name.rpartition(".")[0] for name in OTHERS)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    text = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert TORCH_ATTRIBUTES & (attributes | text) == set()


def test_every_operator_that_writes_into_its_first_argument_is_seen():
    """The schema in words has "!" at an argument that is written into."""
    aten, seen = torch.ops.aten, 0
    for name in (
        "add_",
        "copy_",
        "add",
        "mul",
        "normal_",
        "squeeze_",
        "index_put_",
        "sort",
        "cat",
        "fill_",
        "set_",
        "view",
        "t",
        "unbind",
    ):
        packet = getattr(aten, name)
        for op in (getattr(packet, overload) for overload in packet.overloads()):
            first = str(op._schema).partition("(")[2].split(",")[0]
            assert writes_into_first(op) == bool(re.match(r"[\w\[\]]+\(\w+!", first)), str(op._schema)
            seen += 1
    assert seen > 20


def test_a_compiled_module_and_a_compiled_call_are_seen():
    plain, called = nn.Linear(2, 2), nn.Linear(2, 2)
    called.compile(backend="eager")
    assert [is_compiled(each) for each in (plain, called, torch.compile(plain, backend="eager"))] == [False, True, True]


@pytest.mark.parametrize(("text", "numbers"), [("2.14.1+cpu", (2, 14)), ("3.1.0rc0", (3, 1)), ("2.6", (2, 6))])
def test_the_first_two_numbers_of_a_version_are_read(text, numbers):
    assert major_minor(text) == numbers


def test_numbers_of_a_text_file_are_read_to_the_last_bit(tmp_path):
    x = np.random.default_rng(0).integers(0, 2**63, size=3000).view(np.float64)
    x = x[np.isfinite(x)].tolist()
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{each!r},1\n" for each in x))
    table = load_table(tmp_path / "x.csv")
    assert table["a"].tolist() == x
