#!/usr/bin/env python3
"""Check that includes point one way: base <- ipc, conf, log, mail, dns, sasl <- maps, smtp, store, tls <- route, intake, hop <- explain, role <- bin,
and that no role includes another (they meet in table/messages.tab)."""
import os
import re
import sys

LEVEL = {"base": 0, "ipc": 1, "conf": 1, "log": 1, "mail": 1, "dns": 1, "sasl": 1, "maps": 2, "smtp": 2, "store": 2, "tls": 2,
         "route": 3, "intake": 3, "hop": 3, "explain": 4, "role": 4, "bin": 5, "signet": 5}
# a library may also use these of its own level
PEERS = {"maps": {"tls", "smtp"} - {"tls", "smtp"}, "intake": {"route"}, "dns": set()}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
bad = []


def layer_of(path):
    parts = path.split(os.sep)
    return parts[2] if parts[1] == "lib" else parts[1]


def role_of(path):
    parts = path.split("/")
    return parts[parts.index("role") + 1] if "role" in parts else None


for folder, _, names in os.walk("src"):
    for name in names:
        if not name.endswith((".c", ".h")) or name.endswith(("_test.c", "_fuzz.c")):
            continue
        path = os.path.join(folder, name)
        own = layer_of(path)
        if own not in LEVEL:
            bad.append("%s: folder %s has no layer (gen/layers.py)" % (path, own))
            continue
        first = None
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            m = INCLUDE.match(line)
            if not m:
                continue
            target = m.group(1)
            top = target.split("/")[0]
            first = first or target
            if "/" not in target or top not in LEVEL:
                bad.append('%s:%d: include "%s" names no layer' % (path, number, target))
            elif LEVEL[top] > LEVEL[own] or (LEVEL[top] == LEVEL[own] < 5 and top != own and top not in PEERS.get(own, set())):
                bad.append("%s:%d: %s may not use %s" % (path, number, own, top))
            elif own == "role" and top == "role" and role_of(path) not in ("common", None):
                theirs = target.split("/")[1]
                if theirs not in ("common", "roles.h", role_of(path)):
                    bad.append("%s:%d: role %s may not use role %s" % (path, number, role_of(path), theirs))
        stem = name[:-2]
        if name.endswith(".c") and os.path.exists(path[:-2] + ".h") and os.path.basename(first or "") not in (stem + ".h", stem + "_private.h"):
            bad.append("%s: its own header should be its first include" % path)

if bad:
    print("\n".join(bad))
    sys.exit(1)
