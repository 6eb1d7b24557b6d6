"""The mutations of the fault tests: all rules have one, each still applies, and the tests that it names exist."""

from __future__ import annotations

import re

import pytest

from tests.faults import mutants

ALL = mutants.mutations()
RULES = {"D1", "D2", "M1", "M2", "M5", "M9", "C1", "C2", "C3", "C4", "C5", "C7", "O2", "O3"}


def test_each_rule_is_taken_out_by_one() -> None:
    assert {mutation.rule for mutation in ALL} == RULES


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_a_mutation_applies_and_names_its_tests(mutation: mutants.Mutation) -> None:
    """One that does not apply any more takes nothing out; `make faults` runs them."""
    assert mutation.name.startswith(f"{mutation.rule.lower()}-") and mutation.takes_out
    assert mutants.applies(mutation, mutants.ROOT, check=True) == ""
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (mutants.ROOT / file).read_text(), re.MULTILINE), test
