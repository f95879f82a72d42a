#!/bin/bash
# check-all.sh: what `make check` does not do for want of time: the other compiler for each build, three analyzers, and
# everything once more in a Debian 13 (OpenSSL 3.5). One line a part, "N passed, N failed" at the end.
# CHECK_ALL="clang gcc-asan analyzer tidy cppcheck trixie" chooses parts.
set -u
parts=${CHECK_ALL:-clang gcc-asan analyzer tidy cppcheck trixie}
passed=0 failed=0
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

part() { # part WORD NAME COMMAND...
	local word=$1 name=$2 start=$SECONDS
	shift 2
	case " $parts " in *" $word "*) ;; *) return 0 ;; esac
	if "$@" >"$log/out" 2>&1; then
		echo "PASS  $name ($((SECONDS - start)) s)"
		passed=$((passed + 1))
	else
		echo "FAIL  $name"
		sed 's/^/    /' "$log/out" | tail -80
		failed=$((failed + 1))
	fi
}

sources() {
	find src -name '*.c' ! -name '*_test.c' ! -name '*_fuzz.c' | LC_ALL=C sort
}

build_and_test() { # build_and_test DIR COMPILER [options]
	local dir=$1
	CI=true tests/kit/build.sh "$@" && meson test -C "$dir" --no-rebuild --print-errorlogs
}

analyzer() {
	rm -rf build-analyzer
	CC="$(command -v ccache || true) gcc" meson setup build-analyzer -Danalyzer=true >"$log/an" 2>&1 || { cat "$log/an"; return 1; }
	ninja -C build-analyzer src/signet src/signetd >"$log/an" 2>&1 || { grep -A5 error "$log/an"; return 1; }
	! grep -A8 'warning:' "$log/an"
}

tidy() {
	tests/kit/build.sh build-clang clang || return 1
	sources | xargs -P"$(nproc)" -n8 clang-tidy -p build-clang --quiet 2>"$log/tidy"
}

cpp() {
	# the loops of jansson, as something that has no semicolon in it
	sources | xargs cppcheck -q -j"$(nproc)" --std=c11 --enable=warning,portability --error-exitcode=1 \
		--suppressions-list=tests/kit/cppcheck.txt -D_GNU_SOURCE -D'json_array_foreach(a,i,v)=while(next(a,&i,&v))' \
		-D'json_object_foreach(o,k,v)=while(next(o,&k,&v))' -Isrc/lib -Isrc -Ibuild-clang/src/lib \
		--template='{file}:{line}: {severity}: {message} [{id}]'
}

export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
part clang "clang, release build and unit tests" build_and_test build-clang clang
part gcc-asan "gcc, address and undefined-behaviour sanitizers, unit tests" build_and_test build-gcc-asan gcc -Db_sanitize=address,undefined -Doptimization=1
part analyzer "gcc -fanalyzer" analyzer
part tidy "clang-tidy" tidy
part cppcheck "cppcheck" cpp
part trixie "Debian 13 (make check-trixie)" tests/kit/trixie.sh build-trixie
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
