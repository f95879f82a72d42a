#!/usr/bin/env python3
"""Check doc/design/047: every row's test is a folder of tests/e2e, and the row's case stands in its test.py. statements.py [PAGE]"""
import os
import re
import sys

page = sys.argv[1] if len(sys.argv) > 1 else "doc/design/047-statements-about-servers.md"
bad, rows = [], 0
for number, line in enumerate(open(page), 1):
    if not line.startswith("|") or re.match(r"\|[-|]+$|\| (statement|row) \|", line):
        continue
    rows += 1
    m = re.match(r"\| [^|]+ \| (t-\d+-[a-z0-9-]+) \| `(.+)` \|$", line)
    path = os.path.join("tests/e2e", m.group(1), "test.py") if m else ""
    if not m:
        bad.append("%s:%d: not a row of statement, test and case" % (page, number))
    elif not os.path.exists(path):
        bad.append("%s:%d: there is no %s" % (page, number, path))
    elif m.group(2) not in open(path).read():
        bad.append("%s:%d: %s does not have \"%s\"" % (page, number, path, m.group(2)))
if rows < 80:
    bad.append("%s: %d rows; where are the others?" % (page, rows))
if bad:
    print("\n".join(bad))
    sys.exit(1)
