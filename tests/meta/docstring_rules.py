"""The rules of STYLE.md for docstrings, as a function from a module's text to complaints."""

import ast
import re

TIMES = re.compile(r"^(timeout|interval|delay|period|deadline|grace)(_|$)|_(timeout|interval|delay)$")
SIZES = re.compile(r"^(size|nbytes|maxsize|capacity|buffer_?size)$|_(size|bytes)$")
TIME_UNITS = re.compile(r"\b(seconds?|milliseconds?|microseconds?|ms|s)\b")
SIZE_UNITS = re.compile(r"\b(bytes?|KiB|MiB|items?|elements?|characters?|slots?|processes|messages)\b")


def complaints(text):
    """What is missing in the docstrings of a module's public functions: `[(line, what)]`."""
    found = []
    for node, public_name in public_functions(ast.parse(text)):
        doc = ast.get_docstring(node)
        if not doc:
            found.append((node.lineno, f"{public_name} has no docstring"))
            continue
        if raises(node) and "Raises:" not in doc:
            found.append((node.lineno, f"{public_name} raises and its docstring has no Raises:"))
        names = [each.arg for each in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
        for pattern, units, what in ((TIMES, TIME_UNITS, "time"), (SIZES, SIZE_UNITS, "size")):
            of_kind = [name for name in names if pattern.search(name)]
            if of_kind and not units.search(doc):
                found.append((node.lineno, f"{public_name}: no unit of the {what} {', '.join(of_kind)}"))
    return found


def public_functions(tree):
    """Functions and methods that users can name, without overloads and setters, and without special methods."""
    pending = [(tree, "")]
    while pending:
        parent, prefix = pending.pop()
        for node in parent.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                pending.append((node, f"{prefix}{node.name}."))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                decorators = {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
                if not node.name.startswith("_") and decorators.isdisjoint({"overload", "setter", "deleter"}):
                    yield node, prefix + node.name


def raises(function):
    """Whether the function itself raises something by name (re-raising what came from elsewhere does not count)."""
    pending = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Raise) and names_an_error(node.exc):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            pending += ast.iter_child_nodes(node)
    return False


def names_an_error(raised):
    """Whether `raise ...` makes an error; `raise error`, in lower case, hands on what was caught or sent."""
    return isinstance(raised, ast.Call) or (isinstance(raised, ast.Name) and raised.id[:1].isupper())
