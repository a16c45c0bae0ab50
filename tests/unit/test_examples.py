"""The examples, as somebody would start them, with little to do."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def lines_of(example, *arguments):
    """What an example prints; it ends well and has nothing to complain about."""
    command = [sys.executable, str(EXAMPLES / example), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.splitlines()


def test_examples_each_file_is_run_by_a_test():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_example*.py"))
    assert all(f'"{path.name}"' in tests for path in EXAMPLES.glob("*.py"))


def test_producer_consumer_each_number_is_factored_once():
    first, *counts = lines_of("producer_consumer.py", 500)
    made, one, other = map(int, re.findall(r"\d+", first))
    assert made == one + other == 500
    by_factors = {int(factors): int(many) for many, factors in (re.findall(r"\d+", line) for line in counts)}
    assert sum(by_factors.values()) == 500
    assert by_factors[1] == sum(all(n % d for d in range(2, n)) for n in range(2, 502))  # the primes


def test_parameter_sweep_each_width_is_tried_and_the_best_is_told():
    *tried, best, _ = lines_of("parameter_sweep.py", 10_000)
    errors = dict(re.fullmatch(r"width +(\d+): error (.*)", line).groups() for line in tried)
    assert sorted(map(int, errors)) == list(range(1, 202, 10))
    width, _, least = re.fullmatch(r"best width (\d+): the error falls from (.*) to (.*)", best).groups()
    assert errors[width] == least == min(errors.values())


def test_crawler_every_page_is_found():
    (line,) = lines_of("crawler.py", 40)
    assert line.startswith("40 pages, 40,039 words; ")  # a thousand a page, and one in each link
