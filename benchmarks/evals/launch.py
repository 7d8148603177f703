"""Start one process from a small one, and say what it took as one line of JSON on standard output.

`python -S -E launch.py OUT ARGUMENT…` — a process started from the benchmark itself would have the benchmark's own
memory counted as its largest, because the kernel keeps the maximum across `exec`.
"""

import json
import os
import sys
import time

started = time.perf_counter()
pid = os.fork()
if pid == 0:
    out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    finally:
        os._exit(127)
_, status, used = os.wait4(pid, 0)
print(
    json.dumps(
        {
            "status": os.waitstatus_to_exitcode(status),
            "wall_s": time.perf_counter() - started,
            "cpu_s": used.ru_utime + used.ru_stime,
            "memory_mb": used.ru_maxrss / 1024,
        }
    )
)
