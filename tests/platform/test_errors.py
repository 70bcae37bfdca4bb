import pickle

import pytest
from stillhouse.platform import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.StillhouseError)]


@pytest.mark.parametrize("kind", [k for k in KINDS if k is not errors.ConfigError])
def test_an_error_survives_the_way_between_processes(kind: type[errors.StillhouseError]) -> None:
    back = pickle.loads(pickle.dumps(kind("what", why="because", mend="do this")))
    assert type(back) is kind
    assert (back.what, back.why, back.mend) == ("what", "because", "do this")
    assert str(back) == "what: because. To mend it: do this."


def test_a_configuration_error_lists_every_problem_and_survives_too() -> None:
    back = pickle.loads(pickle.dumps(errors.ConfigError(["first", "second"], mend="correct them")))
    assert back.problems == ("first", "second")
    assert "2 problems" in str(back) and "first" in str(back) and "second" in str(back)


def test_exit_codes_are_those_of_the_documentation() -> None:
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes["RunFailed"] == 1 and codes["LedgerDoubt"] == 1
    assert codes["Unreachable"] == codes["NotAuthorised"] == 2
    assert codes["TimedOut"] == 3
    assert codes["BadInput"] == codes["ConfigError"] == codes["MissingExtra"] == 4
    assert codes["InternalBug"] == 5
    assert codes["BudgetExhausted"] == 6
