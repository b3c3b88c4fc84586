#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs sdk.mjs, the calls of E2B's published JavaScript SDK, against a service of its own: sdk_rig.py."""
from sdk_rig import ISOLATION, run

# What there is without virtual machines: docs/E2B.md says what there is not.
PROCESS = "life,expiry,commands,files,urls,watch,pty,ports,large,parallel,killed,several,crowd"

run("sdk.mjs", PROCESS if ISOLATION == "process" else None, SANDBOX_MAX=64, SANDBOX_MAX_PER_KEY=64)
