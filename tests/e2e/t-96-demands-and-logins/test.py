"""What smtpd_tls_policy_maps demands of a client holds for AUTH (a real Dovecot never hears of a refused one), and for the client that
XCLIENT or haproxy speaks of, whose entry is looked up anew. `signet check` finds policy and authentication services where nobody listens."""
import base64
import re
import smtplib
import socket
import ssl

import kit
import sasl_kit

PROXY = ("--proxy-version", "1", "--proxy-family", "TCP4", "--proxy-source-port", "777", "--proxy-dest", "192.0.2.25", "--proxy-dest-port", "25")
POLICY = """\
127.0.0.5 encrypt
127.0.0.6 verify action=5xx
127.0.0.7 encrypt bits=256
127.0.0.8 encript
127.0.0.9 may
198.51.100.1 encrypt
198.51.100.2 verify action=5xx
198.51.100.3 none
198.51.100.4 fingerprint match=FP action=550
by.name.example encrypt action=5xx
"""


def plain(user="joe", password="secret"):
    return base64.b64encode(("\0%s\0%s" % (user, password)).encode()).decode()


def swaks(*argv):
    return kit.sh("swaks", "--server", "127.0.0.1", "--from", "a@b.example", "--to", "u@example.com", "--helo", "c.test", *argv, check_status=False)


def client(addr, port=25):
    c = smtplib.SMTP("127.0.0.1", port, local_hostname="c.test", timeout=kit.DEADLINE, source_address=(addr, 0))
    c.ehlo()
    return c


def say(c, line):
    code, text = c.docmd(line)
    return "%d %s" % (code, text.decode())


def logins(env, s, dovecot, good):
    """AUTH is refused by a reply until the entry is satisfied, whatever EHLO said; then it works."""
    def context(pair=None, weak=False):
        ctx = ssl.create_default_context(cafile=env.ca())
        ctx.check_hostname = False
        if pair:
            ctx.load_cert_chain(*pair)
        if weak:
            ctx.maximum_version = ssl.TLSVersion.TLSv1_2
            ctx.set_ciphers("ECDHE+AES128")
        return ctx

    def auth(addr, tls=None, user="joe"):
        with client(addr) as c:
            if tls:
                c.starttls(context=tls)
                c.ehlo()
            got = say(c, "AUTH PLAIN " + plain(user))
            kit.check(say(c, "NOOP").startswith("250"), "the session goes on")
            return got

    clear = r"504 5\.5\.4 Encryption required for requested authentication mechanism"
    refused = ((("127.0.0.5",), clear), (("127.0.0.6",), clear), (("127.0.0.8",), clear), (("127.0.0.6", context()), r"554 5\.7\.0 .*authentication required: no client certificate"),
               (("127.0.0.7", context(weak=True)), r"454 4\.7\.0 .*encryption too weak 128 less than 256"),
               (("127.0.0.8", context()), r"454 4\.7\.0 .*TLS policy is temporarily"))
    since = s.mark()
    for n, (args, want) in enumerate(refused):
        got = auth(*args, user="refused%d" % n)
        kit.check(re.match(want, got), "AUTH from %s: %s" % (args, got))
        if want != clear:
            s.wait_log(r"NOQUEUE: reject: AUTH from \S+\[%s\]: %s" % (re.escape(args[0]), want[:3]), since)
    # the guide's way to look at it
    out = swaks("--local-interface", "127.0.0.5", "--auth", "PLAIN", "--auth-user", "refused9", "--auth-password", "secret")
    kit.check("250-AUTH" not in out and "235" not in out, "AUTH is not announced in clear: %s" % out)
    for args in (("127.0.0.9",), ("127.0.0.5", context()), ("127.0.0.6", context(good)), ("127.0.0.7", context())):
        got = auth(*args)
        kit.check(got == "235 2.7.0 Authentication successful", "AUTH from %s: %s" % (args, got))
    out = swaks("--local-interface", "127.0.0.6", "--tls", "--tls-cert", good[0], "--tls-key", good[1], "--auth", "PLAIN", "--auth-user", "joe",
                "--auth-password", "secret", "--quit-after", "RCPT")
    kit.check("235 2.7.0" in out and "250 2.1.5" in out, out)
    # a wrong password is told apart, and Dovecot has heard of it; it has not of those refused
    kit.check(auth("127.0.0.5", context(), "nobody").startswith("535 5.7.8"), "a stranger")
    kit.wait_until("Dovecot to tell of the stranger", lambda: "nobody" in dovecot.log())
    kit.check("refused" not in dovecot.log(), "who was refused never reached Dovecot: %s" % dovecot.log())


