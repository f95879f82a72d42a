"""Policy services as people run them: postgrey; and what a service is told of client certificates (which attribute is empty when)."""
import os
import re
import smtplib
import socket
import time

import kit
from client_kit import OpenSSL, Swaks
from policy_kit import PolicyService

PARAMS = """\
relay_domains = dest.example
relay_recipient_maps =
transport_maps = inline:{ { dest.example = smtp:[127.0.0.2] } }
smtpd_tls_security_level = may
smtpd_tls_chain_files = %s, %s
smtpd_tls_CAfile = %s
smtpd_tls_ask_ccert = yes
tls_server_sni_maps = inline:{ { mx.test = %s %s } }
smtpd_tls_fingerprint_digest = sha256
smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10031
"""
MASTER = """\
127.0.0.1:25 inet n - n - - smtpd
127.0.0.1:2501 inet n - n - - smtpd -o { smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10023 }
smtp unix - - n - - smtp
relay unix - - n - - smtp
"""


def told(policy, cert=None, starttls=True, args=()):
    if starttls:
        with OpenSSL(pair=cert, args=args) as c:
            c.ehlo()
            kit.check(c.mail("s@dom.example", "r@dest.example")[0] == 250, "accepted")
    else:
        kit.check(Swaks(sender="s@dom.example", rcpt="r@dest.example").last()[0] == 250, "accepted")
    r = policy.last()
    return {k: r[k] for k in ("ccert_subject", "ccert_issuer", "ccert_fingerprint", "ccert_pubkey_fingerprint", "encryption_protocol",
                              "encryption_cipher", "encryption_keysize", "tls_sni")}


def certificates(env, policy):
    """The table of the thread about per-host TLS, row by row."""
    trusted, stranger = env.cert("client.example", cn="The Client"), env.cert("client.example", cn="The Client", ca="other")
    r = told(policy, starttls=False)
    kit.check(set(r.values()) == {""}, "without TLS everything is empty: %s" % r)
    r = told(policy)
    kit.check(r["encryption_protocol"] == "TLSv1.3" and r["encryption_cipher"].startswith("TLS_") and int(r["encryption_keysize"]) >= 128, r)
    kit.check({r[k] for k in r if k.startswith("ccert")} == {""}, "no certificate: %s" % r)
    kit.check(r["tls_sni"] == "" and told(policy, args=("-servername", "Name.Test"))["tls_sni"] == "name.test", "the server name that the client asked for")
    r = told(policy, trusted)
    kit.check((r["ccert_subject"], r["ccert_issuer"]) == ("The+20Client", "Test+20ca"), "CNs as xtext: %s" % r)
    kit.check(r["ccert_fingerprint"] == env.fingerprint(trusted[0]) and r["ccert_pubkey_fingerprint"] == env.pubkey_fingerprint(trusted[0]), r)
    r = told(policy, stranger)
    kit.check((r["ccert_subject"], r["ccert_issuer"]) == ("", ""), "names only when the certificate is trusted: %s" % r)
    kit.check(r["ccert_fingerprint"] == env.fingerprint(stranger[0]) and r["ccert_pubkey_fingerprint"] == env.pubkey_fingerprint(stranger[0]),
              "digests of any certificate: %s" % r)


def postgrey(env, s):
    db = env.path("postgrey")
    os.makedirs(db, exist_ok=True)
    user = kit.owner()
    kit.sh("chown", user, db)
    white = env.write("white", "")
    p = kit.Process(env, ["postgrey", "--inet=127.0.0.1:10023", "--dbdir=" + db, "--pidfile=" + os.path.join(db, "pid"), "--user=" + user, "--group=" + user,
                          "--delay=2", "--greylist-text=Come back in %s seconds", "--whitelist-clients=" + white, "--whitelist-recipients=" + white], "postgrey")

    def up():
        kit.check(p.alive(), "postgrey ended: " + p.text())
        try:
            socket.create_connection(("127.0.0.1", 10023), 1).close()
            return True
        except OSError:
            return False
    kit.wait_until("postgrey", up)

    def attempt():
        with smtplib.SMTP("127.0.0.1", 2501, local_hostname="c.test", timeout=kit.DEADLINE) as c:
            c.ehlo()
            c.mail("s@dom.example")
            code, text = c.rcpt("r@dest.example")
            if code == 250:
                code, text = c.data("Subject: x\n\nhello\n")
            return "%d %s" % (code, text.decode())
    since = s.mark()
    got = attempt()
    kit.check(re.match(r"450 4\.2\.0 <r@dest\.example>: Recipient address rejected: Come back in 2 seconds", got), "greylisted: %s" % got)
    s.wait_log(r"reject: RCPT from \S+: 450 4\.2\.0 <r@dest\.example>: Recipient address rejected: Come back in ", since)
    kit.wait_until("the second attempt to be taken", lambda: (lambda r: r if r.startswith("250") else time.sleep(0.5))(attempt()))
    kit.wait_until("its PREPEND to arrive", lambda: any(b"X-Greylist: delayed" in m["data"] for m in env.inbox.messages))


def run(env):
    kit.need("postgrey", "openssl", "swaks")
    env.dns(["dom.example. A 127.0.0.2"])
    cert, key = env.cert("mx.test")
    env.inbox = env.sink("127.0.0.2")
    policy = PolicyService(env, 10031, lambda attrs: "DUNNO")
    s = env.signet("mx", PARAMS % (key, cert, env.ca(), key, cert), MASTER)
    certificates(env, policy)
    postgrey(env, s)
