"""The memory of other processes, for tests that secrets are where they belong (needs root)."""


def parts(pid):
    """What a process can read, in pieces that overlap by 1000 bytes."""
    with open("/proc/%d/maps" % pid) as f:
        ranges = [line.split()[0].split("-") for line in f if line.split()[1].startswith("r") and "[v" not in line]
    with open("/proc/%d/mem" % pid, "rb", buffering=0) as mem:
        for start, end in ((int(a, 16), int(b, 16)) for a, b in ranges):
            if end - start >= 1 << 28:          # the shadow of a sanitizer
                continue
            keep = b""
            for at in range(start, end, 4 << 20):
                try:
                    mem.seek(at)
                    part = keep + mem.read(min(4 << 20, end - at))
                except (OSError, ValueError, OverflowError):
                    break
                yield part
                keep = part[-1000:]


def holds(pid, keys):
    """The names of those of `keys` (name: secrets) that are in the memory of this process."""
    found = set()
    for part in parts(pid):
        found |= {name for name, needles in keys.items() if any(n in part for n in needles)}
    return found


def around(pid, needle, before, behind):
    """Each occurrence of `needle` with so much around it, or as much as there is."""
    for part in parts(pid):
        at = part.find(needle)
        while at >= 0:
            yield part[max(0, at - before):at + len(needle) + behind]
            at = part.find(needle, at + 1)