def xclient(s, good, other):
    """The entry is that of the client behind the proxy, looked up at each XCLIENT; TLS and certificate are the proxy's."""
    def who(addr, *argv, name="[UNAVAILABLE]"):
        return swaks("--xclient-addr", addr, "--xclient-name", name, "--quit-after", "MAIL", *argv)

    cert = ("--tls", "--tls-cert", good[0], "--tls-key", good[1])
    wrong = ("--tls", "--tls-cert", other[0], "--tls-key", other[1])
    for addr, argv, want in (("198.51.100.9", (), "250 2.1.0 Ok"), ("198.51.100.1", (), "454 4.7.0 .*encryption required"), ("198.51.100.1", ("--tls",), "250 2.1.0 Ok"),
                             ("198.51.100.2", (), "554 5.7.0 .*encryption required"), ("198.51.100.2", ("--tls",), "554 5.7.0 .*no client certificate was presented"),
                             ("198.51.100.2", cert, "250 2.1.0 Ok"), ("198.51.100.4", wrong, "250 2.1.0 Ok"), ("198.51.100.4", cert, "550 5.7.0 .*not the one expected")):
        for order in ((), ("--xclient-before-starttls",)):
            out = who(addr, *argv, *order)
            kit.check(re.search(r"^(<[-~*]+|<\S*) +%s" % want, out, re.M), "%s %s %s: %s" % (addr, argv, order, out))
    out = who("198.51.100.9", name="by.name.example")
    kit.check(re.search(r"554 5\.7\.0 <by\.name\.example\[198\.51\.100\.9\]>: .*encryption required", out), "by the name that XCLIENT gives: %s" % out)
    # there and back, in one session
    with client("127.0.0.1") as c:
        for addr, want in (("198.51.100.1", "454"), ("198.51.100.9", "250"), ("127.0.0.8", "454"), ("198.51.100.2", "554"), ("127.0.0.9", "250")):
            kit.check(say(c, "XCLIENT NAME=[UNAVAILABLE] ADDR=%s HELO=h.test PROTO=ESMTP" % addr).startswith("220 "), "XCLIENT")
            kit.check(say(c, "AUTH PLAIN " + plain("xclient"))[:3] in ("503", "504", "454", "554"), "AUTH before an EHLO of this client's")
            c.ehlo()
            got = say(c, "AUTH PLAIN " + plain("xclient"))
            kit.check(got[:3] in ((want, "504") if want != "250" else ("535",)), "AUTH after XCLIENT from %s: %s" % (addr, got))
            kit.check(say(c, "MAIL FROM:<a@b.example>")[:3] == want, "MAIL after XCLIENT from %s" % addr)
            c.rset()
        say(c, "XCLIENT NAME=[UNAVAILABLE] ADDR=198.51.100.3")
        c.ehlo()
        kit.check(not c.has_extn("starttls") and say(c, "STARTTLS")[:3] == "502", "none for the client behind the proxy")
    with client("127.0.0.1", 2503) as c:
        kit.check(not c.has_extn("starttls"), "level none for the proxy")
        say(c, "XCLIENT NAME=[UNAVAILABLE] ADDR=198.51.100.1")
        c.ehlo()
        kit.check(c.has_extn("starttls") and say(c, "MAIL FROM:<a@b.example>")[:3] == "454", "and encrypt for the client behind it")
    # who may not say XCLIENT keeps its own entry
    with client("127.0.0.5") as c:
        kit.check(say(c, "XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.9")[:3] == "550" and say(c, "MAIL FROM:<a@b.example>")[:3] == "454", "an unauthorized XCLIENT")


def haproxy(good):
    for addr, argv, want in (("198.51.100.9", (), "250 2.1.0 Ok"), ("198.51.100.1", (), "454 4.7.0 .*encryption required"), ("198.51.100.1", ("--tls",), "250 2.1.0 Ok"),
                             ("198.51.100.2", ("--tls",), "554 5.7.0 .*no client certificate was presented"),
                             ("198.51.100.2", ("--tls", "--tls-cert", good[0], "--tls-key", good[1]), "250 2.1.0 Ok"), ("198.51.100.3", ("--tls-optional-strict",), "250 2.1.0 Ok")):
        out = swaks("--port", "2501", "--quit-after", "MAIL", "--proxy-source", addr, *PROXY, *argv)
        kit.check(re.search(r"^<\S* +%s" % want, out, re.M), "haproxy, %s %s: %s" % (addr, argv, out))
    kit.check("STARTTLS" not in swaks("--port", "2501", "--quit-after", "EHLO", "--proxy-source", "198.51.100.3", *PROXY), "none behind haproxy")
    # in wrapper mode the handshake waits for the header and is the client's own
    for addr, argv, want in (("198.51.100.2", (), "554 5.7.0 .*no client certificate"), ("198.51.100.2", ("--tls-cert", good[0], "--tls-key", good[1]), "250 2.1.0 Ok")):
        out = swaks("--port", "2502", "--tls-on-connect", "--quit-after", "MAIL", "--proxy-source", addr, *PROXY, *argv)
        kit.check(re.search(r"^<\S* +%s" % want, out, re.M), "haproxy in wrapper mode, %s %s: %s" % (addr, argv, out))


