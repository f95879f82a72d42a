"""LMTP under a TLS policy (tls-client.md section 19) with Dovecot's LMTP server: levels, names, the socket's own rules, what DANE may not promise."""
import os
import re

import kit
import sasl_kit

DOVECOT = """\
protocols = lmtp
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
mail_location = maildir:{dir}/%n
auth_username_format = %Ln
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.2
    port = 24
  }}
  unix_listener {sock} {{
    mode = 0666
  }}
}}
"""
# transport, level or entry for it, what must be logged; None for the relay where it is the same as with the transport's own
ROWS = (
    ("may", "lmtp:[store.test]:24", None, "Trusted"),
    ("encrypt", "enc:[store.test]:24", None, "Trusted"),
    ("secure", "sec:[store.test]:24", None, "Verified"),
    ("inet", "sec:inet:store.test:24", None, "Verified"),
    ("pin", "lmtp:[127.0.0.2]:24", "[127.0.0.2]:24 fingerprint match={spki}", "Verified"),
    ("othername", "sec:[other.test]:24", None, r"4\.7\.5, status=deferred \(Server certificate not verified\)"),
    ("sub", "sec:[sub.store.test]:24", None, r"4\.7\.5, status=deferred \(Server certificate not verified\)"),
    ("dane", "dane:[dane.test]:24", None, "Verified"),
    ("sockmay", "lmtp:unix:{sock}", None, "clear"),
    ("sockenc", "enc:unix:{sock}", None, "Trusted"),
    ("socksec", "sec:unix:{sock}", None, "Verified"),
    ("sockother", "elsewhere:unix:{sock}", None, r"4\.7\.5, status=deferred \(Server certificate not verified\)"),
    ("sockdane", "dane:unix:{sock}", None, r"4\.7\.5, status=deferred \(client TLS configuration problem\)"),
)
MASTER = kit.MASTER_CF.format(smtp="127.0.0.1:25") + """\
enc unix - - n - - lmtp -o lmtp_tls_security_level=encrypt
sec unix - - n - - lmtp -o lmtp_tls_security_level=secure
dane unix - - n - - lmtp -o lmtp_tls_security_level=dane
elsewhere unix - - n - - lmtp -o lmtp_tls_security_level=secure -o lmtp_tls_secure_cert_match=store.test.invalid
"""


def run(env):
    # what Dovecot shows is good for store.test, for the gateway's own name (a socket's next hop is this machine), and for nobody else
    cert, key = env.cert("store.test", sans=["store.test", "dane.test", "gw.test"])
    spki = env.pubkey_fingerprint(cert)
    env.dns(["%s.test. A 127.0.0.2" % name for name in ("store", "other", "sub.store", "dane")] +
            ["_24._tcp.dane.test. TLSA 3 1 1 " + spki.replace(":", "")])
    sock = env.path("dovecot-lmtp.sock")
    os.makedirs(env.path("mail"))
    os.chmod(env.path("mail"), 0o777)
    users = "".join("%s:{PLAIN}x\n" % name for name, *_ in ROWS)
    sasl_kit.Dovecot(env, env.path("dovecot-auth/auth"), users=users,
                     more=DOVECOT.format(cert=cert, key=key, dir=env.path("mail"), sock=sock))
    s = env.signet("gw", master_cf=MASTER, start=False, files={
        "transport": "".join("%s.example %s\n" % (name, transport.format(sock=sock)) for name, transport, _, _ in ROWS),
        "policy": "".join(entry.format(spki=spki) + "\n" for _, _, entry, _ in ROWS if entry)})
    s.set("transport_maps = texthash:%s/transport\nlmtp_tls_policy_maps = texthash:%s/policy\nlmtp_tls_security_level = may\n"
          "lmtp_tls_loglevel = 1\nlmtp_tls_CAfile = %s\nlmtp_dns_support_level = dnssec\nsmtp_dns_support_level = dnssec\n" % (s.conf, s.conf, env.ca()))
    s.start()
    for name, _, _, want in ROWS:
        since = s.mark()
        qid = kit.queue_id(kit.send(rcpts="%s@%s.example" % (name, name)))
        line = s.wait_log(r"signet/\w+\[\d+\]: %s: to=<.*status=.*" % qid, since).group(0)
        if want.startswith("4"):
            kit.check(re.search(want, line), "%s: %s" % (name, line))
            continue
        kit.check("status=sent (250 2.0.0 <%s@%s.example>" % (name, name) in line, "%s: %s\n%s" % (name, line, s.log()[since:]))
        log = s.log()[since:]
        if want == "clear":
            kit.check("TLS connection established" not in log, log)
            kit.check("opportunistic TLS is not used on a UNIX-domain socket" in log, log)
        else:
            kit.check(want + " TLS connection established to " in log, "%s: %s" % (name, log))
    kit.check(s.has_log("warning: .*level dane is impossible on a UNIX-domain socket"), "why the socket and DANE do not go together")
    s.stop()
