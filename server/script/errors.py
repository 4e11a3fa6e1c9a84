"""What is wrong with a script or a name; each text is a whole sentence in the reader's language."""

from __future__ import annotations


class ScriptError(Exception):
    """The script cannot be used; its text is a whole sentence in the reader's language."""


class NameRefused(Exception):
    """The project's name cannot name a folder; its text is a whole sentence in the reader's language."""
