# SPDX-License-Identifier: Apache-2.0
total=0
declare -A price=([tea]=250 [coffee]=320 [cake]=475)
while read -r verb item amount; do
    case $verb in
        add)
            if [[ -z ${price[$item]} ]]; then
                echo "line $((++n)): no such item: $item" >&2
                ((errors++))
                continue
            fi
            ((total += price[$item] * ${amount:-1}))
            printf '%-8s x%-3d %6d\n' "$item" "${amount:-1}" "$total"
            ;;
        pay) ((total -= item)); ((total <= 0)) && { echo "change $((-total))"; break; } ;;
        '#'*) ;;
        *) echo "what is '$verb'?" >&2; ((errors++)) ;;
    esac
    ((++n))
done
echo "unread: $(cat | tr '\n' '|')"
exit $((errors + 10))
