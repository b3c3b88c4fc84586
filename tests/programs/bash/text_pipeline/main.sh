# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
export LC_ALL=C.UTF-8
declare -A count=()
lines=0
while IFS= read -r line; do
    ((++lines))
    for word in ${line//[^[:alnum:]]/ }; do
        ((count[${word,,}] += 1))
    done
done
for w in "${!count[@]}"; do printf '%d %s\n' "${count[$w]}" "$w"; done | sort -k1,1nr -k2 | head -n 5
echo "lines: $lines, words: ${#count[@]}"
seq 1 20 | awk '$1 % 3 == 0 {s += $1} END {print "sum", s}'
printf '%s\n' one two three | sed -E 's/^(.)(.*)$/\2\1ay/' | tr '[:lower:]' '[:upper:]' | paste -sd,
yes | head -n 3 | uniq -c | tr -s ' '