def check(env, s):
    """Nobody there, a dead socket, no socket, a text that makes no sense: each is told with its place; who answers is not."""
    dead, alive = env.path("dead"), env.path("alive")
    for path in (dead, alive):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        if path == alive:
            listener.listen(1)
            env.at_end(listener.close)
        else:
            listener.close()
    tcp = socket.create_server(("127.0.0.1", 10777))
    env.at_end(tcp.close)
    t = env.signet("t", "smtpd_recipient_restrictions = permit_mynetworks, check_policy_service { inet:127.0.0.1:10778, timeout=10s },\n"
                   " check_policy_service inet:localhost:10777, check_policy_service unix:%s, check_policy_service unix:private/absent\n"
                   "smtpd_restriction_classes = asks\nasks = check_policy_service unix:%s\nsmtpd_sasl_path = unix:%s\nsmtpd_tls_auth_only = yes\n" % (dead, alive, dead),
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:2525 inet n - n - - smtpd\n -o { smtpd_client_restrictions = check_policy_service inet:[::1]:10778 }\n"
                   " -o smtpd_sasl_auth_enable=yes\n127.0.0.1:2526 inet n - n - - smtpd\n -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_path=inet:127.0.0.1:10778\n"
                   "127.0.0.1:2527 inet n - n - - smtpd\n -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_path=inet:127.0.0.1:10777\n"
                   "127.0.0.1:2528 inet n - n - - smtpd\n -o { smtpd_client_restrictions = check_policy_service { inet:127.0.0.1:10777, colour=red } }\n", start=False)
    out = t.cli("check", check_status=False)
    for line in (r"main\.cf:\d+: warning: smtpd_recipient_restrictions: check_policy_service inet:127\.0\.0\.1:10778: nobody answers at inet:127\.0\.0\.1:10778: "
                 r"Connection refused; until then clients get \"451 4\.3\.5 Server configuration problem\"",
                 r"main\.cf:\d+: warning: smtpd_recipient_restrictions: check_policy_service unix:%s: nobody answers at %s: Connection refused" % (dead, dead),
                 r"main\.cf:\d+: warning: smtpd_recipient_restrictions: check_policy_service unix:private/absent: nobody answers at %s/private/absent: No such file" % t.queue,
                 r"master\.cf:\d+: warning: smtpd_client_restrictions: check_policy_service inet:\[::1\]:10778: nobody answers at inet:\[::1\]:10778: Connection refused",
                 r"master\.cf:\d+: error: smtpd_client_restrictions: check_policy_service inet:127\.0\.0\.1:10777: unknown attribute \"colour\"",
                 r"master\.cf:\d+: warning: service 127\.0\.0\.1:2525: smtpd_sasl_path = unix:%s: there is no authentication service: Connection refused" % dead,
                 r"master\.cf:\d+: warning: service 127\.0\.0\.1:2526: smtpd_sasl_path = inet:127\.0\.0\.1:10778: there is no authentication service: Connection refused"):
        kit.check(re.search(line, out), "no line /%s/ in\n%s" % (line, out))
    kit.check(out.count("nobody answers") == 4 and out.count("there is no authentication service") == 2, "who listens is not told of: %s" % out)
    kit.check("check_policy_service" not in s.cli("check", check_status=False), "none is configured here")


def run(env):
    kit.need("swaks")
    cert, key = env.cert("mx.test")
    # Dovecot takes the name from the certificate (auth_ssl_username_from_cert)
    good, other = env.cert("client.example", cn="joe"), env.cert("other.example", ca=None)
    table = env.write("policy", POLICY.replace("FP", env.fingerprint(other[0])))
    s = env.signet("mx", sasl_kit.PARAMS + "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\n"
                   "smtpd_tls_ask_ccert = yes\nsmtpd_sasl_auth_enable = yes\nsmtpd_tls_policy_maps = texthash:%s\nsmtpd_authorized_xclient_hosts = 127.0.0.1/32\n"
                   "mynetworks =\nrelay_domains = example.com\nrelay_recipient_maps =\nsmtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 100\n"
                   "smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\n" % (cert, key, env.ca(), table),
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + """\
127.0.0.1:2501 inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy
127.0.0.1:2502 inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy -o smtpd_tls_wrappermode=yes
127.0.0.1:2503 inet n - n - - smtpd -o smtpd_tls_security_level=none
""")
    dovecot = sasl_kit.setup(env, s)
    logins(env, s, dovecot, good)
    xclient(s, good, other)
    haproxy(good)
    check(env, s)
    s.stop()
