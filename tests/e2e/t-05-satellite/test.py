"""The commonest installation: a satellite that sends everything to a smarthost with STARTTLS and AUTH; the password file is root's alone."""
import base64
import os
import ssl

import kit


def run(env):
    env.dns(["smarthost.example. A 127.0.0.2"])
    cert, key = env.cert("smarthost.example")
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(cert, key)
    tried = []

    def auth(conn, line):
        tried.append(line)
        if base64.b64decode(line.split()[2]) == b"\0me\0secret word":
            return "235 2.7.0 Authentication successful"
        return "535 5.7.8 no"

    sink = env.sink("127.0.0.2", port=587, keywords=("PIPELINING", "STARTTLS", "AUTH PLAIN LOGIN"), tls=ctx, script={"AUTH": auth})
    s = env.signet("sat", start=False, files={"sasl_passwd": "[smarthost.example]:587  me:secret word\n"})
    os.chmod(os.path.join(s.conf, "sasl_passwd"), 0o600)
    s.set("relayhost = [smarthost.example]:587\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = hash:%s/sasl_passwd\n"
          "smtp_sasl_security_options = noanonymous\nsmtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = nexthop\nsmtp_tls_CAfile = %s\nsmtp_tls_loglevel = 1\n" % (s.conf, env.ca()))
    s.start()
    qid = kit.queue_id(kit.send(rcpts=["a@far.example", "b@further.example"]))
    s.wait_log(r"%s: to=<a@far\.example>, relay=smarthost\.example\[127\.0\.0\.2\]:587, .*status=sent" % qid)
    s.wait_log(r"%s: to=<b@further\.example>.*status=sent" % qid)
    s.wait_log(r"Verified TLS connection established to smarthost\.example\[127\.0\.0\.2\]:587")
    kit.check(tried, "AUTH was used")
    kit.check(b"secret word" not in s.log().encode() and base64.b64encode(b"\0me\0secret word") not in s.log().encode(), "no password in the log")
    served = [os.path.join(s.data, "maps", f) for f in os.listdir(os.path.join(s.data, "maps"))]
    kit.check(served and all(os.stat(f).st_mode & 0o077 == 0 for f in served), "the built table is as private as its source")
    # a wrong password defers (soft bounce), and a change of the file is seen without a reload
    env.write("sat/etc/sasl_passwd", "[smarthost.example]:587  me:wrong\n", 0o600)

    def refused():
        return b"status=deferred" in kit.send_and_log(s, "c@far.example")
    kit.wait_until("the new password to be used", refused)
    kit.check(s.has_log(r"SASL authentication failed; server smarthost\.example\[127\.0\.0\.2\] said: 535 5\.7\.8 no"), "why is in the log")
    kit.check(len(sink.messages) >= 1, "delivered")
