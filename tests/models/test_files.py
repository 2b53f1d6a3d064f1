"""Models loaded from files, and files that can not be loaded."""

import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shapae.errors import ModelError
from shapae.models import files


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder with a module `genes_model` with a factory, importable."""
    (tmp_path / "genes_model.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3))\n"
        "def number():\n"
        "    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("genes_model", None)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3))


@pytest.mark.parametrize("ending", ["safetensors", "pt", "ckpt"])
def test_a_model_is_loaded_with_its_weights(package, ending):
    saved, path = net(), package / f"weights.{ending}"
    if ending == "safetensors":
        save_file(saved.state_dict(), path)
    else:
        torch.save(saved.state_dict() if ending == "pt" else {"state_dict": saved.state_dict(), "epoch": 3}, path)
    model = files.load_model("genes_model:build", path)
    rows = torch.randn(4, 3)
    torch.testing.assert_close(model(rows), saved(rows), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        (
            "nowhere:build",
            r"can't find 'nowhere:build': No module named 'nowhere'\. A factory is given as package\.module:factory",
        ),
        ("genes_model:nothing", r"can't find 'genes_model:nothing': module 'genes_model' has no attribute 'nothing'"),
        ("genes_model", r"can't find 'genes_model'"),
        ("", r"can't find ''"),
        ("genes_model:number", r"genes_model:number must return a torch\.nn\.Module, got int"),
    ],
)
def test_the_error_for_a_missing_factory_names_it(package, factory, text):
    with pytest.raises(ModelError, match=text):
        files.load_model(factory, package / "weights.pt")


def test_the_error_for_a_pickled_model_names_the_code_that_loading_would_run(package):
    torch.save(net(), package / "whole.pt")
    with pytest.raises(
        ModelError, match=r"would run torch\.nn\.modules\.\S+.*torch\.save\(model\.state_dict\(\)"
    ) as caught:
        files.load_model("genes_model:build", package / "whole.pt")
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_an_error(package):
    torch.save(nn.Linear(3, 3).state_dict(), package / "other.pt")
    with pytest.raises(ModelError, match=r"\['0\.weight'.* are missing, \['weight', 'bias'\] are unexpected"):
        files.load_model("genes_model:build", package / "other.pt")
    torch.save(nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3)).state_dict(), package / "wide.pt")
    with pytest.raises(ModelError, match=r"do not fit the model of genes_model:build: .*size mismatch for 0\.weight"):
        files.load_model("genes_model:build", package / "wide.pt")


@pytest.mark.parametrize("name", ["missing.pt", "missing.safetensors", "garbage.safetensors", "garbage.pt", "list.pt"])
def test_unreadable_weights_are_an_error(package, name):
    (package / f"garbage.{name.split('.')[1]}").write_bytes(b"no weights at all")
    torch.save([torch.zeros(3)], package / "list.pt")
    with pytest.raises(ModelError, match=name):
        files.load_model("genes_model:build", package / name)
