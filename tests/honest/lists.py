# SPDX-License-Identifier: Apache-2.0
"""The lists of this directory: lines of columns between bars, '#' for comments."""
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def read(name, columns):
    """Rows of a list; one that is not well-formed ends the test."""
    rows = []
    for number, line in enumerate((HERE / name).read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        row = [part.strip() for part in line.split("|", columns - 1)]
        if len(row) != columns or not all(row):
            raise SystemExit(f"Bail out! {name}:{number}: not {columns} columns: {line}")
        rows.append(row)
    return rows
