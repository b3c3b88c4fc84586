# SPDX-License-Identifier: Apache-2.0
"""Commands as documents have them, so that what is told is what is run."""
import pathlib
import re

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def documented(document, beginning):
    """The one command of docs/`document` that begins so, as it is typed, in one line."""
    text = re.sub(r" *\\\n +", " ", (DOCS / document).read_text())
    found = re.findall(rf"^    ({re.escape(beginning)}[^#\n]*?) *(?:#.*)?$", text, re.M)
    if len(found) != 1:
        raise RuntimeError(f"docs/{document} has {len(found)} commands that begin with {beginning!r}")
    return found[0]
