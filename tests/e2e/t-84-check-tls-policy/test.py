"""signet check reads smtpd_tls_policy_maps: values that make no sense, names that relax, clients without STARTTLS."""
import re

import kit


def run(env):
    cert, key = env.cert("mx.test")
    table = env.write("mx/etc/policy", "* encrypt\nlax.example may\n.strict.example verify\n192.0.2.1 may\n192.0.2.2 none\ntypo.example encript\n2001:db8 may\n")
    main = "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_policy_maps = texthash:%s\n" % (cert, key, table)
    s = env.signet("mx", main, start=False)
    out = s.cli("check", check_status=False)
    lines = {int(n): text for n, text in re.findall(r"%s:(\d+): (.*)" % re.escape(table), out)}
    kit.check(sorted(lines) == [1, 2, 5, 6], "%s\n%s" % (lines, out))
    kit.check("warning" in lines[1] and "* demands TLS of everybody on port 25" in lines[1], lines)
    kit.check("warning" in lines[2] and "lax.example relaxes by DNS name (may, where others get encrypt)" in lines[2], lines)
    kit.check("192.0.2.2 is not offered STARTTLS" in lines[5] and "error" in lines[6] and '"encript" is not one of none, may' in lines[6], lines)
    # without "*" the service's level is what others get
    env.write("mx/etc/policy", "lax.example may\nno.example none\n")
    out = s.cli("check", check_status=False)
    kit.check("lax.example relaxes" not in out and "sni=" not in out and "no.example relaxes by DNS name (none, where others get may)" in out, out)
    # every client can say any server name
    env.write("mx/etc/policy", "* encrypt\nsni=lax.example may\nsni=strict.example verify\nsni=none.example none\n")
    out = s.cli("check", check_status=False)
    kit.check(re.search(r"warning: .*sni=lax\.example takes the place of what others get \(encrypt\): every client can choose this entry", out) and
              "sni=strict.example" not in out and re.search(r"error: .*sni=none\.example: a client that asks for a server name has begun TLS already", out), out)
    env.write("mx/etc/policy", "sni=strict.example encrypt\n")
    s.set(main + "smtpd_tls_req_ccert = yes\nsmtpd_tls_CAfile = %s\n" % env.ca(), kit.MASTER_CF.format(smtp="127.0.0.1:25") + " -o smtpd_tls_security_level=encrypt\n")
    out = s.cli("check", check_status=False)
    kit.check("sni=strict.example takes the place of what others get (smtpd_tls_req_ccert)" in out, out)
    # who demands it elsewhere than on port 25 may
    env.write("mx/etc/policy", "* encrypt\n")
    s.set(main, kit.MASTER_CF.format(smtp="127.0.0.1:587"))
    out = s.cli("check", check_status=False)
    kit.check("on port 25" not in out, out)
    # the same level with less to show relaxes as well
    env.write("mx/etc/policy", "* verify bits=256 match=.partner.example\nweak.example verify bits=128 match=.other.example\nany.example verify bits=256\n"
              "other.example verify bits=256 issuer=/CN=x\n192.0.2.1 verify\n")
    out = s.cli("check", check_status=False)
    kit.check("weak.example relaxes by DNS name (verify bits=128 match=.other.example, where others get verify bits=256 match=.partner.example)" in out and
              "any.example relaxes" in out and " other.example relaxes" not in out and "192.0.2.1 relaxes" not in out, out)
