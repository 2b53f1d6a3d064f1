"""Each fault of the table; and the table of the documentation has them all."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.page import all_faults, page
from tests.faults.table import check

FAULTS = all_faults()


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_loses_nothing(fault, tmp_path):
    check(fault, tmp_path)


def test_the_faults_have_names_of_their_own():
    assert [name for name, count in Counter(map(str, FAULTS)).items() if count > 1] == []


def test_the_documentation_lists_every_fault():
    assert (Path(__file__).parents[2] / "docs" / "project" / "faults.md").read_text(encoding="utf-8") == page()
