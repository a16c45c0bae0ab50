"""The rules of STYLE.md for Rust, as functions from a source text to the lines that break them."""

import re

from sources import rust_code

NAMED = re.compile(r"\bOrdering::(Relaxed|Acquire|Release|AcqRel)\b")
BARE = re.compile(r"\b(Relaxed|Acquire|Release|AcqRel)\b")
IMPORTED = re.compile(r"use [^;]*\bOrdering::(\*|\{|Relaxed|Acquire|Release|AcqRel)")
STD_ATOMICS = re.compile(r"\b(?:std|core)::sync::(?:atomic\b|\{[^}]*\batomic\b)")


def unsafe_without_reason(text):
    """Lines of `unsafe` blocks and impls without a SAFETY comment on the line or within six lines above."""
    lines, code = text.splitlines(), rust_code(text).splitlines()
    found = [number for number, line in enumerate(code) if re.search(r"\bunsafe\s*(\{|impl\b|$)", line)]
    return [
        number + 1 for number in found if not any("SAFETY" in line for line in lines[max(0, number - 6) : number + 1])
    ]


def orderings_without_pair(text):
    """Lines with an ordering other than SeqCst of which no comment near says what it pairs with.

    The comment stands on the line, or within four lines above the statement. It must say "pair"; where the ordering is
    Relaxed, "relaxed" with the reason is enough.
    """
    lines, code = text.splitlines(), rust_code(text).splitlines()
    pattern = BARE if IMPORTED.search(rust_code(text)) else NAMED
    wrong = []
    for number, line in enumerate(code):
        if "#[cfg(test)]" in line:
            break
        used = set(pattern.findall(line))
        if not used or re.match(r"\s*(pub\s+)?use\b", line) or in_use_list(code, number):
            continue
        words = ("pair", "relaxed") if used == {"Relaxed"} else ("pair",)
        near = comments(lines, code, max(0, start_of_statement(code, number) - 4), number)
        if not any(word in near for word in words):
            wrong.append(number + 1)
    return wrong


def comments(lines, code, first, last):
    """The text of the comments between two lines, in lower case."""
    return " ".join(lines[n][len(code[n].rstrip()) :] for n in range(first, last + 1)).lower()


def start_of_statement(code, number):
    """The line at which the statement of a line begins."""
    while number > 0 and code[number - 1].strip() and not code[number - 1].rstrip().endswith((";", "{", "}")):
        number -= 1
    return number


def in_use_list(code, number):
    """Whether a line stands inside a `use a::{` list of several lines."""
    before = "\n".join(code[max(0, number - 12) : number + 1])
    return re.search(r"\buse\b[^;]*$", before) is not None


def std_atomics(text, *, comment_allows):
    """Lines that name std's atomics; in the binding a comment within four lines above that says why allows it."""
    lines, code = text.splitlines(), rust_code(text).splitlines()
    found = [number for number, line in enumerate(code) if STD_ATOMICS.search(line)]
    if comment_allows:
        found = [n for n in found if not any("//" in line for line in lines[max(0, n - 4) : n + 1])]
    return [number + 1 for number in found]


def test_names(text):
    """Names and lines of the functions marked `#[test]`."""
    pattern = re.compile(r"#\[test\]\s*(?:#\[[^\]]*\]\s*)*(?:pub\s+)?fn\s+(\w+)")
    code = rust_code(text)
    return [(match.group(1), code.count("\n", 0, match.start(1)) + 1) for match in pattern.finditer(code)]
