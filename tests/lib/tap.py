# SPDX-License-Identifier: Apache-2.0
"""TAP output for the Python tests."""
import sys
import traceback


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def check(self, condition, name, shown=""):
        """One test point; `shown` is printed when it fails."""
        self.count += 1
        if not condition:
            self.failed += 1
        print(f"{'ok' if condition else 'not ok'} {self.count} - {name}", flush=True)
        if not condition:
            for line in str(shown).splitlines()[-60:]:
                print(f"#   {line[:2000]}", flush=True)
        return bool(condition)

    def group(self, function, *arguments):
        """Runs a function that makes checks; an exception is one failed check."""
        try:
            function(self, *arguments)
        except Exception as error:  # a broken test must show as a failed check, not end the program
            name = getattr(function, "__name__", "group")
            self.check(False, f"{name} runs to its end",
                       f"{error}\n{traceback.format_exc(limit=-4, chain=False)}")

    def finish(self):
        print(f"1..{self.count}", flush=True)
        sys.exit(1 if self.failed or not self.count else 0)
