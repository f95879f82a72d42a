#!/bin/bash
# fuzz.sh SECONDS: run every fuzz target for a while; fuzz.sh replay [BUILD]: only the stored corpora, with sanitizers.
set -eu
mode=$1
dir=build-fuzz
CC=clang
[ -f $dir/build.ninja ] || CC="$(command -v ccache >/dev/null && echo ccache) clang" meson setup $dir -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 >/dev/null
list=$(find src table gen -name '*.[ch]' -o -name '*.tab' -o -name '*.py' -o -name meson.build | LC_ALL=C sort)
[ "$list" = "$(cat $dir/fuzz.list 2>/dev/null)" ] || meson setup --reconfigure $dir >/dev/null
echo "$list" > $dir/fuzz.list
ninja -C $dir >$dir/ninja.log 2>&1 || { grep -E -A5 'error|FAILED' $dir/ninja.log | head -40; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

replay() { # the corpus, and a moment of the real thing, so that a target that no longer does anything is seen
	local name
	name=$(basename "$1")
	"$1" -runs=0 -timeout=20 "tests/fuzz/${name#fuzz_}" >$dir/$name.log 2>&1 &&
		"$1" -runs=2000 -max_len=4096 -timeout=20 -rss_limit_mb=4000 "$(mktemp -d -p "$scratch")" >>$dir/$name.log 2>&1 </dev/null ||
		{ tail -40 $dir/$name.log; return 1; }
}
export -f replay
export dir scratch

targets=$(find $dir/src -maxdepth 1 -name 'fuzz_*' -type f -perm -u+x | LC_ALL=C sort)
[ -n "$targets" ] || { echo "no fuzz targets"; exit 1; }
for exe in $targets; do
	name=$(basename "$exe")
	corpus=tests/fuzz/${name#fuzz_}
	mkdir -p "$corpus"
	[ "$mode" != replay ] || continue
	echo "== $name"
	"$exe" -max_total_time="$mode" -timeout=20 -rss_limit_mb=4000 -print_final_stats=1 "$corpus" >$dir/$name.log 2>&1 || { tail -60 $dir/$name.log; exit 1; }
	grep -E 'number_of_executed_units|new_units_added' $dir/$name.log
done
[ "$mode" != replay ] || xargs -P "$(nproc)" -n 1 bash -c 'replay "$1" || exit 255' - <<<"$targets" || exit 1
echo "$(wc -l <<<"$targets") fuzz targets"
