"""tls_server_sni_maps: certificates by the name that a client asks for, both forms of values, parents, names without an entry,
broken entries, a name that is none; private keys of the tables reach no process but keeper."""
import base64
import os
import re
import socket
import threading

import kit


def s_client(*argv, name=None, tls=None, port=25):
    """Subject line and the whole output of an openssl s_client session over STARTTLS."""
    argv = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-starttls", "smtp", *argv]
    argv += ["-servername", name] if name else ["-noservername"]
    out = kit.sh(*argv, check_status=False, input="QUIT\r\n", timeout=20)
    m = re.search(r"^subject=(.*)$", out, re.M)
    return m.group(1).replace(" ", "") if m else None, out


class Changes:
    """Stands between client and server, and from the second one on puts another name into what the client sends."""
    def __init__(self, env, port, name, other):
        self.name, self.other, self.seen, self.changed = name, other, 0, 0
        self.listener = socket.create_server(("127.0.0.1", port))
        env.at_end(self.listener.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", 25))
        threading.Thread(target=self.relay, args=(server, client, False), daemon=True).start()
        self.relay(client, server, True)

    def relay(self, source, to, change):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if change and self.name in data:
                    self.seen += 1
                    if self.seen > 1:
                        data, self.changed = data.replace(self.name, self.other), self.changed + 1
                to.sendall(data)
        except OSError:
            pass
        to.shutdown(socket.SHUT_WR)


def run(env):
    kit.need("openssl", "gnutls-cli")
    default = env.cert("default.test")
    one, two, three = (env.cert(n) for n in ("one.test", "two.test", "three.test"))
    pems = {n: open(pair[1]).read() + open(pair[0]).read() for n, pair in (("one", one), ("two", two), ("three", three))}
    one_pem = env.write("one.pem", pems["one"], 0o600)
    inline = base64.b64encode(pems["two"].encode()).decode()
    wrong = env.write("wrong.pem", open(one[1]).read() + open(two[0]).read(), 0o600)
    back_to_front = env.write("front.pem", open(one[0]).read() + open(one[1]).read(), 0o600)
    table = env.write("sni", "one.test %s\n" % one_pem + "two.test %s\n" % inline + ".wild.test %s %s\n" % (three[1], three[0]) +
                      "wrong.test %s\nfront.test %s\nmissing.test /nonexistent/key.pem\nother.test /etc/shadow\n" % (wrong, back_to_front), 0o600)
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s, %s\nsmtpd_tls_loglevel = 1\n"
                   "tls_server_sni_maps = texthash:%s\nsmtpd_peername_lookup = no\n" % (default[1], default[0], table),
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:26 inet n - n - - smtpd\n -o tls_server_sni_maps=\n")

    def gets(name, cn, *argv, **kw):
        got, out = s_client(*argv, name=name, **kw)
        kit.check(got == "CN=" + cn, "%s %s: got %s\n%s" % (name, argv, got, out[-2000:]))

    gets(None, "default.test")
    for version in ("-tls1_2", "-tls1_3"):
        gets("one.test", "one.test", version)                   # file names
        gets("ONE.test", "one.test", version)
        gets("two.test", "two.test", version)                   # base64, as postmap -F makes it
        gets("mail.wild.test", "three.test", version)           # .parent
        gets("a.b.wild.test", "three.test", version)
    gets("one.test", "default.test", port=26)                   # no tables: the name is not looked at
    since = s.mark()
    gets("unknown.test", "default.test")
    s.wait_log(r"smtpd\[\d+\]: TLS SNI unknown\.test from unknown\[127\.0\.0\.1\] not matched, using default chain", since)
    s.wait_log(r"Anonymous TLS connection established from unknown\[127\.0\.0\.1\] to unknown\.test: TLSv1\.3 with cipher", since)
    gets("one.test", "one.test")
    s.wait_log(r"Anonymous TLS connection established from unknown\[127\.0\.0\.1\] to one\.test: TLSv1\.3 with cipher", since)
    # HelloRetryRequest (a first key share of a group that the server must refuse): the second hello repeats the name
    gets("one.test", "one.test", "-tls1_3", "-groups", "ffdhe4096:P-521:P-256")
    # ... and another one there ends the handshake
    between = Changes(env, 2600, b"one.test", b"two.test")
    got, out = s_client("-tls1_3", "-groups", "ffdhe4096:P-521:P-256", name="one.test", port=2600)
    kit.check(got is None and between.changed == 1 and "alert illegal parameter" in out, "the second hello names another server: %d %s" % (between.changed, out))
    out = kit.sh("gnutls-cli", "--no-ca-verification", "--starttls-proto=smtp", "--sni-hostname=one.test", "-p", "25", "127.0.0.1",
                 check_status=False, input="QUIT\n", timeout=20)
    kit.check("one.test" in out and "Handshake was completed" in out, out)
    # a name that is none is no name: ignored, with a warning
    since = s.mark()
    gets("under_score!.test", "default.test")
    s.wait_log(r"warning: TLS SNI from unknown\[127\.0\.0\.1\] is invalid: under_score!\.test", since)
    # broken entries: an alert, and the log says what is wrong with which name
    for name, said in (("wrong.test", r"tls_server_sni_maps: \S+:\d+: server name wrong\.test: its files: certificate does not fit its private key"),
                       ("front.test", r"tls_server_sni_maps: \S+:\d+: server name front\.test: its files: a certificate before any private key"),
                       ("missing.test", r"server name missing\.test: /nonexistent/key\.pem: No such file"),
                       ("other.test", r"/etc/shadow: named in tls_server_sni_maps, but it is no PEM file")):
        since = s.mark()
        got, out = s_client(name=name)
        kit.check(got is None and "alert" in out, "%s: %s" % (name, out))
        s.wait_log(said, since)
        s.wait_log(r"SSL_accept error from unknown\[127\.0\.0\.1\]", since)
    gets("one.test", "one.test")
    # the table changes: seen without a reload
    text = open(table).read().replace("one.test %s" % one_pem, "one.test %s %s" % (three[1], three[0]))
    env.write("sni", text + "late.test %s\n" % one_pem, 0o600)
    kit.wait_until("the new entry", lambda: s_client(name="late.test")[0] == "CN=one.test")
    kit.wait_until("the changed entry", lambda: s_client(name="one.test")[0] == "CN=three.test")
    # a table whose type would hand private keys to another process is refused at the start
    t = env.signet("t", "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s, %s\ntls_server_sni_maps = lmdb:/nonexistent/sni\n" % (default[1], default[0]),
                   kit.MASTER_CF.format(smtp="127.0.0.1:2525"), start=False)
    out = t.cli("check", check_status=False)
    kit.check("tls_server_sni_maps: lmdb: tables are read by another process" in out, out)
