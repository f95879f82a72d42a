"""Parameters of the SMTP client that need real sockets: which address is tried, from which it is tried, how long a slow server is borne."""
import re
import time

import kit

SERVICES = {
    "plain": "",
    "six": "-o smtp_address_preference=ipv6",
    "four": "-o smtp_address_preference=ipv4",
    "both": "-o smtp_mx_address_limit=2 -o smtp_balance_inet_protocols=yes -o smtp_address_preference=any -o smtp_randomize_addresses=no",
    "first": "-o smtp_mx_address_limit=2 -o smtp_balance_inet_protocols=no -o smtp_address_preference=any -o smtp_randomize_addresses=no",
    "bound": "-o smtp_bind_address6=fd00::7 -o smtp_bind_address=127.0.0.77",
    "nodns": "-o disable_dns_lookups=yes",
    "native": "-o smtp_host_lookup=native",
    "stuck": "-o smtp_data_xfer_timeout=2s",
    "patient": "-o smtp_data_xfer_timeout=2s",
    "slow": "-o smtp_data_xfer_timeout=2s -o smtp_per_request_deadline=yes -o smtp_min_data_rate=100000000",
    "record": "-o smtp_data_xfer_timeout=2s -o smtp_per_record_deadline=yes -o smtp_min_data_rate=100000000",
    "granted": "-o smtp_data_xfer_timeout=2s -o smtp_per_request_deadline=yes -o smtp_min_data_rate=1000",
}
BIG = "Subject: big\n\n" + "0123456789\n" * 1500000


def run(env):
    kit.sh("ip", "addr", "add", "fd00::7/128", "dev", "lo")
    env.dns(["dual.example. MX 10 mx.dual.example.", "mx.dual.example. A 127.0.0.2", "mx.dual.example. AAAA ::1",
             "dead.example. MX 10 a.dead.example.", "dead.example. MX 20 b.dead.example.",
             "a.dead.example. A 127.0.0.91", "a.dead.example. A 127.0.0.92", "a.dead.example. A 127.0.0.93", "b.dead.example. AAAA fd00::7"])
    peers = []

    def greet(conn):
        peers.append(conn.getpeername()[0])
        conn.sendall(b"220 sink ESMTP\r\n")

    def stop_reading(seconds):
        def data(conn, line):
            conn.sendall(b"354 go\r\n")
            time.sleep(seconds)
            return "250 never mind"
        return data

    env.sink("127.0.0.2", greeting=greet)
    env.sink("127.0.0.4", script={"DATA": stop_reading(25)})

    def crawl(conn, line):
        conn.sendall(b"354 go\r\n")
        tail = b""
        while not tail.endswith(b"\r\n.\r\n"):
            time.sleep(0.02)
            part = conn.recv(65536)
            if not part:
                return False
            tail = (tail + part)[-5:]
        return "250 2.0.0 Ok"
    env.sink("127.0.0.5", script={"DATA": crawl})
    import socketserver

    class Six(socketserver.ThreadingTCPServer):
        address_family = 10
    kept = socketserver.ThreadingTCPServer
    socketserver.ThreadingTCPServer = Six
    env.sink("::1", greeting=greet)
    socketserver.ThreadingTCPServer = kept
    s = env.signet("mta", "inet_protocols = all\ninet_interfaces = 127.0.0.1\nmessage_size_limit = 0\nmailbox_size_limit = 0\nvirtual_mailbox_limit = 0\ntransport_maps = inline:{ %s }\n" % " ".join(
        "{%s.test=%s}" % (n, r) for n, r in {
            "plain6": "plain:[::1]", "six": "six:dual.example", "four": "four:dual.example", "both": "both:dead.example", "first": "first:dead.example",
            "bound6": "bound:[::1]", "bound4": "bound:[127.0.0.2]", "nodns": "nodns:localhost", "native": "native:[localhost]",
            "stuck": "stuck:[127.0.0.4]", "patient": "patient:[127.0.0.5]", "slow": "slow:[127.0.0.5]", "record": "record:[127.0.0.5]",
            "granted": "granted:[127.0.0.5]"}.items()),
        kit.MASTER_CF.format(smtp="127.0.0.1:25") + "".join("%s unix - - n - - smtp -o inet_protocols=all %s\n" % (n, o) for n, o in SERVICES.items()))

    def mail(domain, expect, body="Subject: x\n\nx\n"):
        since = s.mark()
        qid = kit.queue_id(kit.send(rcpts="u@%s.test" % domain, body=body))
        s.wait_log(r"%s: to=<u@%s.test>, %s" % (qid, re.escape(domain), expect), since, 30)
        return s.log()[since:]

    mail("six", r"relay=mx.dual.example\[::1\]:25, .*status=sent")
    mail("four", r"relay=mx.dual.example\[127.0.0.2\]:25, .*status=sent")
    log = mail("both", r"relay=none, .*status=deferred")
    kit.check("[fd00::7]:25: Connection refused" in log and "[127.0.0.9" in log, log)
    log = mail("first", r"relay=none, .*status=deferred")
    kit.check("[fd00::7]:25" not in log and "[127.0.0.9" in log, log)
    mail("bound6", r"relay=::1\[::1\]:25, .*status=sent")
    kit.check(peers[-1] == "fd00::7", peers)
    mail("plain6", r"relay=::1\[::1\]:25, .*status=sent")
    kit.check(peers[-1] == "::1", peers)
    mail("bound4", r".*status=sent")
    kit.check(peers[-1] == "127.0.0.77", peers)
    # localhost is in /etc/hosts, and not in the DNS of this test
    for d in ("nodns", "native"):
        log = mail(d, r"(relay=localhost\[|.*mail for localhost loops back to myself)")

    # whatever the server takes is progress, unless the whole content has a deadline
    timeout = r".*status=deferred \(conversation with 127.0.0.%d\[127.0.0.%d\] timed out while sending message body\)"
    mail("stuck", timeout % (4, 4), BIG)
    mail("patient", r".*status=sent", BIG)
    mail("slow", timeout % (5, 5), BIG)
    mail("record", timeout % (5, 5), BIG)
    mail("granted", r".*status=sent", BIG)
