"""The command ``holdfast``: one verb a file, no logic of its own."""

from holdfast.cli.main import main

__all__ = ["main"]
