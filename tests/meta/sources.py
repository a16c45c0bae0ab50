"""Which files the checks of tests/meta look at, and the small tools for reading them."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {"target", ".venv", "__pycache__", "node_modules"}


def files(pattern, *folders):
    """Files below some folders of the repository, without what was built there."""
    found = (path for folder in folders for path in (ROOT / folder).rglob(pattern))
    return sorted(path for path in found if SKIPPED.isdisjoint(path.relative_to(ROOT).parts))


def python_sources():
    """The package's own modules."""
    return files("*.py", "src")


def rust_sources():
    """The crates' sources and tests."""
    return files("*.rs", "rust")


def short(path):
    """A path as it is written in a message."""
    return str(path.relative_to(ROOT))


def functions(tree):
    """All functions of a module's tree, inner ones too."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def python_function_lengths(text):
    """Lines of each function without its docstring and decorators: `{(name, line): lines}`."""
    lengths = {}
    for node in functions(ast.parse(text)):
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        lengths[node.name, node.lineno] = node.end_lineno - body[0].lineno + 2 if body else 1
    return lengths


def rust_code(text):
    """The text with comments, strings and character literals blanked, line for line the same."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\\\'])\'',
        re.DOTALL,
    )
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def rust_function_lengths(text):
    """Lines from each `fn` with a body to its closing brace: `{(name, line): lines}`."""
    code = rust_code(text)
    lengths = {}
    for match in re.finditer(r"\bfn\s+(\w+)", code):
        opening = re.compile(r"[{;]").search(code, match.end())
        if opening is None or opening.group() == ";":
            continue
        depth, end = 0, opening.start()
        for end in range(opening.start(), len(code)):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            if depth == 0:
                break
        line = code.count("\n", 0, match.start()) + 1
        lengths[match.group(1), line] = code.count("\n", 0, end) + 2 - line
    return lengths
