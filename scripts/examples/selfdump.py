#!/usr/bin/env python3
"""A Python program that writes down how it is when it gets SIGUSR1.

    python3 selfdump.py state.txt & kill -USR1 $!; sleep 1; cat state.txt

The interpreter runs a signal handler only when the main thread gets round to
it, which one that hangs does not. But already at the signal it writes a byte
to the wake-up descriptor; a thread of its own waits for that, and writes the
stack of every thread. For SIGUSR2 the stacks are written by the handler itself,
into FILE.raw: that works even while some C code holds the interpreter's lock.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback


def selfdump(path, state=None):
    """Call it first, in the main thread. state() gives lines; it runs in
    another thread, and must not wait for a lock."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGUSR1, lambda signum, frame: None)
    raw = open(path + ".raw", "w", opener=private)
    faulthandler.register(signal.SIGUSR2, file=raw, all_threads=True)
    threading.Thread(target=wait, args=(reading, path, state), name="selfdump", daemon=True).start()


def private(path, flags):
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def wait(reading, path, state):
    while signums := os.read(reading, 64):  # many signals, one dump
        if signal.SIGUSR1 in signums:
            try:
                write(path, state)
            except OSError as err:
                print(f"{path}: {err}", file=sys.stderr)


def write(path, state):
    tmp = path + ".tmp"
    with open(tmp, "w", opener=private) as f:
        print("pid", os.getpid(), file=f)
        for line in state() if state else ():
            print(line, file=f)
        names = {t.ident: t.name for t in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            print(f"thread {names.get(ident, ident)}", file=f)
            traceback.print_stack(frame, file=f)
        print("end", file=f)
    os.replace(tmp, path)


done = 0


def main():
    global done
    if len(sys.argv) != 2:
        sys.exit("usage: selfdump.py FILE")
    selfdump(sys.argv[1], lambda: [f"done {done}"])
    while True:
        done += 1
        time.sleep(0.001)


if __name__ == "__main__":
    main()
