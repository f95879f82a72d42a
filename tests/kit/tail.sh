#!/bin/sh
# Our longest functions and files.
ctags -x --c-kinds=f --_xformat='%{line} %{end} %F %N' -R src 2>/dev/null | grep -v _test.c |
	awk '$2 ~ /^[0-9]+$/ {print $2 - $1 + 1, $3 ":" $1, $4}' | sort -rn | head -20
echo
find src -name '*.c' -exec wc -l {} + | sort -rn | sed -n 2,12p
