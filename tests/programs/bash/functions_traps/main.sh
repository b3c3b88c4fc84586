# SPDX-License-Identifier: Apache-2.0
trap 'echo "exit trap, status $?"' EXIT
trap 'echo "caught USR1"' USR1
fact() { local n=$1; if ((n < 2)); then echo 1; else echo $((n * $(fact $((n - 1))))); fi; }
fib() { local a=0 b=1 i; for ((i = 0; i < $1; i++)); do printf '%d ' "$a"; local t=$((a + b)); a=$b b=$t; done; echo; }
nameref() { local -n out=$1; out="set through a name, ${FUNCNAME[0]} at line $LINENO of ${BASH_SOURCE[0]}"; }
fact 12
fib 20
nameref result
echo "$result"
kill -USR1 $$
hanoi() { (($1)) && { hanoi $(($1 - 1)) "$2" "$4" "$3"; moves+=("$2$3"); hanoi $(($1 - 1)) "$4" "$3" "$2"; }; }
moves=()
hanoi 4 A C B
echo "${#moves[@]}: ${moves[*]}"
(exit 9) || echo "subshell said $?"
false | true | (exit 4)
echo "pipe status ${PIPESTATUS[*]}"
echo "to stderr" >&2
echo "$0 $# $*"
exit 7
