# SPDX-License-Identifier: Apache-2.0
export LC_ALL=C.UTF-8
for i in {1..400}; do
    printf '%05d %s\n' "$i" "$(( (i * 2654435761) & 0xffffffff ))"
done
awk 'BEGIN {for (i = 0; i < 4000; i++) printf "%06d %s\n", i, substr("abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnop", 1, i % 50)}'
head -c 60000 /dev/zero | tr '\0' '=' | fold -w 79
echo
seq 1 300 >&2
