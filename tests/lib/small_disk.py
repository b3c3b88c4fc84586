# SPDX-License-Identifier: Apache-2.0
"""A disk that is soon full."""
import contextlib
import subprocess
import tempfile


@contextlib.contextmanager
def small_disk():
    """The directory where a tmpfs of 3 MiB is mounted meanwhile. Root's."""
    with tempfile.TemporaryDirectory(prefix="csb-full-") as top:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=755", "tmpfs", top], check=True)
        try:
            yield top
        finally:
            subprocess.run(["umount", "-l", top], check=True)
