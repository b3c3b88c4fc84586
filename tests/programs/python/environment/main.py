# SPDX-License-Identifier: Apache-2.0
import os
import sys
import time

for name in ("PLAIN", "SPACES", "UNICODE", "EMPTY", "EQUALS", "ABSENT"):
    print(name, repr(os.environ.get(name)), os.getenv(name, "default"))
print(os.environb[b"UNICODE"])
print(time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(1721640000)), time.tzname, time.timezone)
print(time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(1705900000)))
os.environ["SET_HERE"] = "für das Kind"
sys.stdout.flush()
os.system('echo "$SET_HERE/$PLAIN/$ABSENT."')
del os.environ["PLAIN"]
print("PLAIN" in os.environ, os.path.expandvars("$UNICODE/${EMPTY}x$NOPE"))
print(sys.getfilesystemencoding())
print(sys.argv)
