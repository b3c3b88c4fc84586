# SPDX-License-Identifier: Apache-2.0
name="wörld"
cat <<END
Hello $name, $((6 * 7)) and $(echo nested "$(echo deeper)")
  \$escaped \`not run\`
END
cat <<'END'
Nothing $expands $(here)
END
	cat <<-END
	tabs are stripped
		all of them
	END
tr a-z A-Z <<< "here string $name"
eval "$(printf 'made_%s() { echo "generated %s $1"; }\n' a A b B)"
made_a x; made_b y
source ./lib.sh "an argument"
lib_greet "$name"
bash -s -- p q <<'END'
echo "inner script: $0 $2 $#"
exit 3
END
echo "inner exit $?"
printf 'echo from stdin of bash\n' | bash
