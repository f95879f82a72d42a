"""Access by client certificate: relay_clientcerts, permit_tls_clientcerts, permit_tls_all_clientcerts, check_ccert_access with every
search key, reject_plaintext_session. What the author of the guide recommends: the privileges of a trusted machine by fingerprint,
taken back by removing the entry."""
import re

import kit
from client_kit import GnuTLS, OpenSSL, Swaks


def run(env):
    kit.need("openssl", "swaks", "gnutls-cli")
    cert, key = env.cert("mx.test")
    pairs = {"good": env.cert("client.test", sans=["client.test", "*.office.test", "email:Joe@office.test"]), "selfmade": env.cert("selfmade.test", ca=None),
             "other": env.cert("other.test", ca=None), "foreign": env.cert("client.test", ca="other", cn="client.test")}
    fp = {n: env.fingerprint(p[0]) for n, p in pairs.items()}
    pk = {n: env.pubkey_fingerprint(p[0]) for n, p in pairs.items()}
    files = {"by_cert": "%s machine one\n" % fp["selfmade"], "by_key": "%s machine two\n" % pk["selfmade"],
             "access": "%s OK\n%s REJECT no more of this one\n" % (fp["selfmade"], fp["other"]),
             "keys": "%s DUNNO\n%s 550 5.7.1 by key\n" % (fp["selfmade"], pk["selfmade"]),
             "lower": "%s OK\n" % fp["selfmade"].lower()}
    # authorities vouch for what people call themselves
    pairs["two in one"] = env.cert("two in one", sans=[], cn="Acme\\/CN=admin")
    pairs["whole name"] = env.cert("whole name", sans=["email:/CN=admin"], cn="\\/CN=admin")
    pairs["admin"] = env.cert("admin", sans=[])
    pairs["hundreds"] = env.cert("hundreds", sans=["n%d.example" % i for i in range(150)] + ["x.office.test", "email:joe@office.test"])
    files["dn"] = "/CN=Acme/CN=admin OK\n/CN=admin OK\n"
    d = env.path("mx", "etc")
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25")
    services = {
        2501: ["smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = texthash:%s/by_cert" % d],
        2502: ["smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = texthash:%s/by_key" % d],
        2503: ["smtpd_relay_restrictions = permit_tls_all_clientcerts, reject", "relay_clientcerts = texthash:%s/by_cert" % d],
        2504: ["smtpd_relay_restrictions = check_ccert_access texthash:%s/access, reject" % d],
        2505: ["smtpd_relay_restrictions = check_ccert_access texthash:%s/keys, reject" % d],
        2506: ["smtpd_relay_restrictions = check_ccert_access { texthash:%s/keys { search_order = pubkey_fingerprint, cert_fingerprint } }, reject" % d],
        2507: ["smtpd_relay_restrictions = check_ccert_access { inline:{{client.test=OK}} { search_order = subject_cn } }, reject"],
        2508: ["smtpd_relay_restrictions = check_ccert_access { inline:{{Test ca=OK}} { search_order = issuer_cn } }, reject"],
        2509: ["smtpd_relay_restrictions = check_ccert_access { inline:{{*.office.test=OK}} { search_order = cert_fingerprint, san_dns } }, reject"],
        2516: ["smtpd_relay_restrictions = check_ccert_access { inline:{{joe@office.test=OK}} { search_order = san_email } }, reject"],
        2519: ["smtpd_relay_restrictions = check_ccert_access { inline:{{x.office.test=OK}} { search_order = san_dns } }, reject"],
        2518: ["smtpd_relay_restrictions = check_ccert_access { texthash:%s/dn { search_order = subject_cn, san_email, subject_dn } }, reject" % d],
        2517: ["smtpd_relay_restrictions = permit_tls_all_clientcerts, reject", "smtpd_tls_ask_ccert = no"],
        2510: ["smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = texthash:%s/by_cert" % d, "smtpd_tls_ask_ccert = no"],
        2511: ["smtpd_relay_restrictions = check_ccert_access texthash:%s/lower, reject" % d],
        2512: ["smtpd_client_restrictions = reject_plaintext_session", "smtpd_relay_restrictions = permit"],
        2513: ["smtpd_client_restrictions = reject_plaintext_session", "plaintext_reject_code = 554", "smtpd_relay_restrictions = reject"],
        2514: ["smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = texthash:%s/sha1" % d, "smtpd_tls_fingerprint_digest = sha1"],
        2515: ["smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = fail:down"],
    }
    files["sha1"] = "%s x\n" % env.fingerprint(pairs["selfmade"][0], "sha1")
    services[2512][1] = "smtpd_relay_restrictions = reject_unauth_destination"
    for port, over in services.items():
        master += "127.0.0.1:%d inet n - n - - smtpd\n%s" % (port, "".join(" -o { %s }\n" % o for o in over))
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\n"
                   "smtpd_tls_ask_ccert = yes\nsmtpd_tls_loglevel = 1\nsmtpd_peername_lookup = no\nmydestination = mx.test\n" % (cert, key, env.ca()), master, files)

    def rcpt(port, who=None, tls=True, to="u@elsewhere.example"):
        if not tls:
            return Swaks(port=port, rcpt=to).last()
        with OpenSSL(port, pair=pairs[who] if who else None) as c:
            c.ehlo()
            return c.mail("a@b.example", to)

    def check(what, got, code, text=""):
        kit.check(got[0] == code and text in got[1], "%s: %s" % (what, got))

    # "Remote machines can use client certs ... to securely attain the privileges of trusted internal machines."
    check("permit_tls_clientcerts by certificate fingerprint", rcpt(2501, "selfmade"), 250)
    check("permit_tls_clientcerts by public key fingerprint", rcpt(2502, "selfmade"), 250)
    check("the preferred client auth model is by fingerprint, not by CA notarization", rcpt(2501, "good"), 554, "Access denied")
    check("clients can simply omit their certificate and get what everyone gets", rcpt(2501), 554, "Access denied")
    check("no TLS, no certificate", rcpt(2501, tls=False), 554, "Access denied")
    check("smtpd_tls_fingerprint_digest", rcpt(2514, "selfmade"), 250)
    check("permit_tls_all_clientcerts permits who is trusted", rcpt(2503, "good"), 250)
    check("permit_tls_all_clientcerts falls through to the fingerprints", rcpt(2503, "selfmade"), 250)
    check("permit_tls_all_clientcerts: neither trusted nor listed", rcpt(2503, "foreign"), 554)
    check("without smtpd_tls_ask_ccert nothing is permitted", rcpt(2510, "selfmade"), 554)
    s.wait_log(r'warning: permit_tls_clientcerts is requested, but "smtpd_tls_ask_ccert = no"$')
    check("relay_clientcerts that cannot be read defers", rcpt(2515, "selfmade"), 451, "4.3.0 <unknown[127.0.0.1]>: Temporary lookup failure")
    # check_ccert_access
    check("check_ccert_access provides greater access to clients that present suitable certificates", rcpt(2504, "selfmade"), 250)
    check("check_ccert_access with any access(5) result", rcpt(2504, "other"), 554, "5.7.1 <other.test>: Client certificate rejected: no more of this one")
    check("check_ccert_access without a certificate", rcpt(2504), 554, "Access denied")
    check("the certificate first, DUNNO goes on to the key", rcpt(2505, "selfmade"), 550, "<selfmade.test>: Client certificate rejected: by key")
    check("search_order = pubkey_fingerprint, cert_fingerprint", rcpt(2506, "selfmade"), 550, "by key")
    check("search_order = subject_cn", rcpt(2507, "good"), 250)
    check("search_order = subject_cn only for certificates that are trusted", rcpt(2507, "foreign"), 554, "Access denied")
    check("search_order = issuer_cn", rcpt(2508, "good"), 250)
    check("search_order = issuer_cn only for certificates that are trusted", rcpt(2508, "foreign"), 554, "Access denied")
    check("search_order with san_dns", rcpt(2509, "good"), 250)
    check("search_order with san_dns only for certificates that are trusted", rcpt(2509, "foreign"), 554, "Access denied")
    check("search_order with san_email", rcpt(2516, "good"), 250)
    check("a certificate with hundreds of names", rcpt(2519, "hundreds"), 250)
    check("... and an address behind them", rcpt(2516, "hundreds"), 250)
    # a name that reads like another one is not the other one
    check("search_order with subject_dn", rcpt(2518, "admin"), 250)
    for who in ("two in one", "whole name"):
        check("who calls itself %s" % who, rcpt(2518, who), 554, "Access denied")
    check("search_order with san_email only for certificates that are trusted", rcpt(2516, "foreign"), 554, "Access denied")
    check("permit_tls_all_clientcerts without smtpd_tls_ask_ccert", rcpt(2517, "good"), 554)
    s.wait_log(r'warning: permit_tls_all_clientcerts is requested, but "smtpd_tls_ask_ccert = no"$')
    check("keys may be written in lower case", rcpt(2511, "selfmade"), 250)
    # reject_plaintext_session
    check("reject_plaintext_session", rcpt(2512, tls=False, to="u@mx.test"), 450, "4.7.1 Session encryption is required")
    check("reject_plaintext_session lets TLS pass", rcpt(2512, to="u@mx.test"), 250)
    check("plaintext_reject_code", rcpt(2513, tls=False), 554, "Session encryption is required")
    # "'revoke' them by removing the entry from the access table"
    env.write("mx/etc/access", "%s REJECT\n" % fp["other"])
    s.reload()
    kit.wait_until("the certificate to be revoked", lambda: rcpt(2504, "selfmade")[0] == 554)
    # a resumed session keeps the certificate
    sess = env.path("session")
    with OpenSSL(2501, pair=pairs["selfmade"], args=("-sess_out", sess)) as c:
        kit.check(c.ehlo()[0] == 250, "EHLO brings the ticket along")
    mark = s.mark()
    with OpenSSL(2501, args=("-sess_in", sess)) as c:
        c.ehlo()
        kit.check(c.mail("a@b.example", "u@elsewhere.example")[0] == 250, "a resumed session keeps the certificate: %s" % c.facts())
    s.wait_log(r"Untrusted TLS connection established from unknown\[127\.0\.0\.1\]: TLSv1\.3", mark)
    # the other clients
    kit.check(Swaks(port=2501, tls=True, pair=pairs["selfmade"], rcpt="u@elsewhere.example").last()[0] == 250, "swaks")
    with GnuTLS(2501, pair=pairs["selfmade"], ca=env.ca()) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.starttls()[0] == 220 and c.ehlo()[0] == 250, "gnutls-cli")
        kit.check(c.mail("a@b.example", "u@elsewhere.example")[0] == 250, "gnutls-cli")
    kit.check(not re.search(r"panic|fatal", s.log()), "nobody died")
    s.stop()
    s.set("smtpd_relay_restrictions = check_ccert_access { texthash:%s/access { search_order = cert_fingerprint, colour } }, reject\n" % d)
    out = s.cli("check", check_status=False)
    kit.check(re.search(r"error: .*colour", out), "an unknown word in search_order: %s" % out)
