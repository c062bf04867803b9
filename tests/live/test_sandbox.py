"""The walls around an outside program, tried from inside: it looks for a canary, for the way out, for others, for more than its limits."""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from luhyaapi import clock, sandbox
from luhyaapi.errors import Failed, Refused
from tests.support.unprivileged import ROOT, SOMEBODY

pytestmark = pytest.mark.live

CANARY = b"canary: nobody inside shall read this"
PYTHON = "/usr/bin/python3"
LIMITS = sandbox.Limits(deadline_s=30.0)


def inside(code, *, readable=None, writable=None, limits=LIMITS, **kw):
    return sandbox.run(
        [PYTHON, "-I", "-c", textwrap.dedent(code)], readable=readable or {}, writable=writable or {}, limits=limits, check=False, **kw,
    )


def said(code, **kw):
    done = inside(code, **kw)
    assert done.code == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture
def canary(tmp_path):
    file = tmp_path / "canary"
    file.write_bytes(CANARY)
    file.chmod(0o644)
    return file


def test_it_reads_what_is_named_and_nothing_else(tmp_path, canary):
    (tmp_path / "in").write_text("given")
    found = said(f"""
        import json, os
        tried = {{}}
        for path in ({str(canary)!r}, "/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/1/root{canary}", "/dev/vda",
                     "/sys/kernel", "/tmp", "/home", "/root", "/var", "/run", "/usr/share", "/usr/bin/bash"):
            try:
                os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
                tried[path] = "read"
            except OSError as e:
                tried[path] = type(e).__name__
        print(json.dumps([open("/in").read(), sorted(os.listdir("/")), tried, sorted(os.environ)]))
    """, readable={"/in": tmp_path / "in"})
    given, root, tried, environ = found
    assert given == "given"
    assert set(root) <= {"in", "lib", "lib64", "usr"}
    assert set(tried.values()) == {"FileNotFoundError"}
    assert set(environ) <= {"PATH", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "PWD"}


def test_a_link_in_what_is_named_leads_nowhere(tmp_path, canary):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(canary)
    (folder / "up").symlink_to("../canary")
    found = said("""
        import json, os
        print(json.dumps([os.path.exists(f"/folder/{name}") for name in ("link", "up", "../canary")]))
    """, readable={"/folder": folder})
    assert found == [False, False, False]


def test_it_writes_only_where_it_may(tmp_path):
    (tmp_path / "in").write_text("given")
    (tmp_path / "out").mkdir()
    tried = said("""
        import json, os
        tried = {}
        for path in ("/out/file", "/in", "/file", "/usr/file", "/usr/lib/file", "/lib/file"):
            try:
                open(path, "w").write("x")
                tried[path] = "written"
            except OSError as e:
                tried[path] = "no"
        os.chmod("/out/file", 0o4755)
        print(json.dumps(tried))
    """, readable={"/in": tmp_path / "in"}, writable={"/out": tmp_path / "out"})
    assert tried == dict.fromkeys(["/in", "/file", "/usr/file", "/usr/lib/file", "/lib/file"], "no") | {"/out/file": "written"}
    assert (tmp_path / "in").read_text() == "given"
    assert (tmp_path / "out" / "file").read_text() == "x"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["file"]


def test_it_reaches_nobody(tmp_path):
    listeners = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6)]
    local, hidden = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "socket"))
    hidden.bind("\0educloud-canary-" + str(os.getpid()))
    for each in (local, hidden):
        each.listen()
    tried = said(f"""
        import json, socket
        tried = []
        for family, address in ((socket.AF_INET, ("127.0.0.1", {listeners[0].getsockname()[1]})),
                                (socket.AF_INET6, ("::1", {listeners[1].getsockname()[1]})),
                                (socket.AF_UNIX, {str(tmp_path / "socket")!r}),
                                (socket.AF_UNIX, "\\0educloud-canary-{os.getpid()}"),
                                (socket.AF_INET, ("10.255.255.1", 9))):
            with socket.socket(family) as s:
                s.settimeout(3)
                try:
                    s.connect(address)
                    tried.append("connected")
                except OSError as e:
                    tried.append("no")
        print(json.dumps([tried, [name for _, name in socket.if_nameindex()]]))
    """)
    for each in (*listeners, local, hidden):
        each.close()
    assert tried == [["no"] * 5, ["lo"]]


