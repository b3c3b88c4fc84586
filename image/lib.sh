# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Shared by the image scripts: messages, progress lines with seconds, and checks.
# The caller sets IMAGE_DIR (the directory of these scripts) before it sources this file.

# Administrator tools (chroot, modinfo, mkfs) are outside an ordinary user's PATH on Debian.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

# shellcheck source=image/image.conf
. "$IMAGE_DIR/image.conf"

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$DEFAULT_EPOCH}
export SOURCE_DATE_EPOCH

die() {
    printf 'image: %s\n' "$*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null 2>&1 || die "$1 is missing: install the package $2"
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# run_stage NAME COMMAND...: runs a command with its output in $LOG and prints one line with the
# seconds it took. A failure shows the end of the log. The command runs in a subshell that is no
# part of a condition, since a shell ignores `set -e` inside one.
run_stage() {
    stage_name=$1
    shift
    printf 'image: %-28s' "$stage_name"
    stage_start=$(now_ms)
    printf '== %s\n' "$stage_name" >>"$LOG"
    set +e
    (
        set -e
        "$@"
    ) >>"$LOG" 2>&1
    stage_status=$?
    set -e
    if [ $stage_status -ne 0 ]; then
        printf ' failed\n'
        tail -n 25 "$LOG" >&2
        die "the stage '$stage_name' failed"
    fi
    stage_ms=$(($(now_ms) - stage_start))
    printf '%5d.%01d s\n' $((stage_ms / 1000)) $((stage_ms % 1000 / 100))
}
