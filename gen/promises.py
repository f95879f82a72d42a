#!/usr/bin/env python3
"""Check doc/design/010: every test that a row names exists, every row names one, and every end-to-end test, dialogue and simulator script
is named somewhere on the page. promises.py [PAGE]

A test is named as t-NN-name, NAME.dlg, NAME.sim, NAME_fuzz, `NAME_test` or `NAME_test: case, case` (test_case in the C file), `PATH` or `make TARGET`."""
import glob
import os
import re
import sys

page = sys.argv[1] if len(sys.argv) > 1 else "doc/design/010-promises-and-tests.md"
bad, named, rows, tables = [], set(), 0, 0
units = {}                # two layers may have a file of one name
for f in glob.glob("src/**/*_test.c", recursive=True):
    units.setdefault(os.path.basename(f)[:-2], []).append(f)
fuzzers = {os.path.basename(f)[:-2] for f in glob.glob("src/**/*_fuzz.c", recursive=True)} | {"messages_fuzz"}
targets = set(re.findall(r"^([a-z-]+):", open("Makefile").read(), re.M))
files = {"dlg": "tests/dialog/", "sim": "tests/sim/"}


def problem(item):
    """What is wrong with the name of a test, or None."""
    quoted = item.strip("`")
    if re.fullmatch(r"t-\d\d-[a-z0-9-]+", item):
        named.add(item)
        return None if os.path.exists("tests/e2e/%s/test.py" % item) else "there is no tests/e2e/%s" % item
    if re.fullmatch(r"[a-z0-9-]+\.(dlg|sim)", item):
        named.add(item)
        return None if os.path.exists(files[item[-3:]] + item) else "there is no %s" % item
    if re.fullmatch(r"\w+_fuzz", item):
        return None if item in fuzzers else "there is no fuzz target %s" % item
    m = re.fullmatch(r"(\w+_test)(?:: ([\w, ]+))?", quoted)
    if m:
        if m.group(1) not in units:
            return "there is no %s.c" % m.group(1)
        text = "".join(open(f).read() for f in units[m.group(1)])
        gone = [c for c in re.split(r", *", m.group(2) or "") if c and not re.search(r"^(test_)?%s\(" % c, text, re.M)]
        return "%s has no %s" % (m.group(1) + ".c", ", ".join(gone)) if gone else None
    if quoted.startswith("make "):
        return None if quoted[5:] in targets else "there is no target %s" % quoted
    if "/" in quoted and quoted != item:
        return None if os.path.exists(quoted) else "there is no %s" % quoted
    return "what is %s?" % item


for number, line in enumerate(open(page), 1):
    if not line.startswith("|") or re.match(r"\|[-|]+$", line):
        continue
    cells = [c.strip() for c in line.strip().strip("|").split("|")]
    if cells[-1] == "tests":
        tables += 1
        continue
    items = [i for i in re.findall(r"`[^`]+`|[^,` ][^,`]*", cells[-1]) if i.strip()]
    rows += 1
    if len(cells) != 2 or not items:
        bad.append("%s:%d: not a row of promise and tests" % (page, number))
    for item in items:
        said = problem(item.strip())
        if said:
            bad.append("%s:%d: %s" % (page, number, said))
there = {os.path.basename(d) for d in glob.glob("tests/e2e/t-*")} | {os.path.basename(f) for f in glob.glob("tests/dialog/*.dlg") + glob.glob("tests/sim/*.sim")}
bad += ["%s: no row names %s" % (page, t) for t in sorted(there - named)]
if rows < 60 or tables < 8:
    bad.append("%s: %d rows in %d tables; where are the others?" % (page, rows, tables))
if bad:
    print("\n".join(bad))
    sys.exit(1)
