"""The rules for unsafe code and atomics in the Rust sources, and that each of them can fail."""

import pytest
import rust_rules
import sources


def broken(rule, paths):
    return [f"{sources.short(path)}:{line}" for path in paths for line in rule(path.read_text())]


def of_crate(name):
    return [path for path in sources.rust_sources() if path.is_relative_to(sources.ROOT / "rust" / name)]


def test_unsafe_blocks_all_have_safety_comment():
    assert broken(rust_rules.unsafe_without_reason, sources.rust_sources()) == []


def test_orderings_weaker_than_seqcst_all_name_their_pair():
    paths = [path for path in sources.rust_sources() if "src" in path.parts]
    assert broken(rust_rules.orderings_without_pair, paths) == []


def test_std_atomics_in_core_only_in_sync_rs():
    paths = [path for path in of_crate("holdfast-core") if path.name != "sync.rs" and "src" in path.parts]
    assert broken(lambda text: rust_rules.std_atomics(text, comment_allows=False), paths) == []


def test_std_atomics_in_binding_only_with_reason():
    assert broken(lambda text: rust_rules.std_atomics(text, comment_allows=True), of_crate("holdfast-py")) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rust_rules.unsafe_without_reason, "fn f() {\n    unsafe { g() }\n}"),
        (rust_rules.unsafe_without_reason, "// SAFETY: far\n" + "\n" * 7 + "unsafe { g() }"),
        (rust_rules.unsafe_without_reason, "unsafe impl Send for A {}"),
        (rust_rules.orderings_without_pair, "a.load(Ordering::Acquire);"),
        (rust_rules.orderings_without_pair, "use std::X::Ordering::{Acquire};\nfn f() {\n  a.load(Acquire);\n}"),
        (rust_rules.orderings_without_pair, "// why not\na.load(Ordering::Relaxed);"),
        (rust_rules.orderings_without_pair, "// relaxed is enough\na.store(1, Ordering::Release);"),
        (lambda text: rust_rules.std_atomics(text, comment_allows=False), "use std::sync::atomic::AtomicU32;"),
        (lambda text: rust_rules.std_atomics(text, comment_allows=False), "use core::sync::{atomic, Mutex};"),
    ],
)
def test_rust_rules_bad_line_found(rule, text):
    assert len(rule(text)) == 1


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rust_rules.unsafe_without_reason, "// SAFETY: the pointer is ours\nunsafe { g() }"),
        (rust_rules.unsafe_without_reason, "// unsafe { in a comment }\nunsafe fn f() {}"),
        (rust_rules.orderings_without_pair, "// pairs with the store in f\na.load(Ordering::Acquire);"),
        (rust_rules.orderings_without_pair, "a.load(Ordering::Relaxed); // relaxed: a count for reports"),
        (rust_rules.orderings_without_pair, "// pairs with f\na.cas(\n  1,\n  2,\n  3,\n  Ordering::AcqRel,\n);"),
        (rust_rules.orderings_without_pair, "use crate::sync::Ordering::{\n    Acquire,\n    Release,\n};"),
        (rust_rules.orderings_without_pair, "a.load(Ordering::SeqCst); enum Step { Acquire }"),
        (lambda text: rust_rules.std_atomics(text, comment_allows=True), "// a static\nuse std::sync::atomic::A;"),
    ],
)
def test_rust_rules_good_line_accepted(rule, text):
    assert rule(text) == []


def test_names_of_rust_tests_attributes_between_found():
    text = '#[test]\nfn a_b_c() {}\n#[test]\n#[should_panic(expected = "x")]\nfn d() {}\nfn e() {}\n'
    assert rust_rules.test_names(text) == [("a_b_c", 2), ("d", 5)]
