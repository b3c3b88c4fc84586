# SPDX-License-Identifier: Apache-2.0
work() { sleep "0.0$1"; echo "job $1" >> out.txt; return "$1"; }
pids=()
for i in 1 3 5; do work "$i" & pids+=($!); done
for p in "${pids[@]}"; do wait "$p"; echo "status $?"; done
sort out.txt
coproc UPPER { while read -r l; do echo "${l^^}"; done; }
echo "through a coprocess" >&"${UPPER[1]}"
read -r answer <&"${UPPER[0]}"
echo "$answer"
mkfifo pipe
echo "through a fifo" > pipe &
cat pipe
wait "$!"
diff <(printf '1\n2\n3\n') <(printf '1\n3\n4\n')
echo "diff said $?"
exec 3> fd3.txt
echo "descriptor three" >&3
exec 3>&-
cat fd3.txt
sleep 30 & kill -TERM $! ; wait $! 2>/dev/null
echo "killed job: $?"
timeout 0.05 sleep 10
echo "timeout: $?"
{ bash -c 'kill -SEGV $$'; } 2>/dev/null
echo "segv: $?"
