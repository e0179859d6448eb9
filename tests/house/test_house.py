"""How the house is built: imports point down, and what is dangerous is done in one place."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from kit import TOP

LEVELS = (
    "cgroup channel durable errors machine process times trust", "states admission outlets traceparent", "job watch index filesystem trouble", "command config retry said stats journal tracer",
    "ledger ways", "whereabouts", "spool", "names roster logs hooks size", "locks", "claim run recorder say", "recovery retention schedule service audit vital shown telling", "arrivals worker sight doctor hands follow events completion metrics exporter",
    "supervisor here screen", "web", "web.problems web.catalogue web.typed web.connection web.history", "web.live web.guard web.undos web.rows web.logfiles",
    "web.deeds", "web.dead", "web.site", "web.looks web.search", "web.api", "web.openapi", "web.app", "web.serve", "__init__", "queuectl",
)  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names.split()}


def named(path):
    """What a file's module is called here: errors, web.guard; a package inside by its name, web."""
    inner = path.relative_to(TOP).with_suffix("").parts[1:] or (path.stem,)
    return ".".join(inner[:-1] if len(inner) > 1 and inner[-1] == "__init__" else inner)


FILES = {named(path): path for path in [*TOP.glob("jobspool/**/*.py"), *TOP.glob("queuectl.py")]}

CHANGES = {  # of os
    "rename", "renames", "replace", "link", "symlink", "unlink", "remove", "rmdir", "removedirs", "mkdir", "makedirs", "mkfifo",
    "mknod", "utime", "chmod", "lchmod", "fchmod", "chown", "lchown", "fchown", "truncate", "ftruncate", "pwrite", "writev",
    "pwritev", "sendfile", "copy_file_range", "setxattr", "fsync", "fdatasync", "sync",
    "O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND",
}  # fmt: skip
CHANGES_OF_PATHS = {"write_text", "write_bytes", "touch", "hardlink_to", "symlink_to"}
CHANGES_OF_TREES = tuple(f"shutil.{word}" for word in ("copy", "move", "rmtree", "chown", "make_archive", "unpack"))
NULL = ("os.open('/dev/null'", "os.open(os.devnull")


def tree(name):
    return ast.parse(FILES[name].read_text())


def runs(node):
    """Yield the nodes that run: all but what only a type checker sees."""
    yield node
    hidden = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    for child in node.orelse if hidden else ast.iter_child_nodes(node):
        yield from runs(child)


def imported(name):
    """The modules that `name` imports, those of ours by their own names."""
    found = set()
    for node in runs(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = "" if node.module == "jobspool" else f"{node.module.removeprefix('jobspool.')}."
            inner = {f"{package}{alias.name}" for alias in node.names} & set(LEVEL)
            found |= inner if node.module.startswith("jobspool") and inner else {node.module}
    return {"__init__" if module == "jobspool" else module.removeprefix("jobspool.") for module in found}


def said(name):
    """The dotted names and the calls in the module, as (line, text, call or None)."""
    nodes = list(runs(tree(name)))
    null = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node).startswith(NULL)]
    harmless = {id(inner) for node in null for inner in ast.walk(node)}
    for node in nodes:
        if id(node) in harmless:
            continue
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield node.lineno, ast.unparse(node), None
        elif isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def opens_for_writing(text, call):
    if call is None or text not in ("open", "io.open", "os.fdopen"):
        return False
    given = call.args[1:2] + [word.value for word in call.keywords if word.arg == "mode"]
    return any(not isinstance(mode, ast.Constant) or set(str(mode.value)) & set("wax+") for mode in given)


def test_every_module_has_its_level():
    assert set(FILES) - set(LEVEL) == set()


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_point_down(name):
    up = {module for module in imported(name) & set(LEVEL) if LEVEL[module] >= LEVEL[name]}
    assert up == set()


@pytest.mark.parametrize("name", sorted(set(FILES) - {"durable"}))
def test_only_durable_changes_the_disk(name):
    changes = {f"os.{word}" for word in CHANGES}
    found = [
        (line, text)
        for line, text, call in said(name)
        if text in changes
        or text.rpartition(".")[2] in CHANGES_OF_PATHS
        or text.startswith(CHANGES_OF_TREES)
        or opens_for_writing(text, call)
    ]
    assert (found, "tempfile" in imported(name)) == ([], False)


@pytest.mark.parametrize("name", sorted(set(FILES) - {"watch"}))
def test_only_watch_knows_watchdog(name):
    assert {module for module in imported(name) if module.split(".")[0] == "watchdog"} == set()


@pytest.mark.parametrize("name", sorted(set(FILES) - {"queuectl"}))
def test_only_the_command_prints_or_exits(name):
    words = {"print", "sys.stdout", "sys.stderr", "sys.exit", "exit", "quit", "SystemExit", "os._exit", "os.abort"}
    if name == "worker":
        words.remove("os._exit")  # of the child it forked, which must not go back into what forked it
    assert [(line, text) for line, text, _ in said(name) if text in words] == []


def test_the_package_imports_nothing_that_only_workers_need():
    heavy = ["watchdog", "ctypes", "subprocess", "dataclasses", "typing", "asyncio", "socket", "pathlib"]
    code = f"import jobspool, sys; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-E", "-c", code], capture_output=True, text=True, cwd=TOP, check=True)
    assert done.stdout.split() == []


def test_the_house_is_seen_through():
    """The looks above find what they are to find: each on a module that has it."""
    assert {"web.guard", "web.serve", "web", "__init__"} <= set(FILES)
    assert {"web.app", "durable", "uvicorn"} <= imported("web.serve") and "web.dead" in imported("web.api")
    assert "watchdog.observers.inotify_c" in imported("watch")
    assert ("os._exit" in {text for _, text, _ in said("worker")}, "claim" in imported("run")) == (True, False)
    assert {"os.rename", "os.unlink", "os.utime"} <= {text for _, text, _ in said("durable")}


def test_no_test_writes_into_the_repositorys_own_spool():
    assert [path.name for path in Path(TOP, "spool").rglob("*.json")] == []
