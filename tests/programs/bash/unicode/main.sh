# SPDX-License-Identifier: Apache-2.0
s="né🙂שלום"
echo "${#s} ${s:2:1} ${s^^} ${s: -2}"
printf '%s|%5s|\n' "日本" "é"
echo $'\u00e9\U1F600\x41\t|' "$(printf '\u2713')"
for ((i = 0; i < ${#s}; i++)); do printf '%s.' "${s:i:1}"; done; echo
[[ "é" == [[:alpha:]] ]] && echo alpha
echo "naïve café" > "файл ✓.txt"
ls; cat файл*
while read -r l; do echo "<$l>"; done
echo "stderr: ünï" >&2