def test_it_sees_nobody_and_has_no_rights():
    seen, uid, gid, groups, told = said("""
        import ctypes, json, os, signal
        def there(pid):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return False
            except PermissionError:
                pass
            return True
        libc = ctypes.CDLL(None, use_errno=True)
        tried = {"unshare": libc.unshare(0x10000000), "mount": libc.mount(b"none", b"/usr", b"tmpfs", 0, None),
                 "chroot": libc.chroot(b"/usr"), "sethostname": libc.sethostname(b"x", 1)}
        tried["new rights"] = libc.prctl(39, 0, 0, 0, 0) - 1
        print(json.dumps([[p for p in range(1, 70000) if there(p)], os.getuid(), os.getgid(), os.getgroups(), tried]))
    """)
    assert seen == [1, 2], "its own parent and itself"
    assert (uid, gid) == (65534, 65534)
    assert set(groups) <= {65534}
    assert told == {"unshare": -1, "mount": -1, "chroot": -1, "sethostname": -1, "new rights": 0}


@pytest.mark.parametrize(("code", "limits", "codes"), [
    ("while True: pass", {"cpu_s": 1}, {152}),
    ("bytearray(512 << 20)", {"memory": 256 << 20}, {1}),
    ("open('/out/x', 'wb').truncate(2 << 20)", {"file_size": 1 << 20}, {1}),
    ("[__import__('os').dup(0) for _ in range(100)]", {"files": 32}, {1}),
])
def test_it_ends_at_its_limits(tmp_path, code, limits, codes):
    (tmp_path / "out").mkdir()
    assert inside(code, writable={"/out": tmp_path / "out"}, limits=sandbox.Limits(deadline_s=30.0, **limits)).code in codes


def test_it_cannot_flood_us():
    done = inside("""
        import os
        for fd in (1, 2):
            try:
                while True:
                    os.write(fd, bytes(1 << 16))
            except OSError:
                os.lseek(fd, 0, 0)
                os.write(fd, b"at the limit") if fd == 1 else os.lseek(fd, 1 << 40, 0)
    """)
    assert done.code == 0
    assert (done.stdout, len(done.stderr)) == (b"at the limit", 1 << 20)


def test_an_account_without_rights_encloses_too_and_its_processes_are_counted(tmp_path):
    """As the image store does: no rights, none to be had. Root itself is not counted by the kernel."""
    code = textwrap.dedent(f"""
        from luhyaapi import sandbox
        many = "import os, time\\nfor n in range(40):\\n    if os.fork() == 0: time.sleep(20)"
        done = sandbox.run([{PYTHON!r}, "-I", "-c", many], readable={{}}, writable={{}}, check=False,
                           limits=sandbox.Limits(processes=8, deadline_s=30.0))
        print(done.code, "BlockingIOError" in done.stderr.decode())
        sandbox.prove()
    """)
    done = subprocess.run(
        ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
         sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )
    assert (done.stdout, done.returncode) == ("1 True\n", 0), done.stderr


def test_it_ends_in_time_and_when_asked(tmp_path):
    began = time.monotonic()
    with pytest.raises(Failed) as late:
        inside("import time; time.sleep(60)", limits=sandbox.Limits(deadline_s=0.5))
    with pytest.raises(Refused) as asked:
        inside("import time; time.sleep(60)", cancelled=lambda: True)
    assert (late.value.code, asked.value.code) == ("timeout", "cancelled")
    assert late.value.what.startswith("python3"), "not the walls"
    assert time.monotonic() - began < 50


