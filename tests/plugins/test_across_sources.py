"""Plugins that cut across sources: they wrap, check, hear and add; broken ones are left out and harm nobody."""

from __future__ import annotations

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.errors import PluginBroken, PluginIncompatible, SourceError
from cracktrader.plugins import registry as registry_module

BARS = ct.Bars([0, 60_000, 120_000], [1, 2, 3], [2, 3, 4], [1, 2, 3], [2, 3, 4], [1, 1, 1], symbol="BTC/USDT", timeframe="1m")


def load(registry, **options) -> ct.Bars:
    return ct.load("memory", bars=BARS, symbol="BTC/USDT", timeframe="1m", registry=registry, **options)


@pytest.fixture
def registry():
    """The core's memory source, and no plugin but what a test adds."""
    made = ct.Registry(entry_points=lambda group: (), environ={})
    made.register("memory", ct.default_registry().load("memory"))
    return made


class Doubler:
    """Wraps fetch_bars of every source: twice the volume."""

    @ct.hookimpl(wrapper=True)
    def fetch_bars(self, request):
        chunks = yield
        return (chunk.but(volume=chunk.volume * 2) for chunk in chunks)


class Listener:
    def __init__(self) -> None:
        self.heard = []

    @ct.hookimpl
    def bars_loaded(self, bars, report):
        self.heard.append((len(bars), report))


# ── what they can do ─────────────────────────────────────────────────────────────────────────────────


def test_a_wrapper_wraps_the_fetches_of_every_source(registry) -> None:
    registry.add_plugin("doubler", Doubler())

    class Other(ct.DataSource):
        api = ct.API

        @ct.hookimpl
        def fetch_bars(self, request):
            return [BARS]

    assert load(registry).volume.tolist() == [2.0, 2.0, 2.0]
    assert ct.load(Other, symbol="BTC/USDT", timeframe="1m", registry=registry).volume.tolist() == [2.0, 2.0, 2.0]


def test_wrappers_of_two_plugins_both_wrap(registry) -> None:
    registry.add_plugin("one", Doubler())
    registry.add_plugin("two", Doubler())
    assert load(registry).volume.tolist() == [4.0, 4.0, 4.0]


def test_one_object_under_two_names_wraps_once(registry) -> None:
    doubler = Doubler()
    registry.add_plugin("one", doubler)
    registry.add_plugin("two", doubler)
    assert load(registry).volume.tolist() == [2.0, 2.0, 2.0]


def test_a_plugin_that_is_called_like_a_source_wraps_it_too(registry) -> None:
    registry.add_plugin("memory", Doubler())
    assert load(registry).volume.tolist() == [2.0, 2.0, 2.0]


def test_a_wrapper_sees_the_request_and_the_failure(registry) -> None:
    seen = []

    class Watcher:
        @ct.hookimpl(wrapper=True)
        def fetch_bars(self, request):
            seen.append(request.symbol)
            try:
                return (yield)
            except ct.CracktraderError as error:
                seen.append(error.code)
                raise

    registry.add_plugin("watcher", Watcher())
    with pytest.raises(ct.CracktraderError, match="no symbol 'DOGE'"):
        ct.load("memory", bars=BARS, symbol="DOGE", timeframe="1m", registry=registry)
    assert seen == ["DOGE", "CT203"]


def test_a_source_offers_its_own_hooks_only_not_what_wraps_them(registry) -> None:
    class Wrapper:
        @ct.hookimpl(wrapper=True)
        def server_time(self):
            return (yield)

    registry.add_plugin("wrapper", Wrapper())
    opened = registry.source("memory", bars=BARS)
    assert not opened.offers("server_time")
    assert opened.offers("list_symbols")


def test_a_plugin_adds_a_check_that_every_load_runs(registry) -> None:
    @ct.check("round_open", severity="info")
    def round_open(bars):
        """the open is a whole number"""
        return bars.open == bars.open.round()

    class Checks:
        @ct.hookimpl
        def quality_checks(self):
            return [round_open]

    registry.add_plugin("checks", Checks())
    assert load(registry).report["round_open"].count == 3


def test_a_plugin_hears_of_every_load(registry) -> None:
    listener = Listener()
    registry.add_plugin("listener", listener)
    loaded = load(registry)
    load(registry, limit=1)
    assert [rows for rows, _ in listener.heard] == [3, 1]
    assert listener.heard[0][1].rows_in == loaded.report.rows_in


def test_a_plugin_adds_a_command(site) -> None:
    site.plugin("greeter", """
        import cracktrader as ct

        class Plugin:
            api = (1, 0)

            @ct.hookimpl
            def cli_commands(self, app):
                @app.command()
                def greet():
                    print("good morning")
    """)  # fmt: skip
    said = site.run("""
        import sys
        from cracktrader.cli import main
        sys.argv = ["cracktrader", "greet"]
        try: main()
        except SystemExit as done: assert not done.code, done.code
    """)
    assert "good morning" in said


