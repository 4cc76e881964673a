"""A network of this machine alone: every member in a network namespace of its own, on one bridge. Links can be cut and mended.

Needs root and iproute2; `available` says whether both are there.
"""

import itertools
import os
import shutil
import subprocess

NUMBERS = itertools.count(1)


def ip(*arguments, check=True):
    subprocess.run(["ip", *arguments], check=check, capture_output=True, timeout=30)


def available():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        ip("netns", "add", "fz-probe")
        ip("netns", "del", "fz-probe")
    except subprocess.SubprocessError:
        return False
    return True


class Network:
    """Addresses are 10.231.N.x, of which the host itself has x = 1."""

    def __init__(self):
        # Several test runs may go on at once.
        self.name = f"fz{os.getpid() % 100_000}"
        self.prefix = f"10.231.{os.getpid() % 250 + 1}"
        self.host = f"{self.prefix}.1"
        self.members = []
        ip("link", "add", self.name, "type", "bridge")
        ip("addr", "add", f"{self.host}/24", "dev", self.name)
        ip("link", "set", self.name, "up")

    def join(self):
        """A new member; gives its namespace and address."""
        number = next(NUMBERS) % 250 + 2
        member, address = f"{self.name}-{number}", f"{self.prefix}.{number}"
        ip("netns", "add", member)
        self.members.append(member)
        ip("link", "add", member, "type", "veth", "peer", "name", "eth0", "netns", member)
        ip("link", "set", member, "master", self.name)
        ip("link", "set", member, "up")
        for setting in (["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            ip("-n", member, *setting)
        return member, address

    def cut(self, member):
        ip("link", "set", member, "down")

    def mend(self, member):
        ip("link", "set", member, "up", check=False)

    def close(self):
        for member in self.members:
            ip("netns", "del", member, check=False)
        ip("link", "del", self.name, check=False)
