# SPDX-License-Identifier: Apache-2.0
LINES = [("apple", 3, 45), ("book", 1, 1999), ("pencil", 7, 120)]
