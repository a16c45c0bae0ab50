"""Write docs/errors from `holdfast.errors.explain`; run it after changing a text."""

import sys
from pathlib import Path

ERRORS = Path(__file__).resolve().parents[2] / "docs" / "errors"


def contents() -> dict[str, str]:
    """File name to text of everything that belongs into docs/errors."""
    from holdfast import errors

    pages = {f"{code}.md": errors.explain(code) for code in errors.CODES}
    rows = [f"- [{page.splitlines()[0].removeprefix('# ')}]({name})" for name, page in pages.items()]
    index = [
        "# Errors and warnings",
        "",
        "Every message begins with a code; `holdfast explain HF101` prints its page.",
        "",
    ]
    return {**pages, "README.md": "\n".join([*index, *rows]) + "\n"}


def main() -> None:
    """Write the files and remove pages of codes that are gone."""
    wanted = contents()
    for path in ERRORS.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (ERRORS / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(wanted)} files in {ERRORS}\n")


if __name__ == "__main__":
    main()
