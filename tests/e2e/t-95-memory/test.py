"""memory_limit: at 80 % new clients are sent away with 421, at 90 % bodies wait; nothing dies, and all that was begun is taken when there is room.
Stress: with nearly all sessions taken, the ${stress?...} values apply to new ones. An agent that dies over one message: held after three times."""
import os
import resource
import signal
import socket
import time

import kit

MAIN = """\
memory_limit = 67108864
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_peername_lookup = no
default_transport = discard
"""
PART = b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 830     # just below what travels inline


def talk(c, *lines):
    """One command after the other; the last reply."""
    reply = b""
    for line in lines:
        c.sendall(line + b"\r\n")
        reply = c.recv(4096)
    return reply


def client():
    """A session that has sent most of a body, or the 421 that it got."""
    c = socket.create_connection(("127.0.0.1", 25), 20)
    c.settimeout(20)
    greeting = c.recv(4096)
    if not greeting.startswith(b"220"):
        c.close()
        return greeting
    talk(c, b"EHLO c.example")
    talk(c, b"MAIL FROM:<a@b.example>")
    talk(c, b"RCPT TO:<x@y.example>")
    if not talk(c, b"DATA").startswith(b"354"):
        c.close()
        return b""
    c.settimeout(0.3)
    try:
        c.sendall(PART)
    except TimeoutError:
        pass            # it waits: what did not go now goes later, from another thread's view the body is just slow
    c.settimeout(20)
    return c


def pressed(s):
    """More and more bodies until somebody is sent away."""
    held = []
    for _ in range(4000):
        c = client()
        if isinstance(c, bytes):
            kit.check(c.startswith(b"421 4.3.2 ") or c.startswith(b"421 "), c)
            return held, c
        held.append(c)
    raise kit.Failed("%d bodies of %d bytes are held and nobody was sent away" % (len(held), len(PART)))


def memory(env):
    s = env.signet("mta", MAIN)
    pids = s.pids("smtpd")
    held, refusal = pressed(s)
    kit.check(len(held) > 400, "there is room for %d" % len(held))
    kit.check(s.pids("smtpd") == pids, "no process died")
    # those that go away make room
    for c in held[:len(held) // 2]:
        c.close()
    kit.wait_until("room for a new client", lambda: admitted())
    # and those that stay are taken
    taken = 0
    for c in held[len(held) // 2:]:
        c.settimeout(30)
        c.sendall(b"\r\n.\r\n")
    for c in held[len(held) // 2:]:
        taken += c.recv(4096).startswith(b"250 2.0.0 Ok: queued as ")
        c.close()
    kit.check(taken == len(held) - len(held) // 2, "%d of %d taken" % (taken, len(held) - len(held) // 2))
    kit.check(s.pids("smtpd") == pids and not s.has_log(r"(panic|fatal): "), s.log()[-3000:])
    s.stop()


def admitted():
    with socket.create_connection(("127.0.0.1", 25), 20) as c:
        return c.recv(100).startswith(b"220")


def suspect(env):
    """smtpc is killed each time it has this one message: three times, then it is held, and other mail flows."""
    stuck = env.sink("127.0.0.2", script={"DATA": lambda conn, line: time.sleep(60) or "354 go on"})
    live = env.sink("127.0.0.3")
    s = env.signet("sus", "transport_maps = inline:{ { stuck.example = smtp:[127.0.0.2] } { live.example = smtp:[127.0.0.3] } }\n"
                   "minimal_backoff_time = 1s\nmaximal_backoff_time = 1s\nqueue_run_delay = 1s\n")
    qid = kit.queue_id(kit.send(rcpts=["x@stuck.example"]))
    for n in range(3):
        kit.wait_until("delivery %d" % (n + 1), lambda: len(stuck_sessions(s)) > 0)
        for pid in stuck_sessions(s):
            os.kill(pid, signal.SIGKILL)
        s.wait_log(r"(?s)(process smtpc\[\d+\] ended by signal 9.*){%d}" % (n + 1))
        kit.wait_until("the dead one to be gone", lambda: len(stuck_sessions(s)) == 0)
        s.cli("queue", "flush")
    s.wait_log(r"%s: error: held: 3 times the agent that was delivering it died" % qid)
    kit.wait_until("the message on hold", lambda: [(m["queue_id"], m["queue_name"]) for m in s.queue_list()] == [(qid, "hold")])
    kit.send(rcpts=["y@live.example"])
    kit.wait_until("other mail", lambda: len(live.messages) == 1)
    s.stop()


def stuck_sessions(s):
    """The smtpc processes that are connected to 127.0.0.2."""
    with open("/proc/net/tcp") as f:
        inodes = {line.split()[9] for line in f.readlines()[1:] if line.split()[2] == "0200007F:0019" and line.split()[3] == "01"}
    found = []
    for pid in s.pids("smtpc"):
        try:
            links = {os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)}
        except OSError:
            continue
        if any("socket:[%s]" % i in links for i in inodes):
            found.append(pid)
    return found


def stress(env):
    """With nine tenths of a process's sessions taken, new ones get the stress values: here one error is too many."""
    s = env.signet("stress", "smtpd_client_connection_count_limit = 0\nsmtpd_client_connection_rate_limit = 0\nsmtpd_peername_lookup = no\n"
                   "smtpd_hard_error_limit = ${stress?{1}:{20}}\nsmtpd_error_sleep_time = 0\n", start=False)
    s.prefix = ["prlimit", "--nofile=700:700"]      # leaves 500 sessions to a process
    s.start()
    held, replies = [], []
    while len(held) < 500 * len(s.pids("smtpd")) - 10 and not (replies and b"421 4.7.0" in replies[-1]):
        c = socket.create_connection(("127.0.0.1", 25), 20)
        c.settimeout(20)
        kit.check(c.recv(4096).startswith(b"220"), "a greeting for client %d" % len(held))
        replies.append(talk(c, b"BOGUS"))
        held.append(c)
    kit.check(len(replies) >= 450 and set(r[:3] for r in replies[:450]) == {b"500"}, "the first 450 sessions are ordinary: %r" % replies[:450])
    kit.check(b"421 4.7.0" in replies[-1], "a late one is under stress: %r after %d" % (replies[-1], len(replies)))
    for c in held:
        c.close()
    s.stop()


def run(env):
    env.dns(["x.example. A 127.0.0.9"])
    if os.geteuid() != 0:
        raise kit.Skipped("needs root to see the processes' sockets")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    if "build-asan" not in kit.BUILD:       # with sanitizers memory is not what it is
        memory(env)
    suspect(env)
    stress(env)
