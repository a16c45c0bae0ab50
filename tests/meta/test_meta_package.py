"""What the package promises to users: its names, its error pages, the README's commands, examples that run."""

import multiprocessing
import re
import subprocess
import sys

import pytest
import sources
import write_error_pages

FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def snippets():
    for path in [sources.ROOT / "README.md", *sources.files("*.md", "docs")]:
        text = path.read_text()
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield pytest.param(match.group(1), id=f"{sources.short(path)}:{line}")


def test_exports_of_multiprocessing_all_in_holdfast():
    import holdfast

    assert set(multiprocessing.__all__) - set(holdfast.__all__) == set()


def test_exports_of_holdfast_all_exist_and_are_listed_once():
    import holdfast

    assert [name for name in holdfast.__all__ if not hasattr(holdfast, name)] == []
    assert len(set(holdfast.__all__)) == len(holdfast.__all__)
    assert set(holdfast.__all__) <= set(dir(holdfast))


def test_error_pages_all_codes_same_as_explain():
    wanted = write_error_pages.contents()
    found = {path.name: path.read_text() for path in write_error_pages.ERRORS.glob("*.md")}
    assert found == wanted, "run tests/meta/write_error_pages.py"


def test_error_codes_named_in_sources_all_exist():
    from holdfast import errors

    every = sources.python_sources() + sources.rust_sources() + sources.files("*.md", "docs")
    named = {code: sources.short(path) for path in every for code in re.findall(r"\bHF\d{3}\b", path.read_text())}
    assert {code: path for code, path in named.items() if code not in errors.CODES} == {}


def test_readme_commands_are_exactly_two_and_name_existing_files():
    readme = (sources.ROOT / "README.md").read_text()
    commands = [line for line in readme.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert "holdfast run examples/word_count.py" in commands[0]
    assert "[test" in commands[1]
    for command in commands:
        for path in re.findall(r"\b(?:examples|tests)/[\w./]+", command):
            assert (sources.ROOT / path).is_file()


def test_links_in_documents_all_lead_somewhere():
    link = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
    pages = [*sources.ROOT.glob("*.md"), *sources.files("*.md", "docs")]
    found = [(page, target) for page in pages for target in link.findall(page.read_text())]
    broken = [f"{sources.short(page)}: {target}" for page, target in found if not (page.parent / target).exists()]
    assert broken == []


@pytest.mark.parametrize("program", list(snippets()))
def test_snippet_of_documents_run_alone_succeeds(program, tmp_path):
    script = tmp_path / "snippet.py"
    script.write_text(program)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
