#!/bin/bash
# trixie.sh [DIR]: build and test in Debian 13, whose OpenSSL is 3.5 (post-quantum key exchange, raw public keys).
#
# DIR (default build-trixie) holds the system, made once by debootstrap from the mirror that this machine uses, and the
# build. Needs root. What is mounted is mounted in a mount namespace of this run only, so nothing is left behind however
# it ends; packages are kept for the next run. TRIXIE_TESTS names the end-to-end tests.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(realpath -m "${1:-$top/build-trixie}")
root=$dir/root
tests=${TRIXIE_TESTS:-t-01 t-02 t-19 t-58 t-6}
# every *_test of lib/tls and the client role, by the names that meson gives them
units=${TRIXIE_UNITS:-tls smtpc}

if [ "$(id -u)" != 0 ]; then
	echo "check-trixie needs root (debootstrap, chroot)" >&2
	exit 1
fi
if [ -z "${TRIXIE_INSIDE:-}" ]; then
	TRIXIE_INSIDE=1 exec unshare --mount --propagation private "$0" "$dir"
fi

mirror=$(sed -n 's/^URIs: *\(http[^ ]*\/debian\)\/*$/\1/p; s/^deb *\(\[[^]]*\] *\)*\(http[^ ]*\/debian\)\/* .*/\2/p' \
	/etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null | head -1)
mirror=${mirror:-http://deb.debian.org/debian}
mkdir -p "$dir"
if [ ! -e "$root/.complete" ]; then
	command -v debootstrap >/dev/null || { echo "check-trixie needs debootstrap: apt-get install debootstrap" >&2; exit 1; }
	if [ ! -x "$root/usr/bin/apt-get" ] || [ -d "$root/debootstrap" ]; then
		rm -rf --one-file-system "$root"
		echo "making a Debian 13 in $root"
		debootstrap --variant=minbase --include=ca-certificates trixie "$root" "$mirror" >"$dir/debootstrap.log" 2>&1 ||
			{ tail -20 "$dir/debootstrap.log"; exit 1; }
	fi
	# no daemon may start in there
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	touch "$root/.complete"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/src" "$root/build"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$top" "$root/src"
mount -o remount,bind,ro "$root/src"

packages="ccache $(sed -n 's/^build="\(.*\)"/\1/p' "$top/tests/kit/deps.sh") openssl swaks libnet-ssleay-perl nsd ldnsutils iproute2 util-linux passwd procps gnutls-bin unbound postfix postfix-pcre postfix-cdb postfix-lmdb"
missing=$(chroot "$root" dpkg-query -W -f '${Package} ${Status}\n' 2>/dev/null | awk -v want="$packages" '
	/ install ok installed$/ { have[$1] = 1 }
	END { n = split(want, w, " "); for (i = 1; i <= n; i++) if (!(w[i] in have)) printf "%s ", w[i] }')
if [ -n "$missing" ]; then
	echo "installing in there: $missing"
	chroot "$root" env DEBIAN_FRONTEND=noninteractive sh -c "apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing" \
		>"$dir/apt.log" 2>&1 || { tail -20 "$dir/apt.log"; exit 1; }
fi

inside() {
	chroot "$root" env -i PATH=/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CCACHE_DIR=/build/ccache sh -euc "$1"
}
inside 'echo "Debian $(cat /etc/debian_version), $(openssl version), $(gcc --version | head -1)"'
inside 'cd /src && CI=1 tests/kit/build.sh /build/out gcc'
status=0
inside "cd /src && meson test -C /build/out --no-rebuild \$(meson test -C /build/out --no-rebuild --list 2>/dev/null | sed 's/.* //' | grep -E '$(echo $units | tr ' ' '|')') --print-errorlogs | tail -40" || status=1
inside "cd /src && SIGNET_BUILD=/build/out PYTHONDONTWRITEBYTECODE=1 python3 tests/e2e/run.py -j 2 $tests" || status=1
exit $status