def test_a_package_adds_a_command_that_nothing_else_imports(site) -> None:
    site.module("greeter_module", "def greet(name: str = 'all'):\n    print('good morning', name)\n")
    site.dist("greeter-dist", "[cracktrader.commands]\ngreet = greeter_module:greet\n")
    said = site.run("""
        import sys
        import cracktrader as ct
        from cracktrader.cli import main
        ct.default_registry().plugins()
        assert "greeter_module" not in sys.modules
        sys.argv = ["cracktrader", "greet", "--name", "Ada"]
        try: main()
        except SystemExit as done: assert not done.code, done.code
    """)
    assert "good morning Ada" in said


def test_a_command_that_is_broken_is_told(site) -> None:
    site.module("greeter_module", "import no_such_library\n")
    site.dist("greeter-dist", "[cracktrader.commands]\ngreet = greeter_module:greet\n")
    site.run("""
        import io, sys
        from cracktrader.cli import main
        sys.argv, sys.stderr = ["cracktrader", "greet"], io.StringIO()
        try: main()
        except SystemExit as done: assert done.code == 3, done.code
        assert "needs the module 'no_such_library'" in sys.stderr.getvalue(), sys.stderr.getvalue()
    """)


def test_an_installed_plugin_may_be_a_class_an_object_or_a_module(site, monkeypatch) -> None:
    hook = "import cracktrader as ct\napi = (1, 0)\nheard = []\n@ct.hookimpl\ndef bars_loaded(bars): heard.append(len(bars))\n"
    of_class = (
        "import cracktrader as ct\nheard = []\nclass Plugin:\n    api = (1, 0)\n    @ct.hookimpl\n"
        "    def bars_loaded(self, bars): heard.append(len(bars))\n"
    )
    site.plugin("a_module", hook, value="a_module_module")
    site.plugin("a_class", of_class)
    site.plugin("an_object", of_class + "plugin = Plugin()\n", value="an_object_module:plugin")
    registry = ct.Registry(environ={})
    load(registry)
    heard = {name: sys.modules[f"{name}_module"].heard for name in ("a_module", "a_class", "an_object")}
    assert heard == {"a_module": [3], "a_class": [3], "an_object": [3]}


# ── broken ones ──────────────────────────────────────────────────────────────────────────────────────


def plugin(body: str = "@ct.hookimpl\ndef bars_loaded(self): pass", api: str = "api = (1, 0)") -> str:
    """The code of a module with a class Plugin."""
    lines = "\n".join(f"    {line}" for line in f"{api}\n{body}".splitlines())
    return f"import cracktrader as ct\nclass Plugin:\n{lines}\n"


