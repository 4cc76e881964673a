"""Runs the shell on a terminal, as somebody would who types."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from frazil import PATIENCE, binary


class Shell:
    """`frazil sql` on a terminal of 100 columns and 30 lines, without colours and, unless told otherwise, without a pager."""

    def __init__(self, *arguments, history, **environment):
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        defaults = {"FRAZIL_HISTORY": str(history), "TERM": "xterm", "NO_COLOR": "1", "FRAZIL_PAGER": ""}
        self.leader = leader
        self.shown = bytearray()
        # Where the search for the next expected text begins.
        self.seen = 0
        self.process = subprocess.Popen(
            [binary(), "sql", *map(str, arguments)],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**os.environ, **defaults, **environment},
            start_new_session=True,
            # Ctrl-C is a signal only on the terminal that controls the process.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(follower)
        self.prompt()

    def read(self):
        if select.select([self.leader], [], [], 0.2)[0]:
            try:
                chunk = os.read(self.leader, 65536)
            except OSError:
                return  # The shell has ended.
            self.shown.extend(chunk)
            # The line editor asks where the cursor is.
            os.write(self.leader, b"\x1b[1;1R" * chunk.count(b"\x1b[6n"))

    def until(self, text):
        """Reads on to a text, and returns what stands before it."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.shown.find(text.encode(), self.seen)) < 0:
            assert time.monotonic() < deadline, f"no {text!r} in {bytes(self.shown[self.seen:])!r}"
            assert self.process.poll() is None, f"ended before {text!r}: {bytes(self.shown[self.seen:])!r}"
            self.read()
        before = self.shown[self.seen : found].decode(errors="replace")
        self.seen = found + len(text.encode())
        return before.replace("\r\n", "\n")

    def prompt(self):
        """Waits until the next line can be typed, and returns what was shown before."""
        # What the line editor does before it draws a prompt, and at no other time.
        before = self.until("\x1b[?2004h")
        self.until("frazil")
        return before

    def type(self, text):
        os.write(self.leader, text.encode())

    def enter(self, text):
        """Types a line, and returns what is shown up to the next prompt."""
        self.type(text + "\r")
        # What the line editor does when it hands a line over.
        self.until("\x1b[?2004l")
        return self.prompt()

    def end(self):
        """Leaves, and returns the exit code."""
        self.type("\\q\r")
        return self.wait()

    def wait(self):
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"the shell does not end: {bytes(self.shown)!r}"
            self.read()
        os.close(self.leader)
        return self.process.returncode

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
