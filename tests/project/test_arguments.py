"""Every public parameter has a constraint, or a reason for none, and refuses values of a wrong type."""

import inspect

import pytest

from shapae.utils.constraints import CONSTRAINTS
from tests.faults import arguments
from tests.faults.arguments import EXEMPT, EXEMPT_HERE, FAULTS, has_reason, parameters, wrong_values

PARAMETERS = [(name, each) for name, _, each in parameters()]


def test_every_public_parameter_has_a_constraint_or_a_reason_for_none():
    without = [f"{name}({each.name})" for name, each in PARAMETERS if each.name not in CONSTRAINTS]
    assert [each for each in without if not has_reason(*each.rstrip(")").split("("))] == []


def test_no_reason_and_no_constraint_is_left_over():
    names, places = {each.name for _, each in PARAMETERS}, {f"{name}.{each.name}" for name, each in PARAMETERS}
    assert {*EXEMPT} <= names
    assert {*EXEMPT_HERE} <= places
    assert {*CONSTRAINTS} <= names | {"size"}


def test_every_kind_of_constraint_has_wrong_values():
    assert {type(each) for each in CONSTRAINTS.values()} <= {*arguments.WRONG}


def test_the_walk_reaches_the_whole_surface():
    functions = {name for name, _ in arguments.callables()}
    assert {"Explainer", "Explainer.load", "compare", "plots.bar", "background.sample", "heads.Latent"} <= functions
    assert len(FAULTS) > 200


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS, ids=lambda each: getattr(each, "name", each))
def test_defaults_are_what_constraints_accept(name, parameter):
    constraint = CONSTRAINTS.get(parameter.name)
    if constraint is None or parameter.default in (inspect.Parameter.empty, None) or has_reason(name, parameter.name):
        return
    assert constraint.accepts(parameter.default)
    assert not any(constraint.accepts(each) for each in wrong_values(name, parameter))
