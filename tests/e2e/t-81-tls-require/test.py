"""tls_require: a sender domain that must arrive with a proof. The entry for a client (the "scarlet letter") stops no impostor; this does."""
import socketserver
import threading

import kit
from client_kit import GnuTLS, OpenSSL, Swaks


class Policy(socketserver.StreamRequestHandler):
    """A policy service that wants a certificate of whoever writes as served.example."""
    def handle(self):
        asked = {}
        for line in self.rfile:
            name, _, value = line.decode().rstrip("\n").partition("=")
            if name:
                asked[name] = value
                continue
            wants = asked.get("sender", "").endswith("@served.example")
            self.wfile.write(b"action=%s\n\n" % (b"tls_require verify match=other.example" if wants else b"DUNNO"))
            asked = {}


def run(env):
    kit.need("openssl", "swaks", "gnutls-cli")
    socketserver.ThreadingTCPServer.daemon_threads = True
    service = socketserver.ThreadingTCPServer(("127.0.0.1", 9998), Policy)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    env.at_end(service.shutdown)
    cert, key = env.cert("mx.test")
    partner = env.cert("mx.partner.example")
    other = env.cert("other.example")
    senders = env.write("senders", "partner.example tls_require verify match=mx.partner.example action=5xx\nx.partner.example tls_require encrypt bits=128\n"
                        "class.example needs_cert\nlist.example check_client_access inline:{ {127=DUNNO} }, tls_require { verify action=550 }, reject\n"
                        "typo.example tls_require verified\n")
    table = env.write("policy", "127.0.0.2 verify match=mx.partner.example\n")
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\nsmtpd_tls_ask_ccert = yes\n"
                   "smtpd_peername_lookup = no\nsmtpd_tls_policy_maps = texthash:%s\nsmtpd_restriction_classes = needs_cert\n"
                   "needs_cert = tls_require { verify match=other.example }\nsmtpd_sender_restrictions = check_sender_access texthash:%s, check_policy_service inet:127.0.0.1:9998\n"
                   "smtpd_relay_restrictions = permit_mynetworks, reject\n" % (cert, key, env.ca(), table, senders))

    def rcpt(client, sender, pair=None, tls=True):
        if not tls:
            return Swaks(source=client, sender=sender, rcpt="user@example.com").last()
        with OpenSSL(source=client, pair=pair) as c:
            c.ehlo()
            return c.mail(sender, "user@example.com")

    # the letter: 127.0.0.2 must show the partner's certificate ...
    kit.check(rcpt("127.0.0.2", "a@other.example", partner)[0] == 250, "the partner with its certificate")
    kit.check(rcpt("127.0.0.2", "a@other.example", other)[0] == 454, "the partner without it")
    # ... "clients can then simply omit their certificate": an impostor comes from elsewhere, and no entry concerns it
    kit.check(rcpt("127.0.0.3", "a@other.example", tls=False)[0] == 250, "somebody else")
    # what closes the gap is the sender's own demand, whoever brings it
    for tls, pair, words in ((False, None, "encryption required: issue STARTTLS first"), (True, None, "no client certificate was presented"),
                             (True, other, "the client certificate is for another name")):
        mark = s.mark()
        got = rcpt("127.0.0.3", "a@partner.example", pair, tls)
        kit.check(got[0] == 554 and got[1].startswith("5.7.0 <a@partner.example>: Sender address rejected: ") and words in got[1], got)
        s.wait_log(r"NOQUEUE: info: RCPT from unknown\[127\.0\.0\.3\]: tls_require of a@partner\.example: ", mark)
        s.wait_log(r"NOQUEUE: reject: RCPT from unknown\[127\.0\.0\.3\]: 554 5\.7\.0 <a@partner\.example>: Sender address rejected: .*; from=<a@partner\.example> "
                   r"to=<user@example\.com> proto=ESMTP helo=<c\.test>$", mark)
    kit.check(rcpt("127.0.0.3", "a@partner.example", partner)[0] == 250, "with the proof, from anywhere")
    kit.check(rcpt("127.0.0.3", "a@x.partner.example", tls=False)[0] == 454 and rcpt("127.0.0.3", "a@x.partner.example")[0] == 250, "a subdomain, encryption alone")
    # classes, lists, typing errors
    kit.check(rcpt("127.0.0.3", "a@class.example", partner)[0] == 454 and rcpt("127.0.0.3", "a@class.example", other)[0] == 250, "in a restriction class")
    kit.check(rcpt("127.0.0.3", "a@list.example")[0] == 550 and "Access denied" in rcpt("127.0.0.3", "a@list.example", partner)[1], "in a list that a table returned")
    kit.check(rcpt("127.0.0.3", "a@typo.example", partner) == (451, "4.3.5 Server configuration error"), "a policy that makes no sense")
    s.wait_log(r'warning: access table entry for "a@typo\.example": unusable policy "tls_require verified"')
    # a policy service's answer
    for pair, code in ((other, 250), (partner, 454), (None, 454)):
        got = rcpt("127.0.0.3", "a@served.example", pair)
        kit.check(got[0] == code, "policy service, %s: %s" % (pair, got))
    kit.check(rcpt("127.0.0.3", "a@served.example", tls=False)[1].endswith("encryption required: issue STARTTLS first"), "policy service, in clear")
    # other clients
    for pair, code in ((partner, 250), (other, 554)):
        kit.check(Swaks(tls=True, pair=pair, sender="a@partner.example").last()[0] == code, "swaks with %s" % pair[0])
    with GnuTLS(pair=partner, ca=env.ca()) as c:
        c.reply()
        c.ehlo()
        kit.check(c.mail("a@partner.example", "user@example.com")[0] == 554, "gnutls-cli in clear")
        kit.check(c.starttls()[0] == 220 and c.ehlo()[0] == 250 and c.mail("a@partner.example", "user@example.com")[0] == 250, "and behind STARTTLS")
    s.stop()
