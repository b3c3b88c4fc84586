# SPDX-License-Identifier: Apache-2.0
mkdir -p tree/{a,b/c}
for i in 1 2 3; do printf '%*s\n' "$((i * 10))" x > "tree/a/$i.txt"; done
ln -s ../a tree/b/link
touch -d '2024-02-29 12:00:00 UTC' tree/b/c/old
chmod 640 tree/a/1.txt
find tree -type f -size -40c | sort
find tree -printf '%y %m %P\n' | grep -v '^l' | sort
TZ=UTC stat -c '%n %s %y' tree/b/c/old
tar cf - tree | tar tf - | sort | wc -l
grep -c x tree/a/*.txt
cp -r tree /tmp/copy && diff -r tree /tmp/copy && echo same
rm -rf /tmp/copy
shopt -s globstar nullglob
echo tree/**/*.txt nothing*
[[ tree/b/c/old -ot tree/a/1.txt && -L tree/b/link && ! -e nowhere ]] && echo tests
echo data | tee one.txt two.txt | md5sum | cut -c1-8
sort -t, -k2,2n -k1,1 <<< $'b,2\na,10\nc,2' | nl -ba
join <(printf '1 a\n2 b\n') <(printf '1 x\n2 y\n')
cmp one.txt two.txt && umask
rmdir tree; echo "rmdir: $?"
