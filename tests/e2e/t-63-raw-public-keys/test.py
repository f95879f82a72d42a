"""Raw public keys (RFC 7250) with a Postfix that shows one: asked for by smtp_tls_enable_rpk, by enable_rpk= and by TLSA records that are all
"3 1 x"; pinned by key, never by certificate; not asked for where names count. Below OpenSSL 3.2 the start says so once, and certificates do."""
import re
import ssl

import kit


def deliver(s, rcpt):
    return kit.send_and_log(s, rcpt).decode()


def run(env):
    can = ssl.OPENSSL_VERSION_INFO >= (3, 2)
    names = ["pin", "wrong", "certpin", "enc", "name", "dane", "mixed", "off", "on"]
    cert, key = env.cert("mx.test", sans=[n + ".test" for n in names])
    spki, digest = env.pubkey_fingerprint(cert).replace(":", ""), env.fingerprint(cert).replace(":", "")
    env.dns(["%s.test. A 127.0.0.%d" % (n, i + 2) for i, n in enumerate(names)] +
            ["_25._tcp.dane.test. TLSA 3 1 1 " + spki, "_25._tcp.mixed.test. TLSA 3 1 1 " + spki, "_25._tcp.mixed.test. TLSA 3 0 1 " + digest])
    env.postfix("postfix", "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s, %s\nsmtpd_tls_enable_rpk = yes\n"
                "smtpd_tls_ask_ccert = yes\n"
                "smtpd_tls_loglevel = 1\nmydestination = %s\nlocal_transport = discard:\n" % (
                    key, cert, ", ".join(n + ".test" for n in names)), smtp="127.0.0.2:25",
                master_extra="".join("127.0.0.%d:25 inet n - n - - smtpd\n" % (i + 2) for i in range(1, len(names))))
    table = ("pin.test fingerprint match=%s\nwrong.test fingerprint match=%s\ncertpin.test fingerprint match=%s\nenc.test encrypt\n"
             "name.test secure match=nexthop\ndane.test dane-only\nmixed.test dane-only\noff.test encrypt enable_rpk=no\n" % (spki, "00" * 32, digest))
    main = ("smtp_tls_security_level = may\nsmtp_tls_enable_rpk = yes\nsmtp_tls_loglevel = 2\nsmtp_tls_CAfile = %s\n"
            "smtp_dns_support_level = dnssec\nsmtp_tls_policy_maps = texthash:%s/etc/tls\n" % (env.ca(), env.path("mta")))
    s = env.signet("mta", files={"tls": table}, start=False)
    client = env.cert("mta.test")
    s.set(main_cf=main + "smtp_tls_chain_files = %s, %s\n" % client[::-1])
    s.start()
    kit.check(bool(s.has_log(r"smtp_tls_enable_rpk: raw public keys need OpenSSL 3\.2 or later, this is OpenSSL 3\.[01]")) == (not can), s.log())
    # destination: does it get a key where the library can; is the mail sent then, and with a certificate; how trusted
    rows = (
        ("pin", True, True, True, "Verified"), ("wrong", True, False, False, "Untrusted"), ("certpin", True, False, True, None),
        ("enc", True, True, True, None), ("name", False, True, True, "Verified"), ("dane", True, True, True, "Verified"),
        ("mixed", False, True, True, "Verified"), ("off", False, True, True, None))
    for name, raw, sent_raw, sent_cert, trust in rows:
        log = deliver(s, "u@%s.test" % name)
        kit.check(bool(re.search(r"server-signature ECDSA \(prime256v1 raw public key\)", log)) == (can and raw), "%s: a raw public key?\n%s" % (name, log))
        # the other way round: ours, where the server asks for one (the key itself is in another process)
        kit.check(bool(re.search(r"client-signature ECDSA \(prime256v1 raw public key\)", log)) == can, log)
        kit.check("client-signature ECDSA (prime256v1" in log, log)
        sent = sent_raw if can else sent_cert
        kit.check(("status=sent" in log) == sent, "%s\n%s" % (name, log))
        kit.check(sent or "dsn=4.7.5, status=deferred (Server certificate not verified)" in log, log)
        kit.check(trust is None or trust + " TLS connection established to %s.test" % name in log, log)
    # off in general, on for one destination
    s.set(main_cf=main.replace("smtp_tls_enable_rpk = yes", "smtp_tls_enable_rpk = no"))
    env.write("mta/etc/tls", "on.test encrypt enable_rpk=yes\n")
    s.reload()
    for name, raw in (("on", True), ("off", False)):
        log = deliver(s, "u@%s.test" % name)
        kit.check("status=sent" in log and bool(re.search(r"server-signature ECDSA \(prime256v1 raw public key\)", log)) == (can and raw), "%s\n%s" % (name, log))
    s.stop()
