"""Ways out as the command line spells them.

The libraries name Python's arguments; what a verb prints names its options instead.
"""

from __future__ import annotations

OPTIONS = {
    "add allow_host=True": "add --allow-host",
    "add force=True": "add --force",
    "add resume=True": "add --resume",
}
"""What a sentence says to users of Python, and to those of the command line."""


def as_options(text: str) -> str:
    """`text` with options in place of Python's arguments."""
    for argument, option in OPTIONS.items():
        text = text.replace(argument, option)
    return text
