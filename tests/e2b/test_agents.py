#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs agents.mjs, small tasks as agents do them, against a service of its own: sdk_rig.py."""
from sdk_rig import ISOLATION, run

# What there is without virtual machines: docs/E2B.md says what there is not.
PROCESS = "analyst,fixer,committer,webmaster,patient,typist,watcher,polyglot,crowd"

run("agents.mjs", PROCESS if ISOLATION == "process" else None)
