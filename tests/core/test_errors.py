"""The error tree: as documented, with stable codes, pickling, catchable as the natural builtin."""

import copy
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from cracktrader import errors
from cracktrader.errors import CracktraderError, InvalidOption, InvalidTimeframe, QualityError
from cracktrader.timeframe import Timeframe

#: Codes are promises: programs branch on them. A new class gets a new number, and no number changes or comes back.
CODES = {
    "CracktraderError": "CT000",
    "ConfigurationError": "CT000",  # the head of the family CT0xx
    "InvalidOption": "CT001",
    "InvalidTimeframe": "CT002",
    "InvalidTime": "CT003",
    "InvalidRange": "CT004",
    "UnsupportedMode": "CT005",
    "PluginError": "CT100",
    "PluginNotFound": "CT101",
    "PluginDependencyMissing": "CT102",
    "PluginIncompatible": "CT103",
    "PluginBroken": "CT104",
    "PluginDuplicate": "CT105",
    "PluginDenied": "CT106",
    "SourceError": "CT200",
    "TemporarySourceError": "CT201",
    "PermanentSourceError": "CT202",
    "UnknownSymbol": "CT203",
    "UnsupportedTimeframe": "CT204",
    "NotSupported": "CT205",
    "SourceNotFound": "CT206",
    "DataError": "CT300",
    "QualityError": "CT301",
    "MalformedData": "CT302",
    "NoData": "CT303",
    "CatalogError": "CT400",
    "CatalogUnwritable": "CT401",
    "CatalogDamaged": "CT402",
    "CatalogTooNew": "CT403",
    "WorkerLost": "CT500",
}
BUILTIN = {
    "ConfigurationError": ValueError,
    "PluginNotFound": LookupError,
    "PluginDependencyMissing": ImportError,
    "UnknownSymbol": LookupError,
    "UnsupportedTimeframe": ValueError,
    "SourceNotFound": FileNotFoundError,
    "MalformedData": ValueError,
    "CatalogUnwritable": OSError,
    "WorkerLost": RuntimeError,
}
CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, CracktraderError)]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def documented_tree() -> dict[str, str]:
    """Each class of the docstring's drawing with the class it hangs from."""
    parents, path = {}, []
    for line in errors.__doc__.splitlines():
        if match := re.match(r"    ((?:[│ ]   )*)(?:[├└]── )?(\w+) +CT\w{3}", line):
            depth = (match.start(2) - 4) // 4
            path[depth:] = [match[2]]
            parents[match[2]] = path[depth - 1] if depth else ""
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    actual = {cls.__name__: next((b.__name__ for b in cls.__bases__ if issubclass(b, CracktraderError)), "") for cls in CLASSES}
    assert documented_tree() == actual


def test_the_codes_in_the_docstring_are_those_of_the_classes():
    drawn = dict(re.findall(r"(\w+) +(CT\d\d\d|CT\dxx)", errors.__doc__))
    assert {name: code.replace("xx", "00") for name, code in drawn.items()} == CODES


def test_codes_are_stable():
    assert {cls.__name__: cls.code for cls in CLASSES} == CODES


def test_codes_are_unique_and_lie_in_their_family():
    below = [cls for cls in CLASSES if cls is not CracktraderError]
    assert len({cls.code for cls in below}) == len(below)
    for head in CracktraderError.__subclasses__():
        assert all(cls.code[:3] == head.code[:3] for cls in below if issubclass(cls, head))


def test_every_class_is_public():
    assert sorted(errors.__all__) == sorted(cls.__name__ for cls in CLASSES) == sorted(CODES)
    assert errors.__all__ == sorted(errors.__all__)


@every_class
def test_every_class_is_catchable_as_its_natural_builtin(cls):
    for name, builtin in BUILTIN.items():
        if issubclass(cls, getattr(errors, name)):
            assert issubclass(cls, builtin)
    builtins = {base for base in cls.__mro__ if base.__module__ == "builtins"} - {Exception, BaseException, object}
    expected = {base for name, builtin in BUILTIN.items() if issubclass(cls, getattr(errors, name)) for base in builtin.__mro__}
    assert builtins == expected - {Exception, BaseException, object}


@every_class
def test_what_is_read_is_the_message_then_the_hint_on_a_line_of_its_own(cls):
    assert str(cls("It broke.")) == "It broke."
    error = cls("It broke.", hint="Mend it.", symbol="BTC/USDT", limit=5)
    assert str(error) == "It broke.\nMend it."
    assert (error.message, error.hint) == ("It broke.", "Mend it.")
    assert dict(error.context) == {"symbol": "BTC/USDT", "limit": 5}
    assert repr(error) == f"{cls.__name__}('It broke.')"


@every_class
def test_every_class_comes_back_whole_from_pickling_and_copying(cls):
    error = cls("It broke.", hint="Mend it.", symbol="BTC/USDT", nested={"rows": [1, 2]})
    error.add_note("while loading")
    for same in (*(pickle.loads(pickle.dumps(error, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)), copy.deepcopy(error)):
        assert type(same) is cls
        assert str(same) == str(error)
        assert (same.message, same.hint, dict(same.context)) == (error.message, error.hint, dict(error.context))
        assert same.args == error.args
        assert same.__notes__ == ["while loading"]


def test_an_error_comes_back_whole_from_another_process():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        error = pool.submit(Timeframe, "7x").exception()
    assert type(error) is InvalidTimeframe
    assert error.message.startswith("'7x' is not a timeframe")
    assert (error.context["timeframe"], error.hint) == ("7x", str(error).splitlines()[1])


def test_the_context_can_not_be_changed():
    error = InvalidOption("No.", option="x")
    with pytest.raises(TypeError):
        error.context["option"] = "y"


def test_a_quality_error_carries_its_report():
    assert QualityError("Bad.", report="the report").report == "the report"
    assert QualityError("Bad.").report is None
