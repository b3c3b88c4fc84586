#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs interpreter.mjs, the calls of E2B's published code-interpreter SDK, against a service of its own:
sdk_rig.py."""
from sdk_rig import ISOLATION, run

# What there is without virtual machines: docs/E2B.md says what there is not.
PROCESS = "code,charts,contexts,streams,apart"

run("interpreter.mjs", PROCESS if ISOLATION == "process" else None, SANDBOX_READY=1)
