"""``python -m tests.simulation.mutants``: take each term out of each guard, and see who notices.

A mutant is the code of ``service.store.transitions`` with one term of one guard gone: ``attempt``,
``hb``, ``step``, ``state`` and the others. Schedules are played with it, and where they find
nothing the tests of the transitions run. One that nobody notices is a guard that nobody tests.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.machinery
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = "service.store.transitions"
TESTS = (
    "test_store_transitions.py",
    "test_store_pausing.py",
    "test_store_guards.py",
    "test_store_parsing.py",
    "test_store_uploads.py",
)
TABLES = {"Job", "JobEvent", "Step", "Model", "Dataset", "Architecture"}
TABLES |= {"Checkpoint", "Part", "Upload", "UploadPart"}
SEEDS = 150
UNPLAYED = {"uploads"}  # by the schedules
# Terms without which nothing changes, as long as the others are there: each says why.
EQUIVALENT = {
    ("guards", "_marked", "JobEvent.job_id == bindparam('job_id')"): (
        "a nonce is one job's: for the index"
    ),
    ("queue", "_mine", "Job.id == bindparam('job_id')"): (
        "an owner's nonce is one job's: for the index"
    ),
    (
        "pausing",
        "pause",
        "Job.state.in_(('queued', 'running'))",
    ): "the row is locked and was read to be one of these",
}
KILLED, SURVIVED = 0, 9


class Mutant(NamedTuple):
    """One term to take out: where it is, and what it says."""

    module: str
    function: str
    line: int
    column: int
    term: str


def find():
    """Return every term of every guard, in the order of the source."""
    return [
        mutant
        for path in sorted((ROOT / PACKAGE.replace(".", "/")).glob("*.py"))
        for mutant in terms(path.stem, path.read_text())
    ]


def terms(module, source):
    """Yield the terms of the guards in a module's source."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and _is_term(node) and _guards(node, parents):
            yield Mutant(
                module, _function(node, parents), node.lineno, node.col_offset, ast.unparse(node)
            )


def _is_term(node):
    """Whether a node compares a column: ``Job.x == y``, ``~Job.x``, ``Job.x.in_(y)``."""
    match node:
        case ast.Compare(left=ast.BinOp(left=column)) | ast.Compare(left=column):
            return _is_column(column)
        case ast.UnaryOp(op=ast.Invert(), operand=ast.Call(func=ast.Attribute(value=column))):
            return _is_column(column)
        case ast.UnaryOp(op=ast.Invert(), operand=ast.Call(func=ast.Name())):
            return True  # ``~_live(…)``: no job is in the way
        case ast.UnaryOp(op=ast.Invert(), operand=column):
            return _is_column(column)
        case ast.Call(func=ast.Attribute(value=column, attr="in_" | "not_in" | "is_")):
            return _is_column(column)
    return False


def _is_column(node):
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in TABLES
    )


def _guards(node, parents):
    """Whether a term decides which rows a statement touches, and not what it makes of them."""
    above = parents[node]
    match above:
        case ast.Tuple():
            return not _calls(parents[above], "case")
        case ast.Call():
            return not _calls(above, "case", "join", "order_by", "change", "update")
        case ast.keyword(arg="also") | ast.IfExp() | ast.Assign():
            return True
    return False


def _calls(node, *names):
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return name in names


def _function(node, parents):
    while not isinstance(node, ast.FunctionDef):
        node = parents[node]
    return node.name


class _Remover(ast.NodeTransformer):
    """Puts ``true()`` in the place of one term."""

    def __init__(self, mutant):
        self._place = (mutant.line, mutant.column, mutant.term)

    def visit(self, node):
        place = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
        if place == self._place[:2] and _is_term(node) and ast.unparse(node) == self._place[2]:
            return ast.parse("__import__('sqlalchemy').true()", mode="eval").body
        return self.generic_visit(node)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a module without the term."""

    mutant = None

    def get_code(self, fullname):
        tree = _Remover(self.mutant).visit(ast.parse(Path(self.path).read_text()))
        return compile(ast.fix_missing_locations(tree), self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant):
        self._name = f"{PACKAGE}.{mutant.module}"
        self._loader = type("Loader", (_Loader,), {"mutant": mutant})

    def find_spec(self, name, path, target=None):
        if name != self._name:
            return None
        file = ROOT / f"{name.replace('.', '/')}.py"
        return importlib.util.spec_from_file_location(
            name, file, loader=self._loader(name, str(file))
        )


def try_one(number, seeds):
    """Run what may notice one mutant, in this process.  Returns: the exit code."""
    mutant = find()[number]
    sys.meta_path.insert(0, _Finder(mutant))
    seeds = 0 if mutant.module in UNPLAYED else seeds
    import pytest

    from tests.simulation.schedule import Failed, play
    from tests.simulation.world import Memory, template

    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(template(Path(folder)))
        for seed in range(seeds):
            try:
                play(memory, seed)
            except Failed as failed:
                print(f"seed {seed}: {failed.why[:60]}")
                return KILLED
    noted = _Noted()
    likely = sorted(TESTS, key=lambda name: name != f"test_store_{mutant.module}.py")
    tests = [str(ROOT / "tests/service" / name) for name in likely]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-k", "not postgres"]
    if pytest.main([*options, *tests], [noted]) == pytest.ExitCode.TESTS_FAILED:
        print(noted.failed)
        return KILLED
    return SURVIVED


class _Noted:
    """Notes the test that failed."""

    failed = ""

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed = report.nodeid.rpartition("::")[2]


def main(arguments):
    """Try all; return the exit code: 1, if one survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="schedules to play with each")
    parser.add_argument("--one", type=int, help="try this one only, here")
    given = parser.parse_args(arguments)
    if given.one is not None:
        return try_one(given.one, given.seeds)
    mutants = find()
    with ThreadPoolExecutor(min(2, os.cpu_count())) as pool:
        tried = pool.map(lambda number: in_process(number, given.seeds), range(len(mutants)))
        survivors = 0
        for mutant, (code, noticed) in zip(mutants, tried, strict=True):
            where = f"{mutant.module}.{mutant.function}"
            by, excuse = noticed, EQUIVALENT.get((mutant.module, mutant.function, mutant.term))
            if code == SURVIVED and excuse:
                by = f"(equivalent: {excuse})"
            elif code != KILLED:
                survivors += 1
                by = f"SURVIVED {noticed}"
            print(f"{where:28} {mutant.term:44} {by}", flush=True)
    print(f"{len(mutants)} mutants, {survivors} survived")
    return int(survivors > 0)


def in_process(number, seeds):
    """Try one in a process of its own.  Returns: its exit code, and who noticed."""
    command = [sys.executable, "-m", "tests.simulation.mutants"]
    done = subprocess.run(
        [*command, "--one", str(number), "--seeds", str(seeds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (done.stdout if done.returncode in (KILLED, SURVIVED) else done.stderr).splitlines()
    return done.returncode, lines[-1] if lines else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
