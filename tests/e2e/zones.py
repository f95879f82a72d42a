"""A tree of zones served by nsd: signed, unsigned, bogus and broken parts below a signed root, keys made in the test."""
import hashlib
import os
import subprocess

import kit


class Tree:
    """zone(name, lines, how) for each zone, then start(): sets env.dns_params. `how`: "signed" (DS in the parent),
    "insecure" (unsigned, no DS), "bogus" (signed, but the DS in the parent is that of another key), "broken" (delegated, DS
    in the parent, and the server answers SERVFAIL)."""

    def __init__(self, env, address="127.0.0.53"):
        kit.need("nsd", "ldns-signzone", "ldns-keygen", "ldns-key2ds")
        self.env, self.address, self.zones = env, address, {}
        self.dir = env.path("dns")
        os.makedirs(self.dir, exist_ok=True)
        self.zone(".", [])

    def zone(self, name, lines, how="signed"):
        self.zones[name] = (list(lines), how)
        return self

    def parent(self, name):
        return max((z for z in self.zones if z != name and (z == "." or name.endswith("." + z))), key=len)

    def _write(self, name, lines):
        path = os.path.join(self.dir, "zone-%s" % (name.strip(".") or "root"))
        apex = ["%s 60 IN SOA ns. admin. 1 3600 900 86400 5" % name, "%s 60 IN NS ns." % name]
        with open(path, "w") as f:
            f.write("$TTL 60\n$ORIGIN %s\n%s\n" % (name, "\n".join(apex + lines)))
        return path

    def _key(self, name):
        return kit.sh("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", "-r", "/dev/urandom", name, cwd=self.dir).strip()

    def _ds(self, key):
        return kit.sh("ldns-key2ds", "-n", "-2", key + ".key", cwd=self.dir).strip()

    def start(self):
        conf = ["server:", " ip-address: %s" % self.address, ' username: ""', " zonesdir: %s" % self.dir, ' database: ""',
                ' pidfile: ""', ' xfrdfile: ""', ' zonelistfile: ""', ' logfile: "%s/nsd.log"' % self.dir, "remote-control:",
                " control-enable: no"]
        self.zones["."][0].append("ns. 60 IN A %s" % self.address)
        for name in sorted(self.zones, key=lambda z: -len(z) if z != "." else 1):    # children first, the root last
            lines, how = self.zones[name]
            up = None if name == "." else self.zones[self.parent(name)][0]
            if up is not None:
                up.append("%s 60 IN NS ns." % name)
            path = self._write(name, lines)
            if how != "insecure":
                key = self._key(name)
                if how != "broken":
                    kit.sh("ldns-signzone", "-o", name, path, key, cwd=self.dir)
                    path += ".signed"
                else:
                    os.rename(path, path + ".away")
                if up is not None:
                    up.append(self._ds(self._key(name) if how == "bogus" else key))
                else:
                    anchor = os.path.join(self.dir, key + ".ds")
            conf += ["zone:", ' name: "%s"' % name, ' zonefile: "%s"' % path]
        self.env.write("dns/nsd.conf", "\n".join(conf) + "\n")
        p = kit.Process(self.env, ["nsd", "-d", "-c", os.path.join(self.dir, "nsd.conf")], "nsd")
        kit.wait_until("nsd to answer", lambda: p.alive() and self.env._udp_answers(self.address, 53))
        self.env.dns_params = "dns_servers = %s\ndnssec_trust_anchor_files = %s\nsmtp_dns_support_level = dnssec\n" % (self.address, anchor)
        return self


def der(env, cert, selector):
    """The certificate (0) or its SubjectPublicKeyInfo (1)."""
    if selector == 0:
        return subprocess.run(["openssl", "x509", "-in", cert, "-outform", "DER"], check=True, stdout=subprocess.PIPE).stdout
    pem = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-pubkey"], check=True, stdout=subprocess.PIPE).stdout
    return subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, check=True, stdout=subprocess.PIPE).stdout


def tlsa(env, cert, usage=3, selector=1, matching=1):
    """What a TLSA record says about this certificate: "3 1 1 0A1B..."."""
    data = der(env, cert, selector)
    if matching:
        data = hashlib.new("sha256" if matching == 1 else "sha512", data).digest()
    return "%d %d %d %s" % (usage, selector, matching, data.hex().upper())
