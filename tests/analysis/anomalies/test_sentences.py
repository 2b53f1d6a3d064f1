"""Sentences say in plain words, and in few digits, why a row is an anomaly."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from shapae import Explainer, explain_anomalies
from shapae.analysis.anomalies.sentences import Fault, number, write_sentence
from tests import cases

NAMES = ["pressure", "temperature", "flow"]


class Flowing(nn.Module):
    """Reconstructs the pressure as the mean of temperature and flow, which it reconstructs exactly."""

    def forward(self, rows):
        return torch.cat([rows[:, 1:].mean(dim=1, keepdim=True), rows[:, 1:]], dim=1)


NORMAL = pd.DataFrame([[7, 7, 7], [7.4, 7.2, 7.2], [6.5, 7.5, 6.5], [7, 6.6, 7.2]], columns=NAMES)


def sentences(rows, **options):
    table = pd.DataFrame(rows, columns=NAMES)
    return explain_anomalies(Explainer(Flowing(), NORMAL), table, rows=range(len(rows)), **options).sentences()


def test_the_sentence_of_the_issue():
    """Squared errors of normal rows are 0, 0.04, 0.25 and 0.01, so that their median score is 0.025 / 3."""
    (sentence,) = sentences([[7.2, 3, 3.2]])
    want = 4.1**2 / 3 / (0.025 / 3)
    assert sentence == (
        f"row 0 scores 5.6, {want:.0f} times the median: pressure reads 7.2 where 3.1 was expected; temperature and "
        f"flow raised it"
    )


def test_features_that_offset_the_error_are_named_if_they_offset_much_of_it():
    (much,) = sentences([[7.2, 3, 11.0]])
    assert much.endswith("pressure reads 7.2 where 7 was expected; temperature raised it, flow offset it")
    (little,) = sentences([[7.2, 3, 7.4]])
    assert little.endswith("pressure reads 7.2 where 5.2 was expected; temperature raised it")


def test_a_row_that_reads_as_expected_has_no_features_that_raised_or_offset_anything():
    (sentence,) = sentences([[7, 9, 5]])
    assert sentence == "row 0 scores 0, 0 times the median: pressure reads 7 as expected"


def test_a_median_that_is_not_positive_is_not_a_measure():
    explainer = Explainer(Flowing(), NORMAL.assign(pressure=NORMAL[["temperature", "flow"]].mean(axis=1)))
    (sentence,) = explain_anomalies(explainer, NORMAL, rows=[2]).sentences()
    assert re.match(r"row 2 scores 0\.083 \(the median is 0\): pressure reads 6\.5 where 7 was expected", sentence)


def test_a_negative_median_is_not_a_measure_either():
    sentence = write_sentence("row 17", 4.1, -1.2, [fault("a", 1)], units="table")
    assert sentence.startswith("row 17 scores 4.1 (the median is -1.2): a reads")


def fault(feature, part, **parts):
    defaults = {
        "reading": 7.2,
        "expected": 3.1,
        "member": feature,
        "category": None,
        "expected_category": None,
        "error": 10.0,
        "contribution": 5.0,
        "contributing": [],
        "offsetting": [],
    }
    return Fault(feature=feature, part=part, **defaults | parts)


def write(*faults, units="table"):
    return write_sentence("row 17", 4.1, 0.34, faults, units=units)


def test_only_features_with_much_of_the_error_are_named_three_at_most():
    start = "row 17 scores 4.1, 12 times the median: "
    reads = "reads 7.2 where 3.1 was expected"
    assert write(fault("a", 0.95), fault("b", 0.05)) == f"{start}a {reads}"
    assert write(fault("a", 0.6), fault("b", 0.4)) == f"{start}a {reads} and b {reads}"
    many = [fault(name, 0.2) for name in "abcde"]
    assert write(*many) == f"{start}a {reads}, b {reads} and c {reads}"
    assert write(fault("a", 0.06), fault("b", 0.05)) == f"{start}a {reads}"
    assert write(fault("a", np.nan), fault("b", np.nan)) == f"{start}a {reads}"


def test_it_is_the_error_of_the_first_feature_if_there_are_several():
    worst = fault("a", 0.6, contributing=[("x", 1.0), ("y", 0.9)], offsetting=[("z", -2.5), ("w", -2.4)])
    assert write(worst).endswith("expected; x raised it, z offset it")
    assert write(worst, fault("b", 0.4)).endswith("expected; x raised the error of a, z offset the error of a")


def test_a_group_is_named_with_the_feature_that_is_read():
    assert "p3 of pressures reads 7.2 where" in write(fault("pressures", 1, member="p3"))


def test_the_units_of_the_model_are_said():
    assert write(fault("a", 1, contributing=[("x", 5.0)]), units="model").endswith(
        "a reads 7.2 where 3.1 was expected (in the units of the model); x raised it"
    )


def test_a_sentence_is_one_line():
    assert write(fault("a\nb", 1)).count("\n") == 0


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (7.1834, 4.0847, "7.2"),
        (1234.567, 1231, "1235"),
        (101325.31, 0.2, "101325.31"),
        (101325.0, 0.2, "101325"),
        (0.0123456, 3, "0.012"),
        (3e-9, 5, "0"),
        (-3e-9, 5, "0"),
        (-0.049, 5, "-0.049"),
        (1e-9, 1e-9, "1e-09"),
        (2e20, 1, "2e+20"),
        (np.float32(0.1), 0, "0.1"),
        (0, 0, "0"),
        (np.nan, 1, "NaN"),
        (-np.inf, np.nan, "-infinity"),
        (5, np.inf, "5"),
    ],
)
def test_numbers_have_the_digits_that_show_a_difference(value, step, text):
    assert number(value, step) == text


@pytest.mark.parametrize("seed", range(5))
def test_different_readings_are_written_in_different_digits(seed):
    rng = np.random.default_rng(seed)
    size, difference = 10.0 ** rng.uniform(-3, 8, 200), 10.0 ** rng.uniform(-4, 3, 200)
    for value, step in zip(size, difference, strict=True):
        first, second = number(value, step), number(value + step, step)
        assert first != second
        assert float(second) - float(first) == pytest.approx(step, rel=0.1, abs=1e-12)


@pytest.mark.parametrize(
    ("index", "who"),
    [
        (["row 7"], "row 7"),
        (["cell_3"], "row cell_3"),
        ([41], "row 41"),
        (pd.DatetimeIndex(["2024-01-05"]), "row 2024"),
    ],
)
def test_a_sentence_begins_with_the_name_of_the_row(index, who):
    table = pd.DataFrame([[7.2, 3, 3.2]], index, NAMES)
    (sentence,) = explain_anomalies(Explainer(Flowing(), NORMAL), table).sentences()
    assert sentence.startswith(who)


def test_the_text_form_has_the_first_sentences(model):
    names = list("abcdef")
    table = pd.DataFrame(cases.table(30, seed=3), columns=names)
    anomalies = explain_anomalies(Explainer(model, table.iloc[:9]), table, 7)
    lines = str(anomalies).split("\n  ")
    assert lines[0] == f"7 anomalies; the median score of normal rows is {number(anomalies.median)}"
    assert lines[1:6] == anomalies.sentences()[:5]
    assert lines[6:] == ["and 2 more"]
    assert repr(explain_anomalies(Explainer(model, table), table, 1)).startswith("1 anomaly; ")
