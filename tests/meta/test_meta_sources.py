"""Sizes, docstrings, leftovers and test names: the bar of the sources, and that each check can fail."""

import ast
import re
import statistics

import docstring_rules
import pytest
import rust_rules
import sources

LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX)\b|\b(todo|unimplemented)!\(")


def test_sources_all_median_below_220_lines():
    lengths = [len(path.read_text().splitlines()) for path in sources.python_sources() + sources.rust_sources()]
    assert statistics.median(lengths) < 220


def test_files_any_kind_at_most_800_lines():
    every = sources.files("*.py", "src", "tests", "benchmarks", "examples", "ci") + sources.rust_sources()
    too_long = [sources.short(path) for path in every if len(path.read_text().splitlines()) > 800]
    assert too_long == []


def percentile_95(lengths):
    return statistics.quantiles(lengths, n=20)[-1] if len(lengths) > 1 else max(lengths, default=0)


@pytest.mark.parametrize(
    ("paths", "measure"),
    [
        (sources.python_sources, sources.python_function_lengths),
        (sources.rust_sources, sources.rust_function_lengths),
    ],
    ids=["python", "rust"],
)
def test_functions_95_percent_below_40_lines(paths, measure):
    lengths = {}
    for path in paths():
        lengths.update(
            {(length, sources.short(path), *key): length for key, length in measure(path.read_text()).items()}
        )
    longest = sorted(lengths, reverse=True)[:10]
    assert percentile_95(list(lengths.values())) < 40, longest


def test_public_functions_all_documented_with_raises_and_units():
    found = [
        f"{sources.short(path)}:{line}: {what}"
        for path in sources.python_sources()
        for line, what in docstring_rules.complaints(path.read_text())
    ]
    assert found == []


def test_sources_all_without_leftovers():
    every = [
        *sources.files("*.py", "src", "examples", "benchmarks", "ci"),
        *sources.files("*.pyi", "src"),
        *sources.rust_sources(),
    ]
    found = [
        f"{sources.short(path)}:{number}: {line.strip()[:80]}"
        for path in every
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if LEFTOVERS.search(line)
    ]
    assert found == []


def says_enough(name):
    """Subject, condition, outcome: three words are the least that can say them."""
    return len(name.removeprefix("test_").split("_")) >= 3


def test_names_of_tests_say_subject_condition_outcome():
    python = [
        (path, node.name, node.lineno)
        for path in sources.files("test_*.py", "tests")
        for node in sources.functions(ast.parse(path.read_text()))
        if node.name.startswith("test_")
    ]
    rust = [(path, *found) for path in sources.rust_sources() for found in rust_rules.test_names(path.read_text())]
    found = [f"{sources.short(path)}:{line}: {name}" for path, name, line in python + rust if not says_enough(name)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def f(): pass", "no docstring"),
        ("class A:\n  def f(self): pass", "A.f has no docstring"),
        ('def f():\n  """Do."""\n  raise ValueError("x")', "no Raises:"),
        ('def f(timeout):\n  """Wait."""', "no unit of the time timeout"),
        ('def f(*, block_bytes):\n  """Make."""', "no unit of the size block_bytes"),
    ],
)
def test_docstring_rules_bad_function_complain(text, complaint):
    assert complaint in docstring_rules.complaints(text)[0][1]


@pytest.mark.parametrize(
    "text",
    [
        "def _f(): raise ValueError",
        'def f():\n  """Do."""\n  def g():\n    raise ValueError',
        'def f(timeout):\n  """Wait so many seconds.\n\n  Raises:\n    ValueError: no.\n  """\n  raise ValueError("x")',
        'def f(error):\n  """Raise what came."""\n  raise error',
    ],
)
def test_docstring_rules_good_function_accept(text):
    assert docstring_rules.complaints(text) == []


def test_function_lengths_braces_in_strings_counted_right():
    rust = "fn one() { \"}\" }\nfn two() {\n    // }\n    let c = '}';\n}\ntrait T { fn none(&self); }\n"
    assert sources.rust_function_lengths(rust) == {("one", 1): 1, ("two", 2): 4}
    assert sources.python_function_lengths('def f():\n    """A.\n\n    B.\n    """\n    return 1\n') == {("f", 1): 2}


def test_leftovers_each_kind_recognised():
    assert all(LEFTOVERS.search(text) for text in ("# TODO: x", "// FIXME x", "todo!()", "unimplemented!(x)"))
