#!/bin/sh
# Install what is missing for the named purposes (build, run, check, bench), or print the line that would.
set -eu
build="gcc meson ninja-build pkg-config python3 libevent-dev libunbound-dev nettle-dev libssl-dev libpcre2-dev liblmdb-dev libcdb-dev libidn2-dev libjansson-dev libcmocka-dev dns-root-data"
run="openssl swaks libnet-ssleay-perl nsd ldnsutils"
check="clang unbound libclang-rt-14-dev openssl swaks libnet-ssleay-perl nsd ldnsutils iproute2 util-linux passwd procps gnutls-bin dovecot-core dovecot-lmtpd haproxy postgrey"
# Postfix as a peer and as the measure: 3.10 or later, which bookworm has in its backports
peers="postfix postfix-pcre postfix-cdb postfix-lmdb"
analyze="clang-tidy cppcheck debootstrap"
# its TLS clients use BoringSSL: lighter than the servers they measure
bench="gcc android-libboringssl-dev openssl procps iproute2 strace nsd ldnsutils"
want=""
for purpose in "$@"; do
	case $purpose in
	build) want="$want $build" ;;
	run) want="$want $run" ;;
	check) want="$want $check" ;;
	bench) want="$want $bench" ;;
	analyze) want="$want $analyze" ;;
	*) echo "deps.sh: unknown purpose $purpose" >&2; exit 2 ;;
	esac
done
missing=""
for p in $want; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
backports=""
case " $* " in
*" check "* | *" bench "*)
	for p in $peers; do
		dpkg --compare-versions "$(dpkg-query -W -f '${Version}' "$p" 2>/dev/null || echo 0)" ge 3.10 || backports="$backports $p"
	done
	;;
esac
[ -n "$missing$backports" ] || exit 0
sudo=""
if [ "$(id -u)" != 0 ]; then
	if sudo -n true 2>/dev/null; then
		sudo="sudo -n"
	else
		[ -z "$missing" ] || echo "Missing packages. Run this once, then try again:
  sudo apt-get install --no-install-recommends$missing" >&2
		[ -z "$backports" ] || echo "Postfix 3.10 is missing. Run this once, then try again:
  sudo apt-get install --no-install-recommends -t bookworm-backports $backports" >&2
		exit 1
	fi
fi
# daemons that come along for the tests must not start a default instance
policy=/usr/sbin/policy-rc.d
ours=""
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod 755 $policy
	ours=yes
fi
trap '[ -z "$ours" ] || $sudo rm -f $policy' EXIT
echo "Installing:$missing $backports"
$sudo apt-get update -qq || true
[ -z "$missing" ] || DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
if [ -n "$backports" ]; then
	if ! grep -rqs bookworm-backports /etc/apt/sources.list /etc/apt/sources.list.d; then
		echo 'deb http://deb.debian.org/debian bookworm-backports main' | $sudo tee /etc/apt/sources.list.d/signet-backports.list >/dev/null
		$sudo apt-get update -qq
	fi
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends -t bookworm-backports $backports >/dev/null
fi
