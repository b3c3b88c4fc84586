#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the test machine, under systemd: installs the package, uses the service, removes and purges it.
# What it finds is written as lines "NAME<tab>VALUE" to /root/report, and the text of /metrics to
# /root/metrics, for test_package.py to judge. /dev/machine/image holds the root tree.
set -u
URL=http://127.0.0.1:8000
STATE=/var/lib/codesandbox

say() {
    printf '%s\t%s\n' "$1" "$(printf '%s' "$2" | tr '\n\t' '  ')" >>/root/report
    printf '%d s %s: %s\n' $SECONDS "$1" "$2"
}

# Every file of the system but what dpkg, systemd and this script keep for themselves.
files() {
    find /etc /opt /srv /usr /var -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \
        -o -path /var/tmp -o -path /opt/test -o -path "$image" \) -prune -o -print |
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

image=$STATE/image/rootfs
: >/root/report
files /root/before
say install "$(dpkg -i /opt/test/codesandbox.deb 2>&1 && echo "exit 0")"
cat >>/etc/codesandbox/codesandboxd.conf <<EOF
isolation = process
pool_size = 1
max_timeout = 300
EOF
mkdir -p "$image"
mount -o ro /dev/machine/image "$image"
say exposure "$(systemd-analyze security --no-pager codesandbox.service | tail -n 1)"
say check "$(codesandboxd --check-config 2>&1 | grep -c -x -e 'isolation = process' -e 'pool_size = 1')"
say key "$(csb key create --role=admin test >/root/key && echo made)"
systemctl enable codesandbox 2>/dev/null
say start "$(systemctl start codesandbox; systemctl is-active codesandbox)"
for _ in $(seq 400); do
    curl -s -f -m 60 -o /dev/null $URL/health && break
    sleep 0.5
done
say ready "$(status $URL/health)$(with_key $URL/health | jq -r .state)"
say denied "$(status --data-binary @/opt/test/python.json $URL/execute; status $URL/metrics
    status -H 'Authorization: Bearer e2b_0000000000000000000000000000000000000000' --data-binary @/opt/test/python.json $URL/execute)"
for program in python typescript rust memory processes; do
    say $program "$(execute $program)"
done
with_key $URL/metrics >/root/metrics
say health "$(with_key $URL/health | jq -c '{isolation, accel, confinement}')"
systemctl set-property --runtime codesandbox MemoryMax=3G TasksMax=2000
say limits "$(cat /sys/fs/cgroup/system.slice/codesandbox.service/{memory,pids}.max)"
printf 'max_timeout = 5\ndefault_timeout = 5\n' >>/etc/codesandbox/codesandboxd.conf
systemctl reload codesandbox
for _ in $(seq 50); do
    answer=$(execute python | head -c 300)
    case $answer in *timeout*) break ;; esac
    sleep 0.5
done
say reload "$answer"
server=$(pgrep -f 'codesandboxd --serve')
say server "$(awk '/^(Uid|CapEff|NoNewPrivs)/' "/proc/$server/status")"
say journal "$(journalctl --no-pager -u codesandbox -o cat -n 12)"
say restarts "$(systemctl show -p NRestarts --value codesandbox)"
say remove "$(dpkg -r codesandbox 2>&1 && echo "exit 0")"
say stopped "$(systemctl is-active codesandbox; pgrep -c codesandboxd)"
say kept "$(ls -d /etc/codesandbox/codesandboxd.conf $STATE/state/store 2>&1)"
umount "$image"
say purge "$(dpkg -P codesandbox 2>&1 && echo "exit 0")"
say user "$(getent passwd codesandbox; getent group codesandbox; echo none)"
files /root/after
say left "$(diff /root/before /root/after)"
say units "$(systemctl list-units --all --no-legend 'codesandbox*'; ls -d /sys/fs/cgroup/codesandbox* 2>/dev/null)"
