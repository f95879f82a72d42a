#!/bin/bash
# trixie.sh [DIR]: build and test in Debian 13, whose OpenSSL is 3.5 (post-quantum key exchange, raw public keys).
#
# DIR (default build-trixie) holds the system, made once by debootstrap from the mirror that this machine uses, and the
# build. Needs root. What is mounted and started lives in namespaces of this run only, so nothing is left behind however it
# ends; system and packages are kept for the next run. TRIXIE_TESTS names the end-to-end tests (words of their names),
# TRIXIE_UNITS the unit tests.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(realpath -m "${1:-$top/build-trixie}")
root=$dir/root
# all that a handshake says or decides; t-75 (the search of memories for keys) says the same in any Debian, and takes long
tests=${TRIXIE_TESTS:-t-01 t-02 t-19 t-58 t-6 t-70 t-71 t-72 t-73 t-74 t-76 t-77 t-78 t-79 t-80 t-81 t-83}
# every *_test of lib/tls, of the roles that speak TLS or sign for it, and of what is said about it
units=${TRIXIE_UNITS:-tls smtpc smtpd keeper received}

die() {
	echo "check-trixie: $1" >&2
	exit 1
}

trap 'exit 130' INT TERM
if [ -z "${TRIXIE_INSIDE:-}" ]; then
	[ "$(id -u)" = 0 ] || die "needs root (debootstrap, chroot)"
	command -v debootstrap >/dev/null || [ -e "$root/.complete" ] || die "needs debootstrap: apt-get install debootstrap"
	unshare --mount --pid --fork true 2>/dev/null || die "may not make namespaces here (CAP_SYS_ADMIN)"
	mkdir -p "$dir"
	exec 9>"$dir/.lock"
	flock -n 9 || die "is running already in $dir"
	# nothing that a test starts outlives this
	TRIXIE_INSIDE=1 exec unshare --mount --propagation private --pid --fork --kill-child "$0" "$dir"
fi

# --- the system

mirror=$(sed -n 's/^URIs: *\(http[^ ]*\/debian\)\/*\( .*\)*$/\1/p; s/^deb *\(\[[^]]*\] *\)*\(http[^ ]*\/debian\)\/* .*/\2/p' \
	/etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null | head -1)
mirror=${mirror:-http://deb.debian.org/debian}
if [ ! -e "$root/.complete" ]; then
	if [ ! -x "$root/usr/bin/apt-get" ] || [ -d "$root/debootstrap" ]; then
		rm -rf --one-file-system "$root"
		echo "making a Debian 13 in $root"
		debootstrap --variant=minbase --include=ca-certificates trixie "$root" "$mirror" >"$dir/debootstrap.log" 2>&1 ||
			{ tail -20 "$dir/debootstrap.log"; die "debootstrap from $mirror failed; the whole story is in $dir/debootstrap.log"; }
	fi
	# no daemon may start in there
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	touch "$root/.complete"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
apt-config dump 2>/dev/null | grep -E '^Acquire::https?::Proxy ' >"$root/etc/apt/apt.conf.d/90proxy" || true
mkdir -p "$root/src" "$root/build"
# a mount point of its own: unshare(1) in the tests wants / to be one
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$top" "$root/src"
mount -o remount,bind,ro "$root/src"

# --- its packages

packages="ccache $(sed -n 's/^build="\(.*\)"/\1/p' "$top/tests/kit/deps.sh") openssl swaks libnet-ssleay-perl nsd ldnsutils iproute2 util-linux passwd procps gnutls-bin unbound postfix postfix-pcre postfix-cdb postfix-lmdb"
missing=$(chroot "$root" dpkg-query -W -f '${Package} ${Status}\n' 2>/dev/null | awk -v want="$packages" '
	/ install ok installed$/ { have[$1] = 1 }
	END { n = split(want, w, " "); for (i = 1; i <= n; i++) if (!(w[i] in have)) printf "%s ", w[i] }')
if [ -n "$missing" ]; then
	echo "installing in there: $missing"
	# the first word mends what an interrupted run left
	chroot "$root" env DEBIAN_FRONTEND=noninteractive sh -c "dpkg --configure -a && apt-get update -qq &&
		apt-get install -f -y -qq --no-install-recommends $missing && apt-get clean" >"$dir/apt.log" 2>&1 ||
		{ tail -20 "$dir/apt.log"; die "packages cannot be installed; the whole story is in $dir/apt.log"; }
fi

# --- build and test

inside() {
	chroot "$root" env -i PATH=/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CCACHE_DIR=/build/ccache \
		SIGNET_BUILD=/build/out PYTHONDONTWRITEBYTECODE=1 sh -euc "$1"
}
inside 'echo "Debian $(cat /etc/debian_version), $(openssl version), $(gcc --version | head -1)"'
inside 'cd /src && CI=1 tests/kit/build.sh /build/out gcc'
status=0
inside "cd /src && meson test -C /build/out --no-rebuild \$(meson test -C /build/out --no-rebuild --list 2>/dev/null | sed 's/.* //' |
	grep -E '$(echo $units | tr ' ' '|')') --print-errorlogs >/build/unit.log 2>&1" || status=1
[ "$status" = 0 ] || tail -120 "$root/build/unit.log"
sed -n 's/^Ok: */unit tests: passed /p; s/^Fail: */unit tests: failed /p' "$root/build/unit.log"
grep -q '^Ok: *[1-9]' "$root/build/unit.log" || status=1
inside "cd /src && CI=1 python3 tests/e2e/run.py -j $(nproc) $tests" || status=1
if [ "$status" != 0 ]; then
	rm -rf "$dir/failed"
	mkdir -p "$dir/failed"
	cp -a "$root"/tmp/signet-e2e-* "$dir/failed/" 2>/dev/null && echo "what failed tests left is in $dir/failed"
fi
exit $status
