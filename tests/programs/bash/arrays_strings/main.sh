# SPDX-License-Identifier: Apache-2.0
a=(alpha "beta gamma" delta)
a+=("epsilon")
unset 'a[2]'
echo "${#a[@]} ${!a[*]} ${a[-1]} ${a[@]:1:2}"
declare -A m=([x]=1 [y]="two words")
m[z]=$((m[x] + 41))
for k in $(printf '%s\n' "${!m[@]}" | sort); do printf '%s=%q\n' "$k" "${m[$k]}"; done
s="Hello, World/path/file.tar.gz"
echo "${s#*/} ${s##*/} ${s%.*} ${s%%.*} ${s/o/0} ${s//o/0} ${s^^} ${s:7:5} ${#s}"
echo "${unset-default} ${unset:=assigned} $unset ${s:+set}"
printf '%05d|%-8s|%8.3f|%x|%b|%c\n' 42 left 3.14159 255 'tab\there' xyz
IFS=: read -r user _ uid rest <<< "root:x:0:0:comment:/root"
echo "$user $uid $rest"
mapfile -t lines < <(printf 'one\ntwo\nthree\n')
echo "${lines[@]@Q} ${#lines[@]}"
[[ "2024-02-29" =~ ^([0-9]+)-([0-9]+)-([0-9]+)$ ]] && echo "${BASH_REMATCH[@]:1}"
echo {a..e} {01..10..3} pre{fix,dict}{s,}
echo $((2**40)) $((0xff & 0x0f)) $((7 / 2)) $((-7 % 3)) $((1 ? 2 : 3)) $((16#ff)) $((x = 5, x++ + ++x))
case "${s,,}" in hello*path*) echo matched ;;& *gz) echo also ;; *) echo no ;; esac
