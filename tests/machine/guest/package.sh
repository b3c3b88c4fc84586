#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the test machine, under systemd: installs the package, uses the service, removes and purges it.
#
#   package.sh process|microvm      what programs run in; /dev/machine/image holds the root tree, or the image's files
#
# What it finds is written as lines "NAME<tab>VALUE" to /root/report, and the text of /metrics to
# /root/metrics, for test_package.py to judge.
set -u
ISOLATION=$1
URL=http://127.0.0.1:8000
STATE=/var/lib/codesandbox
IMAGE=$STATE/image
[ "$ISOLATION" = process ] && IMAGE=$STATE/image/rootfs
DROP_IN=/run/systemd/system/codesandbox.service.d
GROUP=/sys/fs/cgroup/system.slice/codesandbox.service

say() {
    printf '%s\t%s\n' "$1" "$(printf '%s' "$2" | tr '\n\t' '  ')" >>/root/report
    printf '%d s %s: %s\n' $SECONDS "$1" "$2"
}

# Every file of the system but what dpkg, systemd and this script keep for themselves.
files() {
    find /etc /opt /srv /usr /var -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \
        -o -path /var/tmp -o -path /opt/test -o -path "$IMAGE" \) -prune -o -print |
        LC_ALL=C sort >"$1"
}

with_key() {
    curl -s -m 300 -H "Authorization: Bearer $(cat /root/key)" "$@"
}

execute() {
    with_key -H 'Content-Type: application/json' --data-binary @"/opt/test/$1.json" $URL/execute
}

status() {
    curl -s -m 60 -o /dev/null -w '%{http_code} ' "$@"
}

# What runs, with the time each process began, and the control groups by their inodes: no later one is called the same.
running() {
    awk '{ pid = $1; sub(/.*\) /, ""); print "process", pid, $20 }' /proc/[0-9]*/stat 2>/dev/null
    find /sys/fs/cgroup -type d -printf 'group %i %P\n'
}

# The part of it that is beneath the service's own group.
of_service() {
    running | awk -v pids="$(find $GROUP -name cgroup.procs -exec cat {} + | tr '\n' ' ')" '
        BEGIN { split(pids, list, " "); for (i in list) ours[list[i]] = 1 }
        $1 == "process" && $2 in ours || $1 == "group" && $3 ~ /\/codesandbox.service\// { print }'
}

# By the path of what is mounted, and what is in the directory of jails' and machines' files.
mounted() {
    cut -d ' ' -f 5 /proc/self/mountinfo
    find $STATE/state/launch -mindepth 1 -printf 'launch %P\n'
}

until_ready() {
    for _ in $(seq 400); do
        curl -s -f -m 60 -o /dev/null $URL/ready && break
        sleep 0.5
    done
}

# reloaded TEXT: has the settings read again, and gives the first answer for Python with that in it, else the last one.
reloaded() {
    local answer
    systemctl reload codesandbox
    for _ in $(seq 50); do
        answer=$(execute python | head -c 300)
        [[ $answer = *"$1"* ]] && break
        sleep 0.5
    done
    printf '%s' "$answer"
}

# stopped_dead NAME PID: stops this process of the service while a program runs, and says how the service gets over it.
stopped_dead() {
    local main client state
    main=$(systemctl show -p MainPID --value codesandbox)
    mounted >/root/mounts
    execute sleep >/dev/null 2>&1 &
    client=$!
    for _ in $(seq 300); do
        pgrep -f 'sleep 4321' >/dev/null && break
        sleep 0.2
    done
    of_service | LC_ALL=C sort >/root/dead
    kill -STOP "$2"
    for _ in $(seq 240); do
        state=$(systemctl show -p ActiveState -p MainPID --value codesandbox | sort | tr '\n' ' ')
        [[ $state = *" active " && $state != "$main "* ]] && break
        sleep 0.5
    done
    wait $client
    say "$1 client" $?
    until_ready
    say "$1 run" "$(execute python)"
    say "$1 restarts" "$(systemctl show -p NRestarts --value codesandbox)"
    say "$1 were" "$(cut -d ' ' -f 1 /root/dead | uniq -c)"
    say "$1 left" "$(running | LC_ALL=C sort | LC_ALL=C comm -12 /root/dead -)"
    say "$1 mounts" "$(mounted | diff /root/mounts -)"
}

install_package() {
    say install "$(dpkg -i /opt/test/codesandbox.deb 2>&1 && echo "exit 0")"
    printf '%s\n' "isolation = $ISOLATION" 'pool_size = 1' 'max_timeout = 300' 'queue_wait_ms = 300000' \
        >>/etc/codesandbox/codesandboxd.conf
    mkdir -p "$IMAGE"
    mount -o ro /dev/machine/image "$IMAGE"
    say exposure "$(systemd-analyze security --no-pager codesandbox.service | tail -n 1)"
    say check "$(codesandboxd --check-config 2>&1 | grep -c -x -e "isolation = $ISOLATION" -e 'pool_size = 1')"
    # The unit's own minute is longer than a test can wait.
    mkdir -p $DROP_IN
    printf '[Service]\nWatchdogSec=12\nRestartSec=100ms\n' >$DROP_IN/watchdog.conf
    systemctl daemon-reload
}

start() {
    say key "$(csb key create --role=admin test >/root/key && echo made)"
    systemctl enable codesandbox 2>/dev/null
    say start "$(systemctl start codesandbox; systemctl is-active codesandbox)"
    until_ready
    say ready "$(status $URL/health)$(with_key $URL/health | jq -r .state)"
    say denied "$(status --data-binary @/opt/test/python.json $URL/execute; status $URL/metrics
        status -H 'Authorization: Bearer e2b_0000000000000000000000000000000000000000' --data-binary @/opt/test/python.json $URL/execute)"
}

