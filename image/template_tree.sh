#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Steps on a template's root tree, as tree.sh has them for the image's. Called by template.sh:
#
#   template_tree.sh copy TREE IMAGE ONLY           the image's tree
#   template_tree.sh packages TREE TMP PACKAGE...   Debian packages; TMP/apt.conf, TMP/sources.list
#   template_tree.sh place TREE TMP                 TMP/npm and TMP/files
#   template_tree.sh remove DIR
set -eu
umask 022

IMAGE_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=image/lib.sh
. "$IMAGE_DIR/lib.sh"

step=$1
tree=${2:?}

# From the image for virtual machines, with owners. fsck.erofs gives a file its mode and then its
# owner, which takes the set-id bits away again: they are taken from a tree without owners.
extract() {
    fsck.erofs --extract="$tree" --no-preserve-owner --preserve-perms "$1"
    (cd "$tree" && find . -type f -perm /6000 -printf '%m %p\n') >"$tree.modes"
    rm -rf "$tree"
    fsck.erofs --extract="$tree" --preserve "$1"
    (cd "$tree" && while read -r mode path; do chmod "$mode" "$path"; done) <"$tree.modes"
}

# An ordinary user's tree has lost the owners that files of a virtual machine have. Else files below
# /usr are shared with the image: dpkg replaces a file, it never writes into one. Elsewhere scripts
# of packages may.
copy() {
    if [ "$2" != process ] && [ "$(awk 'NR == 1 { print $2 }' /proc/self/uid_map)" != 0 ]; then
        extract "$1/rootfs.erofs"
        return
    fi
    mkdir "$tree"
    cp -a -l "$1/rootfs/usr" "$tree/usr" 2>/dev/null || {
        rm -rf "${tree:?}/usr"
        cp -a "$1/rootfs/usr" "$tree/usr"
    }
    find "$1/rootfs" -mindepth 1 -maxdepth 1 ! -name usr -exec cp -a -t "$tree" {} +
}

mount_host_dirs() {
    mount --rbind /dev "$tree/dev"
    mount --rbind /proc "$tree/proc"
}

# The host's apt, with the tree's state and keys; dpkg and the packages' scripts run in the tree.
packages() {
    tmp=$1
    shift
    mount_host_dirs
    export APT_CONFIG="$tmp/apt.conf" DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
    {
        printf 'Dir "%s/";\n' "$tree"
        printf 'DPkg::Chroot-Directory "%s";\n' "$tree"
        printf 'Dir::Etc::SourceList "%s/sources.list";\nDir::Etc::SourceParts "-";\n' "$tmp"
        printf 'APT::Sandbox::User "root";\nAPT::Install-Recommends "false";\n'
        printf 'Acquire::Languages "none";\n'
        printf 'APT::Architecture "amd64";\nAPT::Architectures "amd64";\n'
        printf 'DPkg::Options { "--force-confold"; "--force-unsafe-io"; ' 
        for path in doc man info locale lintian bug; do
            printf '"--path-exclude=/usr/share/%s/*"; ' $path
        done
        printf '"--path-include=/usr/share/doc/*/copyright"; };\n'
    } >>"$tmp/apt.conf"
    mkdir -p "$tree/var/lib/apt/lists/partial" "$tree/var/cache/apt/archives/partial" \
        "$tree/var/log/apt"
    # No service is started by its installation.
    printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
    chmod 755 "$tree/usr/sbin/policy-rc.d"
    apt-get update -q
    apt-get install -q -y --no-remove "$@"
    rm -rf "$tree/usr/sbin/policy-rc.d" "$tree/var/lib/apt/lists"
    mkdir -p "$tree/var/lib/apt/lists/partial"
    find "$tree/var/cache" "$tree/var/log" -type f -exec rm -f {} +
}

# All paths are the tree's: its links lead nowhere else. A package's program is started by Node
# where the tree has it, else by Deno.
# shellcheck disable=SC2016
place_script='
    cd /.csb-new
    if [ -d npm/node_modules ]; then
        mkdir -p /usr/local/lib /usr/local/bin
        rm -rf /usr/local/lib/node_modules
        mv npm/node_modules /usr/local/lib/node_modules
        chown -R -h 0:0 /usr/local/lib/node_modules
        [ -e /node_modules ] || ln -s usr/local/lib/node_modules /node_modules
        for link in /usr/local/lib/node_modules/.bin/*; do
            name=$(basename "$link")
            case $name in *[!A-Za-z0-9._-]*) continue ;; esac
            [ -L "$link" ] || continue
            rm -f "/usr/local/bin/$name"
            {
                printf "#!/bin/sh\nprogram=\"%s\"\n" "$(realpath "$link")"
                echo "if command -v node >/dev/null 2>&1; then exec node \"\$program\" \"\$@\"; fi"
                echo "set -- --allow-all --quiet \"\$program\" \"\$@\""
                echo "exec deno run --node-modules-dir=manual \"\$@\""
            } >"/usr/local/bin/$name"
            chmod 755 "/usr/local/bin/$name"
        done
    fi
    number=0
    [ ! -f files/list ] || while read -r mode path; do
        number=$((number + 1))
        install -D -m "$mode" -o 0 -g 0 "files/$number" "$path"
    done <files/list
'

place() {
    mkdir "$tree/.csb-new"
    for part in npm files; do
        [ ! -d "$1/$part" ] || cp -a "$1/$part" "$tree/.csb-new/"
    done
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 chroot "$tree" sh -euc "$place_script"
    rm -rf "$tree/.csb-new"
}

shift 2
case $step in
    copy | packages | place) "$step" "$@" ;;
    remove) rm -rf "$tree" ;;
    *) die "unknown step $step" ;;
esac
