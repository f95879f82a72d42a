"""kill -9 of every role, at random times, while clients send: every acknowledged message arrives, and the system comes back by itself."""
import os
import random
import signal
import smtplib
import threading
import time

import kit

ROLES = ["smtpd", "queue", "smtpc", "resolver", "lookup", "local", "deliver", "control", "log"]


def run(env):
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    s = env.signet("mta", "smtpd_client_connection_count_limit = 0\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n"
                   "transport_retry_time = 1s\nsmtpd_peername_lookup = no\n")
    acked, stop = [], threading.Event()
    lock = threading.Lock()

    def client(n):
        i = 0
        while not stop.is_set():
            tag = "m-%d-%d" % (n, i)
            i += 1
            try:
                body = "Subject: %s\n\n%s\n" % (tag, "x" * random.choice([10, 3000, 120000]))
                if kit.send(rcpts="user@example.com", body=body).startswith("250 "):
                    with lock:
                        acked.append(tag)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.05)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    rnd = random.Random(7)
    for role in ROLES * 2:
        time.sleep(0.2 + rnd.random() * 0.3)
        pids = kit.wait_until("a %s to kill" % role, lambda: s.pids(role))
        os.kill(rnd.choice(pids), signal.SIGKILL)
        s.wait_log(r"process %s\[\d+\] ended by signal 9" % role) if role != "log" else None
    time.sleep(1)
    stop.set()
    for t in threads:
        t.join()
    kit.check(len(acked) > 50, "only %d messages were acknowledged" % len(acked))

    def arrived():
        have = {m["data"].split(b"Subject: ", 1)[1].split(b"\r\n", 1)[0].decode() for m in list(sink.messages)}
        return set(acked) <= have
    kit.wait_until("every acknowledged message (%d)" % len(acked), arrived, 90)
    print("%d acknowledged, %d arrived (copies included)" % (len(acked), len(sink.messages)))
    kit.check(s.proc.alive(), "master survives")
