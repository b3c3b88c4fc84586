# SPDX-License-Identifier: Apache-2.0
"""Children of every kind: pipes, pipelines, environment, timeouts, signals, big data."""
import os
import signal
import subprocess
import sys

run = subprocess.run
print(run(["cat"], input="through cat ✓", capture_output=True, text=True).stdout)
r = run(["sh", "-c", "echo out; echo err >&2; exit 42"], capture_output=True, text=True)
print(r.returncode, repr(r.stdout), repr(r.stderr))
r = run(["sh", "-c", "kill -9 $$"])
print("killed:", r.returncode, signal.Signals(-r.returncode).name)
first = subprocess.Popen(["seq", "1", "2000"], stdout=subprocess.PIPE)
second = subprocess.Popen(["awk", "{s += $1} END {print s}"], stdin=first.stdout,
                          stdout=subprocess.PIPE, text=True)
first.stdout.close()
print("pipeline:", second.communicate()[0].strip(), first.wait())
blob = bytes(range(256)) * 1024
print("big:", run(["cat"], input=blob, capture_output=True).stdout == blob)
print(run(["sh", "-c", "echo $GREETING-$HIDDEN-$EXTRA"], env={**os.environ, "EXTRA": "e"},
          capture_output=True, text=True).stdout.strip())
try:
    run(["sleep", "30"], timeout=0.02)
except subprocess.TimeoutExpired as e:
    print("timeout:", e.cmd)
try:
    run(["/no/such/program"])
except FileNotFoundError as e:
    print(e)
child = subprocess.Popen(["sleep", "30"])
child.terminate()
print("terminated:", child.wait())
print(run([sys.executable, "-c", "import sys; print(sys.argv[1:], sys.stdin.read())", "a b", "c"],
          input="from parent", capture_output=True, text=True).stdout.strip())
print("inherits stdin:", run(["head", "-n", "1"], capture_output=True, text=True).stdout.strip())
sys.stdout.flush()
run(["sh", "-c", "echo straight to our stdout; echo and stderr >&2"])
try:
    run(["false"], check=True)
except subprocess.CalledProcessError as e:
    print(e)
    raise