BROKEN = {
    "raises": ("raise RuntimeError('boom')", "can't be loaded: RuntimeError: boom"),
    "exits": ("raise SystemExit", "can't be loaded: SystemExit"),
    "needs": ("import no_such_library", "needs the module 'no_such_library'"),
    "no_api": (plugin(api=""), "does not say which plugin API"),
    "new_api": (plugin(api="api = (1, 99)"), "was written for plugin API 1.99"),
    "init": (plugin("def __init__(self): raise OSError('no room')"), "could not be made: OSError: no room"),
    "no_hook": (plugin("def other(self): pass"), "implements no hook"),
    "unmarked": (plugin("def bars_loaded(self): pass"), "isn't marked as a hook"),
    "misspelt": (plugin("@ct.hookimpl\ndef bars_loded(self): pass"), "has a hook bars_loded, which does not exist"),
    "no_wrapper": (plugin("@ct.hookimpl\ndef fetch_bars(self): pass"),
                   "would stand in the place of every source: its fetch_bars is no wrapper"),
    "number": ("Plugin = 42", "does not say which plugin API"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_left_out_with_a_warning(site, name) -> None:
    code, said = BROKEN[name]
    site.plugin(name, code)
    registry = ct.Registry(environ={})
    with pytest.warns(ct.PluginWarning) as caught:
        loaded = load(registry)
    assert len(loaded) == 3
    message = "\n".join(str(warning.message) for warning in caught)
    assert said in message
    assert f"{name}-dist" in message
    assert "left out" in message


def test_all_of_them_together_are_left_out_and_a_good_one_works(site) -> None:
    for name, (code, _) in BROKEN.items():
        site.plugin(name, code)
    good = site.plugin("good", plugin())
    registry = ct.Registry(environ={})
    with pytest.warns(ct.PluginWarning) as caught:
        plugins = registry.plugins()
    assert len(caught) == len(BROKEN)
    assert [name for name in plugins if name.endswith(("good", *BROKEN))] == [good]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.plugins().keys() == plugins.keys()  # said once


def test_where_warnings_are_errors_the_good_ones_are_loaded_all_the_same(site) -> None:
    site.plugin("a_bad_one", "raise RuntimeError")
    good = site.plugin("good", plugin())
    registry = ct.Registry(environ={})
    with pytest.raises(ct.PluginWarning):
        registry.plugins()
    assert good in registry.plugins()


@pytest.mark.parametrize("name", ["no_hook", "unmarked", "misspelt", "no_wrapper"])
def test_a_broken_plugin_added_by_hand_is_an_error(registry, name) -> None:
    namespace = {}
    exec(BROKEN[name][0], namespace)
    with pytest.raises(PluginBroken, match=BROKEN[name][1]) as caught:
        registry.add_plugin(name, namespace["Plugin"]())
    assert caught.value.hint


def test_a_plugin_added_by_hand_may_leave_out_the_api_but_not_say_a_wrong_one(registry) -> None:
    listener = Listener()
    registry.add_plugin("without", listener)
    listener.api = (2, 0)
    with pytest.raises(PluginIncompatible, match=r"The plugin 'with' .* API 2\.0"):
        registry.add_plugin("with", listener)


def test_a_plugin_of_the_same_name_takes_the_place_of_the_first(registry) -> None:
    first, second = Listener(), Listener()
    registry.add_plugin("listener", first)
    registry.add_plugin("listener", second)
    load(registry)
    assert (len(first.heard), len(second.heard)) == (0, 1)


def test_denied_plugins_are_not_imported(site) -> None:
    site.plugin("endless", "while True: pass")
    registry = ct.Registry(environ={"CRACKTRADER_DENY_PLUGINS": "endless"})
    assert "endless-dist:endless" not in registry.plugins()
    assert "endless-dist:endless" not in ct.Registry(environ={"CRACKTRADER_ALLOW_PLUGINS": "memory"}).plugins()


# ── failing at work ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [RuntimeError("deaf"), SystemExit(1)], ids=["an exception", "an exit"])
def test_one_that_fails_to_hear_harms_neither_the_load_nor_the_others(registry, error) -> None:
    class Deaf:
        @ct.hookimpl
        def bars_loaded(self, bars):
            raise error

    before, after = Listener(), Listener()
    for name, plugin in {"before": before, "deaf": Deaf(), "after": after}.items():
        registry.add_plugin(name, plugin)
    with pytest.warns(ct.PluginWarning, match=f"The plugin 'deaf' failed in bars_loaded: {type(error).__name__}"):
        loaded = load(registry)
    assert (len(loaded), len(before.heard), len(after.heard)) == (3, 1, 1)


def good_check():
    return ct.check("doubtful")(lambda bars: np.ones(len(bars), np.bool_))


def raising(bars):
    raise ZeroDivisionError("no idea")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: 1 / 0, "failed in quality_checks: ZeroDivisionError"),
        (lambda: 5, "failed in quality_checks: TypeError"),
        (lambda: ["text"], "failed in quality_checks: TypeError: 'text' is not a check"),
        (lambda: (1 / 0 for _ in range(2)), "failed in quality_checks: ZeroDivisionError"),
        (lambda: [ct.check("silly")(raising)], "has a check 'silly' that failed: ZeroDivisionError: no idea"),
        (lambda: [ct.check("silly")(lambda bars: [1, 2])], "has a check 'silly' that failed: TypeError: it returned int"),
        (lambda: [ct.check("silly")(lambda bars: None)], "has a check 'silly' that failed: TypeError: it returned object"),
    ],
    ids=["raises", "no list", "no check", "raises half-way", "raising check", "check without a mask", "check without an answer"],
)  # fmt: skip
def test_checks_of_a_plugin_that_fail_are_warned_about_and_find_nothing(registry, answer, said) -> None:
    class Bad:
        @ct.hookimpl
        def quality_checks(self):
            return answer()

    class Good:
        @ct.hookimpl
        def quality_checks(self):
            return [good_check()]

    registry.add_plugin("bad", Bad())
    registry.add_plugin("good", Good())
    with pytest.warns(ct.PluginWarning, match="The plugin 'bad'") as caught:
        loaded = load(registry)
    assert said in str(caught[0].message)
    assert loaded.report["doubtful"].count == 3
    assert "silly" not in loaded.report.findings or not loaded.report["silly"].count


class Checks:
    """A plugin with one check."""

    def __init__(self, check) -> None:
        self.check = check

    @ct.hookimpl
    def quality_checks(self):
        return [self.check]


