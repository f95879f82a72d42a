"""What a document of 2013 says about forward secrecy in the SMTP client, with today's suites and groups, against real servers; grades,
exclusions, protocol lists and groups on the wire; every delivery's forward secrecy in the log and in `signet status`."""
import ssl

import kit
import tls_kit

T12 = ssl.TLSVersion.TLSv1_2


def totals(s):
    found = [r["tls"] for r in s.status()["roles"] if r["role"] == "smtpc"]
    return {k: sum(t[k] for t in found) for k in found[0]}


def deliver(s, rcpt):
    return kit.send_and_log(s, rcpt).decode()


def run(env):
    suites = {  # one TLS 1.2 suite each, and whether it has forward secrecy: the first word of its name says so
        "ecdhe": ("ECDHE-RSA-AES256-GCM-SHA384", True), "dhe": ("DHE-RSA-AES128-GCM-SHA256", True), "cbc": ("ECDHE-RSA-AES128-SHA", True),
        "aecdh": ("AECDH-AES256-SHA", True), "adh": ("ADH-AES256-GCM-SHA384", True), "rsa": ("AES256-GCM-SHA384", False),
    }
    names = ["postfix", "stranger", "prefers", "p384", "tls10", "krsa", "asked", "old"] + sorted(suites)
    env.dns(["%s.test. A 127.0.0.%d" % (n, i + 2) for i, n in enumerate(names)])
    at = {n: "127.0.0.%d" % (i + 2) for i, n in enumerate(names)}
    cert, key = env.cert("mx.test", sans=[n + ".test" for n in names], key="rsa")
    alone, alone_key = env.cert("stranger.test", ca=None, key="rsa")
    env.postfix("postfix", "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s, %s\nmydestination = postfix.test\n"
                "local_transport = discard:\nsmtpd_tls_loglevel = 1\n" % (key, cert), smtp=at["postfix"] + ":25")

    env.openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", "dh.pem")
    dh = env.path("dh.pem")

    def serve(name, ctx):
        env.sink(at[name], keywords=tls_kit.STARTTLS, tls=tls_kit.Picky(ctx))

    for name, (suite, _) in suites.items():
        anonymous = name in ("aecdh", "adh")
        serve(name, tls_kit.context(None if anonymous else cert, None if anonymous else key, suite, most=T12, dh=dh))
    serve("stranger", tls_kit.context(alone, alone_key))
    # a server that takes whatever the client likes best, with and without forward secrecy
    serve("prefers", tls_kit.context(cert, key, "AES256-GCM-SHA384:AES256-SHA:ECDHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES256-GCM-SHA384", most=T12, dh=dh))
    p384 = tls_kit.context(cert, key)
    p384.set_ecdh_curve("secp384r1")
    serve("p384", p384)
    serve("tls10", tls_kit.context(cert, key, "ALL", most=ssl.TLSVersion.TLSv1))
    for name in ("krsa", "asked"):
        serve(name, tls_kit.context(cert, key, "AES256-GCM-SHA384:AES128-SHA", most=T12))
    serve("old", tls_kit.context(cert, key, "ALL", most=T12, dh=dh))
    main = "smtp_tls_security_level = may\nsmtp_tls_loglevel = 1\nsmtp_tls_CAfile = %s\nsmtp_tls_policy_maps = texthash:%s/etc/tls\n" % (env.ca(), env.path("mta"))
    s = env.signet("mta", main, files={"tls": "krsa.test encrypt\nasked.test encrypt weak=krsa\n"})

    # "supports forward secrecy in its default configuration", with a Postfix server in its default configuration
    log = deliver(s, "u@postfix.test")
    kit.check("status=sent" in log, log)
    s.wait_log(r"Trusted TLS connection established to postfix\.test\[127\.0\.0\.2\]:25: TLSv1\.3 with cipher \S+ \(\d+/\d+ bits\) "
               r"key-exchange (x25519|X25519MLKEM768) server-signature RSA-PSS \(2048 bits\) server-digest SHA256$")
    # "the SMTP client prefers suites with forward secrecy ahead of similar ones without", where the server lets it choose
    deliver(s, "u@prefers.test")
    s.wait_log(r"established to prefers\.test\[%s\]:25: TLSv1\.2 with cipher ECDHE-RSA-AES256-GCM-SHA384 \(256/256 bits\)$" % at["prefers"])
    # the first word of a suite's name says whether it has forward secrecy; ours are said by name when they have none
    for name, (suite, secret) in sorted(suites.items()):
        before = totals(s)
        log = deliver(s, "u@%s.test" % name)
        kit.check("status=sent" in log and "with cipher %s (" % suite in log, log)
        kit.check(secret == (suite.split("-")[0] in ("AECDH", "ECDHE", "ADH", "EDH", "DHE")), suite)
        kit.check(("no forward secrecy with cipher " + suite in log) == (not secret), log)
        after = totals(s)
        d = {k: after[k] - before[k] for k in after}
        kit.check(d["sent"] == 1 and d["sent_forward_secret"] == int(secret) and d["forward_secret"] == int(secret), "%s: %s" % (suite, d))
        # "Anonymous": suites without a certificate are taken, and preferred, at the level may
        kit.check(("Anonymous TLS connection established" in log) == (name in ("aecdh", "adh")), log)
    # "Untrusted", "Trusted" (never "Verified" at may), "Verified" by name and by fingerprint of certificate or key, whoever issued it
    kit.check("Untrusted TLS connection established to stranger.test" in deliver(s, "u@stranger.test"), s.log()[-2000:])
    kit.check("Verified" not in s.log(), "nothing is Verified at may")
    env.write("mta/etc/tls", "postfix.test secure match=nexthop\nstranger.test fingerprint match=%s\nkrsa.test encrypt\nasked.test encrypt weak=krsa\n" % env.pubkey_fingerprint(alone))
    kit.wait_until("the table", lambda: "Verified TLS connection established to postfix.test" in deliver(s, "u@postfix.test"))
    kit.check("Verified TLS connection established to stranger.test" in deliver(s, "u@stranger.test"), s.log()[-2000:])
    # static RSA is not enough above may, unless it is asked for by name (20.19)
    log = deliver(s, "u@krsa.test")
    kit.check("status=deferred (Cannot start TLS: handshake failure)" in log, log)
    log = deliver(s, "u@asked.test")
    kit.check("status=sent" in log and "no forward secrecy with cipher AES256-GCM-SHA384" in log, log)
    # groups: the server's only one is found; TLS 1.0 still works at may, anonymous suites first
    deliver(s, "u@p384.test")
    s.wait_log(r"established to p384\.test\S+ TLSv1\.3 with cipher \S+ \(\d+/\d+ bits\) key-exchange secp384r1 server-signature")
    log = deliver(s, "u@tls10.test")
    kit.check("status=sent" in log and ": TLSv1 with cipher AECDH-AES256-SHA (256/256 bits)" in log, log)

    # grades, exclusions, protocol lists, groups: what is configured is what is on the wire
    rows = (
        ("smtp_tls_ciphers = high\n", "ADH-AES256-GCM-SHA384"),
        ("smtp_tls_ciphers = high\nsmtp_tls_exclude_ciphers = aNULL\n", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("smtp_tls_exclude_ciphers = aNULL, ECDHE\n", "DHE-RSA-AES256-GCM-SHA384"),
        ("smtp_tls_exclude_ciphers = aNULL, AES256, CHACHA20, CAMELLIA256, ARIA256\n", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("smtp_tls_exclude_ciphers = aNULL, kECDHE, kDHE, AESGCM, AESCCM, ARIA\n", "AES256-SHA256"),
        ("smtp_tls_protocols = TLSv1\nsmtp_tls_exclude_ciphers = aNULL\n", "ECDHE-RSA-AES256-SHA"),
    )
    for text, suite in rows:
        s.stop()
        s.set(main_cf=main + text)
        s.start()
        log = deliver(s, "u@old.test")
        kit.check("status=sent" in log and "with cipher %s (" % suite in log, "%s%s" % (text, log))
    for curves, group in (("prime256v1", "secp256r1"), ("X448 X25519", "x448"), ("", "ffdhe2048")):
        s.stop()
        s.set(main_cf=main + "tls_eecdh_auto_curves = %s\ntls_ffdhe_auto_groups = ffdhe2048\n" % curves)
        s.start()
        log = deliver(s, "u@postfix.test")
        kit.check("key-exchange %s " % group in log, "%s: %s" % (curves, log))
    s.stop()
