#!/bin/sh
# build.sh DIR gcc|clang [meson options]: configure when needed (also when files came or went) and build.
set -eu
dir=$1 cc=$2
shift 2
cache=$(command -v ccache || true)
list=$(find src table gen -name '*.[ch]' -o -name '*.tab' -o -name '*.py' -o -name meson.build | LC_ALL=C sort)
if [ ! -f "$dir/build.ninja" ]; then
	CC="${cache:+ccache }$cc" meson setup "$dir" "$@" >"/tmp/signet-meson.$$" 2>&1 || { cat "/tmp/signet-meson.$$"; exit 1; }
	rm -f "/tmp/signet-meson.$$"
elif [ "$list" != "$(cat "$dir/sources.list" 2>/dev/null)" ]; then
	meson setup --reconfigure "$dir" >/dev/null
fi
echo "$list" > "$dir/sources.list"
ninja -C "$dir" >"$dir/ninja.log" 2>&1 || { grep -E -A5 'error|FAILED' "$dir/ninja.log" | head -60; exit 1; }
if grep -q 'warning:' "$dir/ninja.log"; then
	grep -A4 'warning:' "$dir/ninja.log" | head -40
	if [ -n "${CI:-}" ]; then
		echo "warnings are errors here"
		exit 1
	fi
fi
