"""The first ClientHello: one TCP segment, with a post-quantum share where the library has one; with a ticket the classical share goes first;
mandatory levels leave nothing out of their lists; a group of the server's own choice is found; the administrator's lists count."""
import re
import ssl

import kit
import tls_kit

SEGMENT = 1448  # of an Ethernet, with IPv4 and timestamps
PQ, X25519 = 0x11ec, 29


def deliver(s, rcpt):
    log = kit.send_and_log(s, rcpt).decode()
    kit.check("status=sent" in log, log)
    return log


def run(env):
    pq = ssl.OPENSSL_VERSION_INFO >= (3, 5)
    long_name = "example-com.mail.protection.outlook.test"
    names = [long_name, "mx.test", "enc.test", "x25519.test", "postfix.test"]
    env.dns(["%s. A 127.0.0.%d" % (n, i + 2) for i, n in enumerate(names)])
    cert, key = env.cert("mx.test", sans=names)
    env.postfix("postfix", "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s, %s\nmydestination = postfix.test\n"
                "local_transport = discard:\n%s" % (key, cert, "tls_eecdh_auto_curves = X25519MLKEM768 X25519\n" if pq else ""), smtp="127.0.0.6:25")
    seen = {}
    for i, n in enumerate(names[:4]):
        ctx = tls_kit.context(cert, key)
        if n == "x25519.test":
            ctx.set_ecdh_curve("prime256v1")        # no X25519 and nothing post-quantum: HelloRetryRequest
        seen[n] = tls_kit.Picky(ctx)
        env.sink("127.0.0.%d" % (i + 2), keywords=tls_kit.STARTTLS, tls=seen[n])
    main = ("smtp_tls_security_level = may\nsmtp_tls_loglevel = 1\nsmtp_tls_CAfile = %s\nsmtp_tls_policy_maps = inline:{enc.test=encrypt}\n" % env.ca())
    s = env.signet("mta", main)
    smtpcs = len(s.pids("smtpc"))

    for n in names[:2]:
        for _ in range(2 + smtpcs):
            log = deliver(s, "u@" + n)
        first = seen[n].hellos[0]
        kit.check(first.whole and first.bytes <= SEGMENT, "%s: %d bytes" % (n, first.bytes))
        kit.check(first.shares == [PQ if pq else X25519], "%s: shares %s" % (n, first.shares))
        kit.check(not pq or first.groups[0] == PQ and X25519 in first.groups, "groups %s" % first.groups)
        again = [h for h in seen[n].hellos if h.resumes]
        kit.check(len(again) >= 2 and all(h.shares == [X25519] and h.whole and h.bytes <= SEGMENT for h in again),
                  "with a ticket: %s" % [(h.shares, h.bytes) for h in again])
        kit.check(not pq or all(PQ in h.groups for h in again), "a server that insists can still have it")
    kit.check(("key-exchange X25519MLKEM768" in s.log()) == pq, s.log()[-2000:])

    # mandatory: the lists are whole, the share is classical, and it is one segment all the same
    log = deliver(s, "u@enc.test")
    h = seen["enc.test"].hellos[0]
    kit.check(h.bytes <= SEGMENT and h.shares == [X25519] and len(h.suites) > 40 and (PQ in h.groups) == pq, "%d %s" % (h.bytes, h.groups))
    kit.check(not pq or re.search("key-exchange (X25519MLKEM768|x25519) ", log), log)
    # another group than the one we sent a share for
    log = deliver(s, "u@x25519.test")
    kit.check("key-exchange secp256r1 " in log and seen["x25519.test"].hellos[0].bytes <= SEGMENT, log)
    # a real server
    log = deliver(s, "u@postfix.test")
    kit.check("key-exchange %s " % ("X25519MLKEM768" if pq else "x25519") in log, log)
    total = [r["tls"] for r in s.status()["roles"] if r["role"] == "smtpc"]
    kit.check((sum(t["post_quantum"] for t in total) >= 2) == pq and sum(t["failed"] for t in total) == 0, total)

    # what the administrator lists is what is offered
    for curves, shares in (("X25519 X25519MLKEM768", [X25519]), ("prime256v1", [23]), ("?no-such-group ?prime256v1", [23]), ("DEFAULT", [PQ if pq else X25519])):
        s.stop()
        s.set(main_cf=main + "smtp_tls_session_cache_timeout = 0\ntls_eecdh_auto_curves = %s\ntls_ffdhe_auto_groups =\n" % curves)
        s.start()
        deliver(s, "u@mx.test")
        h = seen["mx.test"].hellos[-1]
        kit.check(h.shares == shares and h.groups[0] == shares[0] and (h.groups == [23] or curves[0] in "XD"), "%s: %s %s" % (curves, h.shares, h.groups))
    s.stop()
