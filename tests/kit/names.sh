#!/bin/sh
# names.sh BUILD: no two files of the program define the same global name. The roles are linked from archives, where the linker would
# take one of them in silence.
names=$(nm -g --defined-only "$1"/src/lib*.a 2>/dev/null | awk 'NF == 3 && $2 ~ /[ABCDGRST]/ { print $3 }' | sort)
[ "$(echo "$names" | wc -l)" -gt 500 ] || { echo "nm found no names below $1/src"; exit 1; }
twice=$(echo "$names" | uniq -d)
[ -z "$twice" ] || { echo "defined twice:" $twice; exit 1; }
