#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes one harness with clang's libFuzzer under ASan and UBSan. See README.
#
#     tests/fuzz/run.sh NAME [SECONDS] [WORK-DIRECTORY]
set -eu

name=${1:?usage: run.sh NAME [SECONDS] [WORK-DIRECTORY]}
seconds=${2:-60}
cd "$(dirname "$0")/../.."
work=${3:-build/fuzz}/$name

clang=${CLANG:-}
for candidate in clang clang-19 clang-16 clang-14; do
    [ -n "$clang" ] && break
    command -v "$candidate" >/dev/null && clang=$candidate
done
[ -n "$clang" ] || { echo "run.sh: no clang found (set CLANG)" >&2; exit 1; }

base="src/base/buf.c src/base/clock.c src/base/err.c src/base/fd.c"
case $name in
execute)
    sources="src/api/execute_parse.c src/config/config.c src/config/config_load.c
        src/base/ini.c src/base/parse.c src/sandbox/runtime.c src/sandbox/path.c
        src/json/base64.c src/json/read.c src/json/utf8.c"
    libs="-ljansson -lnettle -lm"
    ;;
json)
    sources="src/json/base64.c src/json/read.c src/json/utf8.c src/json/write.c"
    libs="-ljansson -lm"
    ;;
frames) sources="src/channel/frames.c" libs="" ;;
channel_client)
    sources="src/channel/channel.c src/channel/channel_session.c src/channel/channel_stream.c"
    libs="-lnghttp2 -lpthread"
    ;;
agent_spec) sources="src/agent/spec.c" libs="-ljansson" ;;
result)
    sources="src/sandbox/agent_client.c src/channel/channel.c src/channel/channel_session.c
        src/channel/channel_stream.c src/json/read.c src/json/utf8.c src/base/id.c"
    libs="-ljansson -lnghttp2 -lpthread -lm"
    ;;
plan)
    sources="src/jail/plan_text.c src/jail/plan_text_read.c src/jail/jail_check.c src/base/parse.c"
    libs=""
    ;;
server) sources="src/channel/server.c src/channel/server_stream.c" libs="-lnghttp2" ;;
h1) sources="src/http/h1.c" libs="" ;;
sandboxes)
    sources="src/api/sandboxes_parse.c src/api/sandboxes_query.c src/http/query.c src/json/read.c
        src/json/utf8.c src/base/parse.c"
    libs="-ljansson -lm"
    ;;
jobs)
    sources="src/api/jobs_parse.c src/api/execute_parse.c src/webhook/webhook.c
        src/webhook/address.c src/webhook/lookup.c src/webhook/sign.c src/config/config.c src/config/config_load.c
        src/config/config_table.c src/base/ini.c src/base/parse.c
        src/sandbox/runtime.c src/sandbox/path.c src/json/base64.c src/json/read.c
        src/json/utf8.c"
    libs="-ljansson -lnettle -lcurl -lm"
    ;;
recipe) sources="src/cli/recipe.c src/base/ini.c" libs="" ;;
snapshot)
    sources="src/driver/image_store.c src/driver/qemu_stream.c src/driver/store_dir.c
        src/driver/template_ram.c src/driver/template_store.c src/base/id.c src/base/ini.c
        src/base/parse.c"
    libs="-lzstd -lnettle"
    ;;
multipart) sources="src/agent/envd/multipart.c src/agent/envd/path.c" libs="" ;;
*) echo "run.sh: no harness named $name" >&2; exit 1 ;;
esac

mkdir -p "$work/corpus" "$work/found"
# shellcheck disable=SC2086 # the lists are split on purpose
"$clang" -std=gnu17 -D_GNU_SOURCE -DCSB_VERSION='"fuzz"' -g -O1 -fno-omit-frame-pointer \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Isrc \
    -o "$work/fuzz" "tests/fuzz/fuzz_$name.c" $sources $base $libs
exec "$work/fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 \
    -artifact_prefix="$work/found/" "$work/corpus" "tests/fuzz/corpus/$name"
