"""The suite can see a loss: with any one rule taken out, the tests that stand for it fail, each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import mutants

if TYPE_CHECKING:
    from pathlib import Path

ALL = mutants.mutations()


def test_the_tests_pass_while_no_rule_is_taken_out(tmp_path: Path) -> None:
    """Or their failing would prove nothing."""
    tests = sorted({test for mutation in ALL for test in mutation.tests})
    run = mutants.run(mutants.copy(tmp_path), tests)
    assert [test for test in tests if not run.passed(test)] == [], run.output


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_a_rule_that_is_taken_out_is_missed(mutation: mutants.Mutation, tmp_path: Path) -> None:
    """Every test that the patch names fails, and by an assertion: one that cannot even start sees nothing."""
    folder = mutants.copy(tmp_path)
    assert mutants.applies(mutation, folder) == "", "it takes nothing out any more: write it anew"
    run = mutants.run(folder, list(mutation.tests))
    blind = [test for test in mutation.tests if not run.saw(test)]
    assert blind == [], f"{mutation.rule} without {mutation.takes_out}\n{run.output}"
