"""The surface is what the documentation says it is."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import shapae
from shapae import backends

DOCUMENTED = [
    "Anomalies",
    "Autoencoder",
    "Comparison",
    "Explainer",
    "Explanation",
    "GlobalRanking",
    "Importance",
    "adapters",
    "background",
    "backends",
    "cluster_features",
    "compare",
    "datasets",
    "deepshap",
    "demo",
    "errors",
    "explain_anomalies",
    "from_anndata",
    "groups",
    "heads",
    "importances",
    "losses",
    "metrics",
    "plots",
    "rank_features",
    "read_gmt",
]


def test_the_exported_names_are_the_documented_ones():
    assert sorted(shapae.__all__) == sorted(DOCUMENTED)
    assert sorted(dir(shapae)) == sorted(DOCUMENTED)


@pytest.mark.parametrize("name", shapae.__all__)
def test_every_exported_name_is_there_and_described(name):
    assert inspect.getdoc(getattr(shapae, name))


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="module 'shapae' has no attribute 'explain'"):
        shapae.explain  # noqa: B018


def test_the_backends_are_the_files_of_their_folder():
    files = ["deep", "exact", "gradient", "sampling"]
    files += [file.stem for file in Path(backends.__file__).parent.glob("external/[!_]*.py")]
    assert sorted(backends.names()) == sorted(files)
    assert {"deep", "exact", "gradient", "shap_deep", "shap_gradient"} <= {*files}


def test_importing_shapae_loads_neither_torch_nor_shap():
    code = "import sys, shapae; print(sorted({'torch', 'shap'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
