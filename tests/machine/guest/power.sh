#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the test machine, until its power is cut: starts the service on the disk that outlives the cut, tells
# which jobs there are, then puts jobs, and tells each that was acknowledged. test_power.py judges.
URL=http://127.0.0.1:8000
export ISOLATION=fake RUNTIMES_DIR=/opt/test/runtimes STATE_DIR=/srv/state JOB_WORKERS=4 POOL_SIZE=2

page() {
    printf 'jobs %s\n' "$1"
}

mount -t ext4 /dev/machine/data /srv || exit 90
/opt/test/codesandboxd >/run/log 2>&1 &
until curl -s -f -m 60 -o /dev/null $URL/health; do
    if ! kill -0 $! 2>/dev/null; then
        cat /run/log
        exit 91
    fi
    sleep 0.1
done
after=
while :; do
    answer=$(curl -s -m 60 "$URL/jobs?limit=100$after")
    page "$answer"
    last=$(jq -r '.next // empty' <<<"$answer")
    [ -n "$last" ] || break
    after="&after=$last"
done
echo "all told"
if [ "$1" = last ]; then
    until [ "$(curl -s $URL/metrics | sed -n 's/^codesandbox_jobs{state="\(queued\|running\)"} //p' | tr '\n' ' ')" = "0 0 " ]; do
        sleep 0.2
    done
    page "$(curl -s -m 60 "$URL/jobs?limit=100&state=queued")"
    echo "all done"
    exit 0
fi
# Two clients, each of which sends a job as soon as the one before was acknowledged.
curl -s -N -K /opt/test/puts-0 &
curl -s -N -K /opt/test/puts-1 &
while :; do # what is told to be over stays so
    page "$(curl -s -m 60 "$URL/jobs?limit=100&state=succeeded")"
    sleep 0.2
done
