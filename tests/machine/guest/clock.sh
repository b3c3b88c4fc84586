#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the test machine: sets its clock hours forwards and backwards while sandboxes, jobs and a callback wait, and
# writes what it saw as lines "NAME<tab>VALUE" to /root/report, for test_clock.py to judge.
URL=http://127.0.0.1:8000
KEY='X-API-KEY: any'
export ISOLATION=fake RUNTIMES_DIR=/opt/test/runtimes STATE_DIR=/root/state JOB_WORKERS=1 POOL_SIZE=2
export MAX_TIMEOUT=3600 WEBHOOK_SECRET=0123456789abcdef0123 WEBHOOK_ALLOW=127.0.0.0/8 WEBHOOK_BACKOFF_MS=3600000

say() {
    printf '%s\t%s\n' "$1" "$2" >>/root/report
    printf '%d s %s: %s\n' $SECONDS "$1" "$2"
}

post() {
    curl -s -m 60 -H "$KEY" -H 'Content-Type: application/json' --data "$2" "$URL$1"
}

code() {
    curl -s -m 60 -o /dev/null -w '%{http_code}' -H "$KEY" "$@"
}

sandbox() {
    post /v2/sandboxes "{\"templateID\":\"base\",\"timeout\":$1}" | jq -r .sandboxID
}

# until_code CODE URL: what it is in the end.
until_code() {
    local found
    for _ in $(seq 300); do
        found=$(code "$2")
        [ "$found" = "$1" ] && break
        sleep 0.2
    done
    printf '%s' "$found"
}

job() {
    post /jobs "$1" | jq -r .id
}

until_state() {
    local found
    for _ in $(seq 300); do
        found=$(curl -s -m 60 "$URL/jobs/$1" | jq -r .state)
        [ "$found" = "$2" ] && break
        sleep 0.2
    done
    printf '%s' "$found"
}

# Processor time of the server in ten seconds, hundredths of a second.
busy() {
    local server before
    server=$(pgrep -f 'codesandboxd --serve')
    before=$(awk '{ print $14 + $15 }' "/proc/$server/stat")
    sleep 10
    awk -v before="$before" '{ print $14 + $15 - before }' "/proc/$server/stat"
}

# set_clock NAME HOURS: sets it, and looks at what must not mind.
set_clock() {
    date -s "$2 hours" >/dev/null
    say "$1 kept" "$(code "$URL/sandboxes/$kept")"
    say "$1 connect" "$(code -X POST -H 'Content-Type: application/json' --data '{"timeout":3600}' "$URL/v2/sandboxes/$kept/connect")"
    say "$1 timeout" "$(code -X POST -H 'Content-Type: application/json' --data '{"timeout":3600}' "$URL/sandboxes/$kept/timeout")"
    sleep 1 # the table of sandboxes is looked through four times a second
    say "$1 still" "$(code "$URL/sandboxes/$kept")"
    say "$1 run" "$(post /execute '{"language":"python","code":"out fine\n"}' | jq -r .stdout | head -n 1)"
    say "$1 waiting" "$(until_state "$waiting" queued)"
    say "$1 first" "$(curl -s -m 60 "$URL/jobs/$first" | jq -r .state)"
    # Its one failed try is followed by the next in an hour.
    say "$1 tries" "$(curl -s -m 60 "$URL/jobs/$called" | jq -r .callback.attempts)"
    short=$(sandbox 3)
    say "$1 short" "$(until_code 404 "$URL/sandboxes/$short")"
    say "$1 told" "$(curl -s -m 60 -H "$KEY" "$URL/sandboxes/$(sandbox 3600)" | jq -r '.startedAt[:13]' |
        sed "s/$(date -u +%Y-%m-%dT%H)/now/;s/$(date -u -d '-1 minute' +%Y-%m-%dT%H)/now/")"
}

: >/root/report
/opt/test/codesandboxd >/root/log 2>&1 &
say ready "$(until_code 200 $URL/health)"
kept=$(sandbox 3600)
first=$(job '{"language":"python","code":"out first\n"}')
say first "$(until_state "$first" succeeded)"
called=$(job '{"language":"python","code":"out called\n","callback_url":"http://127.0.0.1:9/nobody"}')
for _ in $(seq 300); do
    [ "$(curl -s -m 60 "$URL/jobs/$called" | jq -r .callback.attempts)" = 1 ] && break
    sleep 0.2
done
blocker=$(job '{"language":"python","code":"sleep 600000\n","timeout":3600}')
say blocker "$(until_state "$blocker" running)"
waiting=$(job '{"language":"python","code":"out waited\n"}')
set_clock forwards +30 # beyond a day: what a job left is kept so long, and no sandbox may live longer
set_clock backwards -60
say busy "$(busy)"
say blocked "$(curl -s -m 60 "$URL/jobs/$blocker" | jq -r .state)"
say cancel "$(code -X DELETE "$URL/jobs/$blocker")"
say waited "$(until_state "$waiting" succeeded)"
kill %1
wait %1
say stop $?
tail -n 30 /root/log