run_programs() {
    local program
    for program in "$@"; do
        say "$program" "$(execute "$program")"
    done
    with_key $URL/metrics >/root/metrics
    say health "$(with_key $URL/health | jq -c '{isolation, accel, confinement}')"
}

change_limits() {
    systemctl set-property --runtime codesandbox MemoryMax=3G TasksMax=2000
    say limits "$(cat $GROUP/{memory,pids}.max)"
    cp -a /etc/codesandbox/codesandboxd.conf /root/before.conf
    sed -i 's/^max_timeout = .*/max_timeout = 5\ndefault_timeout = 5/' /etc/codesandbox/codesandboxd.conf
    say reload "$(reloaded timeout)"
    cp -a /root/before.conf /etc/codesandbox/codesandboxd.conf
    say "reload back" "$(reloaded Pi)"
}

look_at_it() {
    say server "$(awk '/^(Uid|CapEff|NoNewPrivs)/' "/proc/$(pgrep -f 'codesandboxd --serve')/status")"
    say journal "$(journalctl --no-pager -u codesandbox -o cat | grep -v 'GET /ready' | tail -n 20)"
    say restarts "$(systemctl show -p NRestarts --value codesandbox)"
}

# One language is prepared sooner than all: the services that are started from here on have no other.
hang() {
    cp -r /usr/share/codesandbox/runtimes /opt/test/runtimes
    find /opt/test/runtimes -name '*.runtime' ! -name python.runtime -delete
    echo "runtimes_dir = /opt/test/runtimes" >>/etc/codesandbox/codesandboxd.conf
    stopped_dead server "$(pgrep -f 'codesandboxd --serve')"
    stopped_dead supervisor "$(systemctl show -p MainPID --value codesandbox)"
    say watchdog "$(journalctl --no-pager -u codesandbox -o cat | grep -v -e 'GET /ready' -e 'Killing process' | tail -n 60)"
}

job() {
    csb job submit -l python - <<<"$1"
}

# state ID STATE: the job's, once it is that, or is what it stays.
state() {
    local found
    for _ in $(seq 400); do
        found=$(csb job get --json "$1" 2>/dev/null | jq -r .state)
        [ "$found" = "$2" ] && break
        sleep 0.5
    done
    printf '%s' "$found"
}

result() {
    csb job get --json "$1" | jq -r '.state + " " + (.result.stdout | rtrimstr("\n"))'
}

upgrade() {
    local over cut waits sandbox pid
    export E2B_API_KEY
    E2B_API_KEY=$(cat /root/key)
    printf '%s\n' 'job_workers = 1' 'drain_ms = 500' >>/etc/codesandbox/codesandboxd.conf
    systemctl restart codesandbox
    until_ready
    # Only Python is left of the languages where hang() was.
    over=$(job 'print("over")')
    state "$over" succeeded >/dev/null
    cut=$(job 'import time; time.sleep(200)')
    state "$cut" running >/dev/null
    waits=$(job 'print("waited")')
    [ -n "$waits" ] || return
    for _ in $(seq 100); do
        sandbox=$(csb sandbox create -t 3600) && break
        sleep 2
    done
    csb sandbox exec "$sandbox" sh -c 'echo kept >note'
    say before "$(state "$over" succeeded) $(state "$cut" running) $(state "$waits" queued)"
    pid=$(systemctl show -p MainPID --value codesandbox)
    say upgrade "$(dpkg -i /opt/test/newer.deb 2>&1 </dev/null && echo "exit 0")"
    until_ready
    say newer "$(dpkg-query -W -f '${Version}' codesandbox) $(systemctl is-active codesandbox) $(
        [ "$(systemctl show -p MainPID --value codesandbox)" = "$pid" ] || echo restarted)"
    say "newer settings" "$(cat /etc/codesandbox/codesandboxd.conf; ls /etc/codesandbox)"
    say over "$(result "$over")"
    say cut "$(state "$cut" may_have_run) $(csb job get --json "$cut" | jq -r .attempts)"
    state "$waits" succeeded >/dev/null
    say waited "$(result "$waits")"
    say sandbox "$(csb sandbox exec "$sandbox" cat note 2>/dev/null; echo $?)"
}

remove_package() {
    rm -r $DROP_IN
    systemctl daemon-reload
    say remove "$(dpkg -r codesandbox 2>&1 && echo "exit 0")"
    say stopped "$(systemctl is-active codesandbox; pgrep -c 'csb-|qemu|codes')"
    say kept "$(ls -d /etc/codesandbox/codesandboxd.conf $STATE/state/store 2>&1)"
    umount "$IMAGE"
    say purge "$(dpkg -P codesandbox 2>&1 && echo "exit 0")"
    say user "$(getent passwd codesandbox; getent group codesandbox; echo none)"
}

: >/root/report
files /root/before
install_package
start
if [ "$ISOLATION" = process ]; then
    run_programs python typescript rust memory processes
    change_limits
    look_at_it
    hang
else
    run_programs python typescript rust
    look_at_it
fi
upgrade
remove_package
files /root/after
say left "$(diff /root/before /root/after)"
say units "$(systemctl list-units --all --no-legend 'codesandbox*'; ls -d /sys/fs/cgroup/codesandbox* 2>/dev/null)"
