"""Faults of settings: arguments of a wrong type or size."""

from shapae import Explainer
from tests.cases import Question, build, table
from tests.faults.table import Fault


def _explain(**settings):
    return lambda folder: Explainer(build(Question), table(20), **settings)(table(3))


FAULTS = [
    Fault("settings", "memory='-1GB'", _explain(memory="-1GB"), "memory must be a positive", "refused before the work"),
]
