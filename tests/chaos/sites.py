"""Where the code commits, answers and reports: found in its source, and told apart while it runs.

A place is the outermost function that has a transaction run (``service.actions.jobs.submit``, say),
whatever helpers are in between. What ``derived`` finds are the places that the fault loop has to
play; a test holds the two together, so that nobody adds a commit that no fault ever meets.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

ROOT = Path(__file__).parents[2]
CALLS = {"transact", "attached", "stage"}  # what runs transactions
HELPERS = {  # of an attempt: what runs them for others
    f"worker.attempt.Attempt.{name}"
    for name in ("_write", "_end", "_attached", "_deliver", "_committed", "_commit", "_staging")
}
PLUMBING = {  # between a place and its commit
    "service.api.idempotency.Once",
    "service.faults",
    "service.store.blobs._stage_chunk",
    "service.store.blobs._stage_chunks",
    "service.store.blobs.attach",
    "service.store.blobs.attached",
    "service.store.blobs.discard",
    "service.store.blobs.stage",
    "service.store.database",
    "service.store.transitions",
    *HELPERS,
}
OF_HELPERS = {name.rpartition(".")[2] for name in HELPERS}


def derived():
    """Return every place in the source that has a transaction run."""
    found = set()
    for path in _modules("service", "worker"):
        module = _dotted(path)
        called = CALLS | OF_HELPERS if module.startswith("worker.") else CALLS
        for name, body in _outermost(ast.parse(path.read_text())):
            place = f"{module}.{name}"
            if not _is_plumbing(place) and any(_called(node) in called for node in ast.walk(body)):
                found.add(place)
    return found


def bare_commits():
    """Return the functions that commit by themselves: all others leave it to ``Database``."""
    found = set()
    for path in _modules("service", "worker"):
        for name, body in _outermost(ast.parse(path.read_text())):
            calls = [node for node in ast.walk(body) if isinstance(node, ast.Call)]
            if any(_called(call) in ("commit", "begin") and not call.args for call in calls):
                found.add(f"{_dotted(path)}.{name}")
    return found


def kinds(*names):
    """Return the kinds of message that a trainer sends by the methods of these names."""
    return {
        node.args[0].value
        for path in _modules("worker/trainer")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _called(node) in names
        if node.args and isinstance(node.args[0], ast.Constant)
    }


def caller():
    """Return the place that has reached a point, seen from within."""
    frame = inspect.currentframe()
    while frame is not None:
        spec = frame.f_globals.get("__spec__")  # knows what ``__main__`` is called otherwise
        module = spec.name if spec else ""
        place = f"{module}.{frame.f_code.co_qualname.partition('.<locals>')[0]}"
        if place.startswith(("service.", "worker.")) and not _is_plumbing(place):
            return place
        frame = frame.f_back
    return ""


def _is_plumbing(place):
    return any(place == one or place.startswith(f"{one}.") for one in PLUMBING)


def _modules(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def _dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _outermost(tree):
    """Yield the functions of a module and the methods of its classes, with their names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def _called(node):
    if not isinstance(node, ast.Call):
        return None
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", None)
