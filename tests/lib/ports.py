# SPDX-License-Identifier: Apache-2.0
"""Ports for servers of tests that are told theirs."""
import random
import socket


def free_port():
    """A port that nobody listens on, below those that connections get: none of these takes it before it is used."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
