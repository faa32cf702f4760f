"""OpenStack Swift with its s3api, on one machine: the S3 server of tests where Debian's packages of it are installed.

`apt-get install --no-install-recommends swift-proxy swift-account swift-container swift-object`
"""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

KINDS = ("account", "container", "object")
PROGRAMS = ("swift-ring-builder", "swift-proxy-server", *(f"swift-{kind}-server" for kind in KINDS))
PIPELINE = "catch_errors gatekeeper cache listing_formats bulk s3api tempauth slo dlo versioned_writes proxy-server"
DEFAULT = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
devices = {folder}/disks
mount_check = false
workers = 0
"""
PROXY = """[pipeline:main]
pipeline = {pipeline}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin .reseller_admin
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
max_bucket_listing = {page}
"""
STORAGE = """[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""


def is_installed() -> bool:
    return Path("/etc/swift/swift.conf").is_file() and all(map(shutil.which, PROGRAMS))


@contextlib.contextmanager
def running(folder: Path, *, page: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Its endpoint, and its processes; it may not listen yet. Lists `page` keys at once. The logs are in `folder`."""
    ports = dict(zip((*KINDS, "proxy"), free_ports(4), strict=True))
    (folder / "disks" / "d1").mkdir(parents=True)
    for kind in KINDS:
        _ring(folder, kind, ports[kind])
    processes = []
    with contextlib.ExitStack() as logs:
        try:
            for kind, port in ports.items():
                given = DEFAULT.format(port=port, user=getpass.getuser(), folder=folder)
                what = _proxy(page) if kind == "proxy" else STORAGE.format(kind=kind)
                (folder / f"{kind}.conf").write_text(given + what)
                log = logs.enter_context((folder / f"{kind}.log").open("wb"))
                command = [f"swift-{kind}-server", str(folder / f"{kind}.conf"), "--verbose"]
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
            yield f"http://127.0.0.1:{ports['proxy']}", processes
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(10)


def _proxy(page: int) -> str:
    names = ("catch_errors", "gatekeeper", "listing_formats", "bulk", "slo", "dlo", "versioned_writes")
    parts = [f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in names]
    cache = "[filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:1\n"  # none is needed
    return PROXY.format(pipeline=PIPELINE, page=page) + cache + "".join(parts)


def _ring(folder: Path, kind: str, port: int) -> None:
    builder = str(folder / f"{kind}.builder")
    for arguments in (["create", "4", "1", "1"], ["add", f"r1z1-127.0.0.1:{port}/d1", "1"], ["rebalance"]):
        subprocess.run(["swift-ring-builder", builder, *arguments], check=True, capture_output=True)


def free_ports(num: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(num)]
        return [each.getsockname()[1] for each in sockets]
