"""Plugins that are wrong in every way we could think of, installed for real: each is an error for whoever names it, only."""

from __future__ import annotations

import pickle

import pytest

import cracktrader as ct
from cracktrader.errors import (
    CracktraderError,
    PluginBroken,
    PluginDependencyMissing,
    PluginError,
    PluginIncompatible,
)
from cracktrader.plugins import hookspec
from cracktrader.plugins import registry as registry_module

MAJOR, MINOR = ct.API


def source(body: str, before: str = "import cracktrader as ct") -> str:
    """The code of a module with a class Source of this body."""
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    return f"{before}\nclass Source(ct.DataSource):\n{lines}\n"


SAYS = f"api = {ct.API}\n"
FETCH = "@ct.hookimpl\ndef fetch_bars(self, request):\n    return []\n"

#: What is wrong: the module's code, the error of naming the source, and what it must say.
HOSTILE: dict[str, tuple[str, type[PluginError], tuple[str, ...]]] = {
    # at import
    "raises": ("raise RuntimeError('boom at import')", PluginBroken, ("can't be loaded: RuntimeError: boom at import",)),
    "exits": ("import sys\nsys.exit('good bye')", PluginBroken, ("SystemExit: good bye",)),
    "needs": ("import no_such_library.inner", PluginDependencyMissing,
              ("is installed (needs-dist 1.0 (needs_module:Source)), but it needs the module 'no_such_library'",
               "Run: pip install --upgrade needs-dist")),
    "incomplete": ("import incomplete_module.part", PluginBroken, ("incomplete_module",)),
    "unparsable": ("def (:", PluginBroken, ("SyntaxError",)),
    "empty": ("", PluginBroken, ("AttributeError", "'Source'")),
    "newer_core": ("from cracktrader.errors import NotYetInvented", PluginIncompatible,
                   ("needs something that this cracktrader does not have", "NotYetInvented",
                    "pip install --upgrade cracktrader-core")),
    "newer_core_lazy": ("from cracktrader import not_yet_invented", PluginIncompatible, ("not_yet_invented",)),
    "newer_core_module": ("import cracktrader.telepathy", PluginIncompatible, ("cracktrader.telepathy",)),
    # what is loaded
    "number": ("Source = 42", PluginBroken, ("is an object of type int, which is not derived from cracktrader.DataSource",)),
    "function": ("def Source(): return 1", PluginBroken, ("is an object of type function",)),
    "other_class": ("class Source: api = (1, 0)", PluginBroken, ("is the class Source, which is not derived",)),
    "instance": (source(f"{SAYS}{FETCH}") + "Source = Source()", PluginBroken, ("is an object of type Source",)),
    "config": (source(f"{SAYS}Config = dict\n{FETCH}"), PluginBroken, ("are no pydantic model", "SourceConfig")),
    # the handshake
    "no_api": (source(FETCH), PluginBroken, ("does not say which plugin API", "write `api = (1, 0)` into it")),
    "text_api": (source(f"api = '1.0'\n{FETCH}"), PluginBroken, ("written for: '1.0' is no pair of numbers",)),
    "list_api": (source(f"api = [1, 0]\n{FETCH}"), PluginBroken, (": [1, 0] is no pair of numbers",)),
    "bool_api": (source(f"api = (True, False)\n{FETCH}"), PluginBroken, ("is no pair of numbers",)),
    "negative_api": (source(f"api = (1, -1)\n{FETCH}"), PluginBroken, ("is no pair of numbers",)),
    "older_major": (source(f"api = ({MAJOR - 1}, 9)\n{FETCH}"), PluginIncompatible,
                    (f"was written for plugin API {MAJOR - 1}.9; this cracktrader offers {MAJOR}.{MINOR}, which is newer",
                     "Run: pip install --upgrade older_major-dist")),
    "newer_minor": (source(f"api = ({MAJOR}, {MINOR + 1})\n{FETCH}"), PluginIncompatible,
                    ("which is older", "Run: pip install --upgrade cracktrader-core")),
    "newer_major": (source(f"api = ({MAJOR + 1}, 0)\n{FETCH}"), PluginIncompatible, ("which is older",)),
    # hooks
    "unmarked": (source(f"{SAYS}def fetch_bars(self, request): return []"), PluginBroken,
                 ("has a method fetch_bars that isn't marked as a hook, so it would never be called", "@ct.hookimpl")),
    "unmarked_close": (source(f"{SAYS}{FETCH}\ndef close(self): pass"), PluginBroken, ("has a method close",)),
    "misspelt": (source(f"{SAYS}{FETCH}\n@ct.hookimpl\ndef list_symbol(self): return []"), PluginBroken,
                 ("has a hook list_symbol, which does not exist", "Did you mean list_symbols?", "server_time")),
    "argument": (source(f"{SAYS}@ct.hookimpl\ndef fetch_bars(self, request, colour): return []"), PluginBroken,
                 ("has a hook that can't be called: fetch_bars(request, colour)", "colour")),
    "no_fetch": (source(SAYS), PluginBroken, ("has no fetch_bars hook, which every source needs",)),
    "not_a_wrapper": (source(f"{SAYS}@ct.hookimpl(wrapper=True)\ndef fetch_bars(self, request): return []"), PluginBroken,
                      ("generator",)),
    # making one
    "init": (source(f"{SAYS}{FETCH}\ndef __init__(self, config): raise OSError('no room')"), PluginBroken,
             ("could not be made: OSError: no room",)),
    "init_exit": (source(f"{SAYS}{FETCH}\ndef __init__(self, config): raise SystemExit"), PluginBroken, ("SystemExit",)),
    "signature": (source(f"{SAYS}{FETCH}\ndef __init__(self): pass"), PluginBroken, ("TypeError",)),
    "init_needs": (source(f"{SAYS}{FETCH}\ndef __init__(self, config): import no_such_library"), PluginDependencyMissing,
                   ("'no_such_library'",)),
    "abstract": (source(f"{SAYS}{FETCH}\n@abc.abstractmethod\ndef f(self): pass", "import abc, cracktrader as ct").replace(
                 "(ct.DataSource)", "(ct.DataSource, abc.ABC)"), PluginBroken, ("f",)),
    "validator": (source(f"""
api = {ct.API}
class Config(ct.SourceConfig):
    @pydantic.model_validator(mode="before")
    @classmethod
    def _look(cls, values): return values["path"]
{FETCH}""", "import pydantic, cracktrader as ct"), PluginBroken, ("failed over its options: KeyError: 'path'",)),
}  # fmt: skip
#: Faults that only show when a source is made, which a check of the installation does not do.
ONLY_WHEN_MADE = {"init", "init_exit", "signature", "init_needs", "validator"}