def test_of_two_plugins_with_a_check_of_one_name_the_second_is_left_out_with_a_warning(registry) -> None:
    registry.add_plugin("first", Checks(good_check()))
    registry.add_plugin("second", Checks(ct.check("doubtful")(lambda bars: np.zeros(len(bars), np.bool_))))
    with pytest.warns(ct.PluginWarning, match="The plugin 'second' has a check 'doubtful' that was left out"):
        loaded = load(registry)
    assert loaded.report["doubtful"].count == 3


def test_one_check_that_two_plugins_and_the_user_ask_for_is_run_once(registry) -> None:
    seen = []

    @ct.check("watched")
    def watched(bars):
        seen.append(len(bars))
        return np.ones(len(bars), np.bool_)

    registry.add_plugin("first", Checks(watched))
    registry.add_plugin("second", Checks(watched))
    assert load(registry).report["watched"].count == 3
    assert seen == [3]
    assert load(registry, validation=ct.Validation(checks=[watched])).report["watched"].count == 3
    assert seen == [3, 3]


def test_a_wrapper_that_fails_is_blamed_itself_not_the_source(site) -> None:
    wrapper = """
        import cracktrader as ct

        class Plugin:
            api = (1, 0)

            @ct.hookimpl(wrapper=True)
            def fetch_bars(self, request):
                chunks = yield
                return helper(chunks)

        def helper(chunks):
            for chunk in chunks:
                raise KeyError("colour")
                yield chunk
    """
    full_name = site.plugin("painter", wrapper)
    with pytest.raises(PluginBroken) as caught:
        load(ct.Registry(environ={}))
    assert str(caught.value) == (
        "The plugin 'painter-dist:painter', which wraps the calls of the source 'memory', failed: KeyError: 'colour'\n"
        "This is a fault in that plugin. To do without it, set CRACKTRADER_DENY_PLUGINS=painter-dist:painter"
    )
    assert len(load(ct.Registry(environ={"CRACKTRADER_DENY_PLUGINS": full_name}))) == 3


def test_a_source_that_fails_within_a_wrapper_is_blamed_itself(site) -> None:
    site.plugin("honest", """
        import cracktrader as ct

        class Plugin:
            api = (1, 0)

            @ct.hookimpl(wrapper=True)
            def fetch_bars(self, request):
                chunks = yield
                return (chunk for chunk in chunks)
    """)  # fmt: skip
    site.source("failing", site.good.replace("minutes = ", "raise KeyError('page')\n            minutes = "))
    with pytest.raises(SourceError, match="The source 'failing' failed: KeyError: 'page'") as caught:
        ct.load("failing", symbol="x", timeframe="1m", registry=ct.Registry(environ={}))
    assert "failing-dist 1.0" in caught.value.hint


# ── threads, and being asked while loading ───────────────────────────────────────────────────────────


def test_plugins_are_loaded_once_and_whole_whoever_asks_first(site) -> None:
    for name in ("one", "two", "three"):
        site.plugin(name, f"""
            import builtins
            import cracktrader as ct
            builtins.made_plugins = [*getattr(builtins, "made_plugins", []), "{name}"]

            class Plugin:
                api = (1, 0)

                @ct.hookimpl
                def bars_loaded(self): pass
        """)  # fmt: skip
    import builtins

    registry = ct.Registry(environ={})
    together = threading.Barrier(8, timeout=60)

    def ask(_: int) -> set[str]:
        together.wait()
        return set(registry.plugins())

    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(8)))
        assert sorted(builtins.made_plugins) == ["one", "three", "two"]
    finally:
        del builtins.made_plugins
    assert all(answer == answers[0] for answer in answers)
    assert {"one-dist:one", "two-dist:two", "three-dist:three"} <= answers[0]


def test_a_plugin_that_loads_bars_while_it_is_imported_does_not_go_round_in_circles(site) -> None:
    site.plugin("eager", """
        import cracktrader as ct
        bars = ct.Bars([0], [1], [1], [1], [1], [1], symbol="x", timeframe="1m")
        loaded = ct.load("memory", bars=bars, symbol="x", timeframe="1m")

        class Plugin:
            api = (1, 0)

            @ct.hookimpl
            def bars_loaded(self, bars):
                print("heard", len(bars))
    """)  # fmt: skip
    said = site.run("""
        import cracktrader as ct
        bars = ct.Bars([0], [1], [1], [1], [1], [1], symbol="x", timeframe="1m")
        ct.load("memory", bars=bars, symbol="x", timeframe="1m")
    """)
    assert said.split() == ["heard", "1"]


def test_the_default_registry_is_one() -> None:
    assert ct.default_registry() is ct.default_registry() is registry_module.default_registry()
