"""Everything that is done with this repository, one session each.

    python3 noxfile.py --list
    python3 noxfile.py -s tests

Python and pip are enough: where nox isn't installed, this file makes it a virtual environment of its own in
``.nox/bootstrap`` and goes on there. With nox installed, ``nox -s tests`` is the same.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent
CORE = "cracktrader-core"
PLUGINS = ("csv", "sql", "http", "ccxt")
SOURCES = [f"{CORE}/src", *(f"plugins/{name}-source/src" for name in PLUGINS)]


def bootstrap() -> None:
    """Make an environment that has nox, once, and run this file there."""
    home = ROOT / ".nox" / "bootstrap"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if subprocess.run([python, "-c", "import nox"], capture_output=True, check=False).returncode if python.exists() else True:
        print("Setting nox up in .nox/bootstrap, once …", flush=True)
        venv.create(home, with_pip=True, clear=True)
        quiet = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*quiet, "nox>=2025.2"], check=True)
        subprocess.run([*quiet, "uv"], check=False, capture_output=True)  # makes the rest faster; can be done without
    environment = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    raise SystemExit(
        subprocess.run([python, "-m", "nox", "-f", __file__, *sys.argv[1:]], env=environment, check=False).returncode
    )


try:
    import nox
except ImportError:
    if __name__ != "__main__":
        raise
    bootstrap()

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "types"]


def group(name: str) -> list[str]:
    """The requirements of a dependency group of the root's pyproject.toml."""
    return list(nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), name))


def editable(*extras: str) -> list[str]:
    """The five distributions, as they stand in the tree."""
    wanted = f"[{','.join(extras)}]" if extras else ""
    return ["-e", f"./{CORE}{wanted}", *(part for name in PLUGINS for part in ("-e", f"./plugins/{name}-source"))]


@nox.session
def demo(session: nox.Session) -> None:
    """The main job: an exchange on this machine, downloaded, kept, checked, repaired, traded (`-- --out DIR` to keep it)."""
    session.install(*editable("plot"))
    session.run("cracktrader", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, and the examples in docstrings and documents."""
    session.install(*editable("plot", "testing"), *group("test"))
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *(session.posargs or ["tests", *SOURCES]))


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def compat(session: nox.Session) -> None:
    """All tests, on every supported Python that is installed."""
    session.install(*editable("plot", "testing"), *group("test"))
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *(session.posargs or ["tests", *SOURCES]))


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, over all five distributions."""
    session.install(*editable("plot", "testing"), *group("types"))
    session.run("mypy", *SOURCES)


def build(session: nox.Session) -> Path:
    """Build the five distributions; the folder that holds their wheels."""
    folder = Path(session.create_tmp()) / "wheels"
    for old in folder.glob("*"):
        old.unlink()
    session.install(*group("build"))
    for project in (CORE, *(f"plugins/{name}-source" for name in PLUGINS)):
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(folder), project, silent=True)
    for archive in folder.glob("*.tar.gz"):
        archive.unlink()  # the wheels were built from these, so they are complete
    return folder


@nox.session
def wheels(session: nox.Session) -> None:
    """Build all five distributions, install the wheels where nothing else is, and test what was installed."""
    folder = build(session)
    python = fresh(session, "installed", *map(str, sorted(folder.glob("*.whl"))), "matplotlib", "pytest>=8")
    check_installed(session, python, "tests/contract", "tests/packaging/test_smoke.py", "tests/packaging/test_extras.py")


@nox.session
def extras(session: nox.Session) -> None:
    """The core alone, and with each extra alone: what works, and what the error says where something is missing."""
    folder = build(session)
    for extra in ("", *PLUGINS):
        wanted = f"cracktrader-core[{extra}]" if extra else "cracktrader-core"
        python = fresh(session, extra or "core", "--find-links", str(folder), wanted, "pytest>=8")
        check_installed(session, python, "tests/packaging/test_extras.py")


def fresh(session: nox.Session, name: str, *requirements: str) -> str:
    """A new environment with only these requirements; its Python."""
    home = Path(session.create_tmp()) / name
    session.run("python", "-m", "venv", "--clear", str(home), silent=True)
    python = str(home / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):  # the same in a tenth of the time
        pip = [uv, "pip", "install", "--quiet", "--python", python]
    session.run(*pip, *requirements, external=True)
    return python


def check_installed(session: nox.Session, python: str, *paths: str) -> None:
    """Run tests with what is installed there, away from the source tree."""
    session.run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths, external=True)


@nox.session
def soak(session: nox.Session) -> None:
    """Live lines through days of random faults in virtual time; prints what was delivered, healed, lost (`-- --seeds N`)."""
    session.install(*editable(), *group("test"))
    session.run("python", "tests/live/soak.py", *session.posargs)
    session.run("pytest", "-q", "tests/live/test_faults.py", env={"CRACKTRADER_SOAK_SEEDS": "40"})
    session.run("python", "tests/ccxt/long_soak.py")  # real ccxt.pro; it has options of its own


@nox.session
def bench(session: nox.Session) -> None:
    """Side-by-side measurements; prints ratios (`-- NAME…` for some of them, `-- --list` for their names)."""
    session.install(*editable("plot"), *group("bench"))
    session.run("python", "benchmarks/run.py", *session.posargs)


if __name__ == "__main__":
    nox.main()