def test_it_ends_with_us(tmp_path):
    """Killed, the one who asked cannot end it any more: what it writes must stop growing."""
    out = tmp_path / "out"
    out.mkdir()
    code = textwrap.dedent(f"""
        from pathlib import Path
        from luhyaapi import sandbox
        sandbox.run([{PYTHON!r}, "-I", "-c", "import time\\nwhile True:\\n    open('/out/x', 'a').write('x')\\n    time.sleep(0.01)"],
                    readable={{}}, writable={{"/out": Path({str(out)!r})}}, limits=sandbox.Limits(deadline_s=60.0))
    """)
    asker = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until = clock.monotonic() + 20
    while not (out / "x").exists() and clock.monotonic() < until:
        time.sleep(0.05)
    asker.kill()
    asker.wait()
    time.sleep(0.5)
    size = (out / "x").stat().st_size
    time.sleep(0.5)
    assert size > 0
    assert (out / "x").stat().st_size == size


def test_nothing_of_it_is_left_running(tmp_path):
    marker = f"educloud-{os.getpid()}-left"
    inside(f"import os, time\nif os.fork() == 0:\n    time.sleep(60)  # {marker}")
    time.sleep(0.2)
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if marker.encode() in _read(p)]


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("prlimit", "true"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    with pytest.raises(Failed) as told:
        sandbox.prove()
    assert told.value.code == "missing"
    assert "bwrap" in told.value.what
    assert "bubblewrap" in told.value.why
    with pytest.raises(Failed) as told:
        sandbox.run(["no-such-program"], readable={}, writable={}, limits=LIMITS)
    assert (told.value.code, "no-such-program" in told.value.what) == ("missing", True)


def test_what_the_kernel_refuses_is_said():
    """In a namespace in which the kernel gives no further ones, as machines are set up that do not allow them."""
    code = textwrap.dedent("""
        from luhyaapi import sandbox
        from luhyaapi.errors import Failed
        try:
            sandbox.prove()
        except Failed as e:
            print(e.code, "|", e.what, "|", e.why, "|", "user namespaces" in e.hint)
    """)
    done = subprocess.run(
        ["unshare", "--user", "--map-current-user", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh",
         sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )
    if "Permission denied" in done.stderr:
        pytest.fail(done.stderr)
    found = done.stdout.strip().split(" | ")
    assert found[:2] == ["program", "The kernel does not let a program be enclosed"], done.stdout + done.stderr
    assert found[3] == "True"


def test_a_program_that_fails_says_so(tmp_path):
    with pytest.raises(Failed) as told:
        sandbox.run([PYTHON, "-c", "raise SystemExit('because')"], readable={}, writable={}, limits=LIMITS)
    assert (told.value.code, told.value.why) == ("program", "because")
    with pytest.raises(Failed) as told:
        sandbox.run([PYTHON, "-c", ""], readable={"/in": tmp_path / "absent"}, writable={}, limits=LIMITS)
    assert (told.value.code, told.value.what) == ("program", "A program could not be enclosed")


def test_programs_that_were_unpacked_into_a_folder_run_too(tmp_path, monkeypatch, canary):
    """As for a user who may not install any: the program and its libraries are where he put them, and only they are seen."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "lib").mkdir()
    (home / "lib" / "own.so").write_bytes(b"x")
    (home / "secret").write_bytes(CANARY)
    for name in ("python3", "prlimit", "bwrap"):
        shutil.copy(f"/usr/bin/{name}", home / "bin" / name)
    monkeypatch.setenv("PATH", str(home / "bin"))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{home}/lib:{home}/absent:relative")
    done = sandbox.run(
        ["python3", "-I", "-c", f"import os; print([sorted(os.listdir({str(home)!r} + d)) for d in ('', '/bin', '/lib')])"],
        readable={}, writable={}, limits=LIMITS,
    )
    assert done.text.strip() == "[['bin', 'lib'], ['prlimit', 'python3'], ['own.so']]"