@pytest.mark.parametrize("name", HOSTILE)
def test_naming_a_hostile_source_is_an_error_that_says_what_and_what_to_do(site, registry, name) -> None:
    code, kind, said = HOSTILE[name]
    site.source(name, code)
    with pytest.raises(PluginError) as caught:
        registry.source(name)
    error = caught.value
    assert type(error) is kind
    for text in said:
        assert text in str(error), str(error)
    assert f"{name}-dist" in str(error), str(error)
    assert "pip install --upgrade " in error.hint
    assert error.context["source"] == name
    assert "\n" not in error.message
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("broken_module", "is an object of type module, which is not derived"),
        ("broken_module:", "not of the form 'package.module:Class'"),
        (":Source", "not of the form"),
        ("not a module:Source", "can't be loaded"),
        ("no_such_module:Source", "No module named 'no_such_module'"),
        ("broken_module:Missing.Inner", "Missing"),
    ],
)
def test_an_entry_point_that_leads_nowhere_is_broken(site, registry, value, said) -> None:
    site.source("broken", value=value)
    with pytest.raises(PluginBroken, match=said) as caught:
        registry.source("broken")
    assert "pip install --upgrade " in caught.value.hint
    assert "broken-dist" in caught.value.hint


def test_all_of_them_together_harm_neither_the_listing_nor_the_check_nor_another_source(site, registry, fetch) -> None:
    for name, (code, _, _) in HOSTILE.items():
        site.source(name, code)
    site.source("good")

    listed = {entry.name for entry in registry.entries()}
    outcomes = {entry.name: error for entry, error in registry.check()}

    assert {*HOSTILE, "good", "memory"} <= listed == set(outcomes)
    found = {name: type(outcomes[name]) for name in HOSTILE if name not in ONLY_WHEN_MADE}
    assert found == {name: kind for name, (_, kind, _) in HOSTILE.items() if name not in ONLY_WHEN_MADE}
    assert outcomes["good"] is None
    assert outcomes["memory"] is None
    assert len(fetch("good")) == 10


