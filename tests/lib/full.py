# SPDX-License-Identifier: Apache-2.0
"""Whether a test shall do everything, however long that takes: CSB_TEST_FULL=1, make test-full."""
import os

FULL = os.environ.get("CSB_TEST_FULL", "") not in ("", "0")
