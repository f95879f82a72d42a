#!/bin/bash
# check.sh BUILD ASAN: everything `make check` promises; one line a part, "N passed, N failed" at the end.
set -u
build=$1 asan=$2
passed=0 failed=0 skipped=0
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

part() { # part NAME COMMAND...: one check of its own
	local name=$1 start=$SECONDS
	shift
	if "$@" >"$log/out" 2>&1; then
		echo "PASS  $name ($((SECONDS - start)) s)"
		passed=$((passed + 1))
	else
		echo "FAIL  $name"
		sed 's/^/    /' "$log/out" | tail -60
		failed=$((failed + 1))
		return 1
	fi
}

unit() { # unit DIR: meson tests of one build
	local ok bad
	meson test -C "$1" --no-rebuild --print-errorlogs >"$log/unit" 2>&1
	ok=$(sed -n 's/^Ok: *//p' "$log/unit") bad=$(awk '/^(Fail|Timeout|Unexpected Pass):/ {s += $NF} END {print s + 0}' "$log/unit")
	echo "unit tests ($1): ${ok:-0} passed, $bad failed"
	[ "$bad" = 0 ] && [ -n "$ok" ] || sed 's/^/    /' "$log/unit" | tail -120
	passed=$((passed + ${ok:-0})) failed=$((failed + bad))
	[ -n "$ok" ] || failed=$((failed + 1))
}

export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
part "layers" python3 gen/layers.py
part "build with gcc" tests/kit/build.sh "$build" gcc || { echo "$passed passed, $failed failed"; exit 1; }
part "build with clang, address and undefined-behaviour sanitizers" tests/kit/build.sh "$asan" clang -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 || { echo "$passed passed, $failed failed"; exit 1; }
part "parameters that work have a reader and a test" python3 gen/params.py check table/params.tab
part "every global name is defined once" tests/kit/names.sh "$build"
part "documents name every folder and verb" python3 gen/docs.py "$build"
part "promises have their tests, and tests a place among them" python3 gen/promises.py
part "statements about servers have their tests" python3 gen/statements.py
unit "$build"
unit "$asan"
sim() { # sim BUILD OPTION...: the simulator's scripts, or some of the failures of torture
	SIGNET_BUILD=$PWD/$1 python3 tests/sim/run.py "${@:2}" >"$log/sim" 2>&1
	sed -n "/^[a-z]*: [0-9]* passed/!p" "$log/sim"
	local line
	line=$(grep -E '^[a-z]+: [0-9]+ passed' "$log/sim" | tail -1)
	[ -n "$line" ] || { failed=$((failed + 1)); echo "FAIL  the simulator gave no result"; return; }
	passed=$((passed + $(sed 's/.*: \([0-9]*\) passed.*/\1/' <<<"$line")))
	failed=$((failed + $(sed 's/.* \([0-9]*\) failed.*/\1/' <<<"$line")))
}
for b in "$build" "$asan"; do
	echo "simulator ($b):"
	sim "$b"
done
sim "$build" --torture 40
sim "$asan" --torture 80 bounce dane
part "fuzz corpora replayed" tests/kit/fuzz.sh replay "$asan"
run_e2e() { # run_e2e BUILD TEST...
	SIGNET_BUILD=$PWD/$1 python3 tests/e2e/run.py -j "$(nproc)" "${@:2}" 2>&1 | tee "$log/e2e" | grep -v '^e2e:'
	local line
	line=$(grep '^e2e:' "$log/e2e" | tail -1)
	[ -n "$line" ] || { failed=$((failed + 1)); echo "FAIL  the end-to-end runner gave no result"; return; }
	passed=$((passed + $(sed 's/.*: \([0-9]*\) passed.*/\1/' <<<"$line")))
	failed=$((failed + $(sed 's/.* \([0-9]*\) failed.*/\1/' <<<"$line")))
	skipped=$((skipped + $(sed 's/.* \([0-9]*\) skipped.*/\1/' <<<"$line")))
}
part "dialogues" env SIGNET_BUILD="$PWD/$build" python3 tests/dialog/run.py
run_e2e "$build"
echo "hostile peers, with sanitizers ($asan):"
run_e2e "$asan" t-39-server-beside-postfix t-73-hostile-tls t-92-dovecot-trouble
if [ "$skipped" -gt 0 ]; then
	echo "$skipped end-to-end tests were skipped"
	[ -z "${CI:-}" ] || failed=$((failed + skipped))
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
