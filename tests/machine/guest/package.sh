#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the test machine, under systemd: installs the package, uses the service, removes and purges it.
# What it finds is written as lines "NAME<tab>VALUE" to /root/report, for test_package.py to judge.
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
        -o -path /var/tmp -o -path /opt/test -o -path "$STATE/image/rootfs" \) -prune -o -print |
        LC_ALL=C sort >"$1"
}

execute() {
    curl -s -m 300 -H "Authorization: Bearer $(cat /root/key)" -H 'Content-Type: application/json' \
        --data-binary @"/opt/test/$1.json" $URL/execute
}

: >/root/report
files /root/before
say install "$(dpkg -i /opt/test/codesandbox.deb 2>&1 && echo "exit 0")"
cat >>/etc/codesandbox/codesandboxd.conf <<EOF
isolation = process
pool_size = 1
max_timeout = 300
EOF
mkdir -p $STATE/image/rootfs
mount -o ro /dev/machine/image $STATE/image/rootfs
say check "$(codesandboxd --check-config 2>&1 | grep -c -x -e 'isolation = process' -e 'pool_size = 1')"
say key "$(csb key create --role=admin test >/root/key && echo made)"
systemctl enable codesandbox 2>/dev/null
say start "$(systemctl start codesandbox; systemctl is-active codesandbox)"
for _ in $(seq 200); do
    curl -s -f -m 60 -o /dev/null $URL/health && break
    sleep 0.5
done
say ready "$(curl -s -m 60 -o /dev/null -w '%{http_code}' $URL/health)"
say denied "$(curl -s -m 60 -o /dev/null -w '%{http_code}' --data-binary @/opt/test/python.json $URL/execute)"
for language in python typescript rust; do
    say $language "$(execute $language)"
done
say metrics "$(curl -s -m 60 -H "Authorization: Bearer $(cat /root/key)" $URL/metrics | grep -c '^codesandbox_\|^csb_')"
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
say confinement "$(curl -s -m 60 -H "Authorization: Bearer $(cat /root/key)" $URL/health | jq -c .confinement)"
say journal "$(journalctl --no-pager -u codesandbox -o cat -n 12)"
say restarts "$(systemctl show -p NRestarts --value codesandbox)"
say cgroup "$(find /sys/fs/cgroup/system.slice/codesandbox.service -name cgroup.procs -size -1 2>/dev/null | wc -l)"
say remove "$(dpkg -r codesandbox 2>&1 && echo "exit 0")"
say stopped "$(systemctl is-active codesandbox; pgrep -c codesandboxd)"
say kept "$(ls -d /etc/codesandbox/codesandboxd.conf $STATE/state/store 2>&1)"
umount $STATE/image/rootfs
say purge "$(dpkg -P codesandbox 2>&1 && echo "exit 0")"
say user "$(getent passwd codesandbox; getent group codesandbox; echo none)"
files /root/after
say left "$(diff /root/before /root/after)"
say units "$(systemctl list-units --all --no-legend 'codesandbox*'; ls -d /sys/fs/cgroup/codesandbox* 2>/dev/null)"
