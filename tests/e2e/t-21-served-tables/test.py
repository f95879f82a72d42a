"""Tables of the running daemon: hash: is built by an unprivileged child and again when its text changes; lookup serves lmdb and users."""
import os
import pwd
import time

import kit


def run(env):
    s = env.signet("t", start=False)
    work = env.path("tables")
    os.makedirs(work, exist_ok=True)

    def table(name, text, mode=0o644):
        path = os.path.join(work, name)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.chmod(path + ".new", mode)
        os.rename(path + ".new", path)
        return path

    transport = table("transport", "a.example smtp:[one]\n")
    secret = table("secret", "b.example user:password\n", 0o600)
    relay = table("relay", "c.example x\n")
    s.set(main_cf="transport_maps = hash:%s\nsmtp_sasl_password_maps = proxy:hash:%s\nrelay_domains = lmdb:%s\n"
                  "local_recipient_maps = unix:passwd.byname\n" % (transport, secret, relay))
    s.cli("map", "build", "lmdb:" + relay)
    s.start(wait=False)
    folder = os.path.join(s.data, "maps")

    def built(path):
        return os.path.join(folder, path.replace("/", "%2f") + ".cdb")

    def fresh(path):
        return os.path.exists(built(path)) and os.stat(built(path)).st_mtime_ns == os.stat(path).st_mtime_ns

    for path in (transport, secret):
        kit.wait_until("%s to be built" % path, lambda: fresh(path))
    kit.check(os.stat(built(secret)).st_mode & 0o077 == 0, "a secret stays one")
    if os.geteuid() == 0:
        owner = pwd.getpwuid(os.stat(built(transport)).st_uid).pw_name
        kit.check(owner == kit.owner(), "built by %s, not %s" % (owner, kit.owner()))
    kit.check(sorted(os.listdir(work)) == ["relay", "relay.lmdb", "secret", "transport"], "nothing beside the sources: %s" % os.listdir(work))

    # a change is seen; a line in error is told with its place
    since = s.mark()
    time.sleep(0.01)
    table("transport", "a.example smtp:[two]\nbroken\n")
    kit.wait_until("the change to be built", lambda: fresh(transport))
    s.wait_log(r'warning: .*transport:2: expected "key value"', since)
    table("transport", "a.example smtp:[three]\n")
    kit.wait_until("the next change to be built", lambda: fresh(transport))

    def lookup():
        def find(node):
            if isinstance(node, dict):
                if "asked" in node and "deferred" in node:
                    return node
                node = list(node.values())
            if isinstance(node, list):
                for n in node:
                    hit = find(n)
                    if hit:
                        return hit
            return None
        return find(s.status())

    kit.wait_until("lookup to answer", lookup)
    kit.check(lookup()["tables"] >= 2, "lookup knows its tables: %s" % lookup())
    s.stop()