def test_a_keyboard_interrupt_is_nobodys_fault_and_goes_through(site, registry) -> None:
    site.source("interrupted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry.load("interrupted")


def test_a_source_that_failed_to_import_works_when_it_was_repaired(site, registry, fetch) -> None:
    site.source("tick", "raise RuntimeError('half written')")
    with pytest.raises(PluginBroken):
        fetch("tick")
    site.module("tick_module", site.good)
    assert len(fetch("tick")) == 10


def test_attributes_that_fail_or_cost_are_not_touched_by_looking_for_hooks(site, registry, fetch) -> None:
    site.source("touchy", site.good + """
        @property
        def connection(self):
            raise RuntimeError("touched")

        @property
        def list_symbols(self):
            raise RuntimeError("touched")

        def __getattr__(self, name):
            raise RuntimeError(f"touched {name}")
    """)  # fmt: skip
    assert {entry.name: error for entry, error in registry.check()}["touchy"] is None
    assert len(fetch("touchy")) == 10


def test_hooks_may_be_static_and_class_methods_and_inherited(site, registry, fetch) -> None:
    site.source("parts", """
        import cracktrader as ct
        from parts_base import Base

        class Source(Base):
            api = (1, 0)

            @staticmethod
            @ct.hookimpl
            def list_symbols():
                return ["BTC/USDT"]

            @classmethod
            @ct.hookimpl
            def server_time(cls):
                return 2_000_000_000_000
    """)  # fmt: skip
    site.module("parts_base", site.good.replace("api = (1, 0)", "").replace("class Source", "class Base"))
    opened = registry.source("parts")
    assert (opened.symbols(), opened.now()) == (("BTC/USDT",), 2_000_000_000_000)
    assert len(fetch("parts")) == 10


# ── the API may grow ─────────────────────────────────────────────────────────────────────────────────


def test_a_source_of_an_older_minor_api_works_with_a_newer_core(site, registry, fetch, monkeypatch) -> None:
    site.source("tick")
    monkeypatch.setattr(registry_module, "API", (MAJOR, MINOR + 3))
    assert len(fetch("tick")) == 10


class GrownHooks(hookspec.SourceHooks):
    """The spec of a later minor version, whose fetch_bars has one argument more."""

    @hookspec._spec(firstresult=True)
    def fetch_bars(self, request, hurry):
        """As before, and in a hurry."""


@pytest.mark.parametrize(
    ("code", "arguments"),
    [("def fetch_bars(self, request): return ['request']", "request"), ("def fetch_bars(self): return ['nothing']", "nothing"),
     ("def fetch_bars(self, hurry, request): return ['hurry']", "hurry")],
)  # fmt: skip
def test_the_spec_can_grow_an_argument_and_implementations_that_do_not_name_it_go_on(monkeypatch, code, arguments) -> None:
    namespace = {"ct": ct}
    exec(source(f"{SAYS}@ct.hookimpl\n{code}"), namespace)
    monkeypatch.setattr("cracktrader.plugins.source.SourceHooks", GrownHooks)
    monkeypatch.setattr("cracktrader.plugins.hooking.SourceHooks", GrownHooks)
    opened = ct.Registry(entry_points=lambda group: ()).source(namespace["Source"])
    assert opened.call("fetch_bars", request=None, hurry=True) == [arguments]


def test_an_implementation_names_only_the_arguments_that_it_wants(registry) -> None:
    class Lazy(ct.DataSource):
        api = ct.API

        @ct.hookimpl
        def fetch_bars(self):
            return []

    assert not list(registry.source(Lazy).bars(ct.BarRequest("x", "1m")))


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_class_registered_by_hand_shadows_an_installed_one(site, registry) -> None:
    site.source("tick", "raise RuntimeError('not me')")

    class Mine(ct.DataSource):
        api = ct.API

        @ct.hookimpl
        def fetch_bars(self, request):
            return []

    registry.register("tick", Mine)
    assert registry.load("tick") is Mine
    assert registry.source("tick").origin.entry_point.endswith("Mine")
    outcomes = {entry.full_name: error for entry, error in registry.check()}
    assert outcomes["tick"] is None
    assert isinstance(outcomes["tick-dist:tick"], PluginBroken)


@pytest.mark.parametrize("thing", [42, "text", dict, object()])
def test_what_is_no_source_can_not_be_registered_or_used(registry, thing) -> None:
    with pytest.raises(PluginBroken, match=r"not derived from cracktrader\.DataSource"):
        registry.register("thing", thing)
    if not isinstance(thing, str):
        with pytest.raises(CracktraderError, match="is not a source"):
            registry.source(thing)


def test_options_for_a_source_that_is_configured_are_refused(site, registry) -> None:
    site.source("tick")
    opened = registry.source("tick")
    assert registry.source(opened) is opened
    with pytest.raises(CracktraderError, match="configured already; colour, size can't be changed"):
        registry.source(opened, colour="red", size=3)
