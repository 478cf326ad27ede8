"""Checkpoints that are cut short, damaged or contain code; a full disk; a process that is killed while writing."""

import os
import pickle
import resource
import signal
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jacoscope.checkpoints import DamagedCheckpointError, read_checkpoint, write_checkpoint
from jacoscope.errors import UserError
from jacoscope.files import remove_unfinished, write_whole
from jacoscope.runs.directory import RunDirectory

CONTENT = {"state_dict": {"weight": torch.arange(3000.0)}, "epoch": 1}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path)
    for epoch in (1, 2):
        write_checkpoint(run.last_checkpoint, {**CONTENT, "epoch": epoch}, previous=run.previous_checkpoint)
    return run


def test_the_one_before_is_kept(run: RunDirectory) -> None:
    assert read_checkpoint(run.last_checkpoint)["epoch"] == 2
    assert read_checkpoint(run.previous_checkpoint)["epoch"] == 1
    assert run.checkpoint_to_resume() == run.last_checkpoint


def test_a_torn_checkpoint_falls_back_to_the_one_before_and_says_so(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    run.last_checkpoint.write_bytes(run.last_checkpoint.read_bytes()[:-100])
    assert run.checkpoint_to_resume() == run.previous_checkpoint
    told = capsys.readouterr().err
    assert "last.ckpt cannot be read as a checkpoint: it is cut short or damaged" in told
    assert f"Resuming from the one before it: {run.previous_checkpoint}" in told


def test_where_none_is_whole_nothing_is_begun_anew_in_silence(run: RunDirectory) -> None:
    for path in (run.last_checkpoint, run.previous_checkpoint):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="remove the folder"):
        run.checkpoint_to_resume()


def test_between_the_two_renames_the_one_before_is_there(run: RunDirectory) -> None:
    run.last_checkpoint.unlink()
    assert run.checkpoint_to_resume() == run.previous_checkpoint


def test_code_inside_is_never_a_reason_to_fall_back(run: RunDirectory) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch /tmp/never",)

    torch.save({"state_dict": Evil()}, run.last_checkpoint)
    with pytest.raises(UserError, match=r"last\.ckpt is refused: it would run (posix|nt)\.system"):
        run.checkpoint_to_resume()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.ckpt"
    write_checkpoint(path, CONTENT)
    return path.read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_one_byte_changed_is_noticed_or_changes_nothing(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.ckpt"
    path.write_bytes(whole[:position] + bytes([whole[position] ^ other]) + whole[position + 1 :])
    try:
        content = read_checkpoint(path)
    except UserError:
        return
    assert torch.equal(content["state_dict"]["weight"], CONTENT["state_dict"]["weight"])  # type: ignore[index]
    assert content["epoch"] == 1


@settings(max_examples=60)
@given(cut=st.floats(0, 0.999))
def test_cut_short_it_is_damaged(whole: bytes, tmp_path_factory: pytest.TempPathFactory, cut: float) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.ckpt"
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(DamagedCheckpointError):
        read_checkpoint(path)


@settings(max_examples=200)
@given(
    junk=st.binary(max_size=400), start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x02}("])
)
def test_bytes_of_any_kind_are_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, start: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.ckpt"
    path.write_bytes(start + junk)
    try:
        read_checkpoint(path)
    except UserError as error:
        assert "junk.ckpt" in str(error)  # noqa: PT017


def test_an_archive_that_says_it_is_huge_is_not_unpacked(whole: bytes, tmp_path: Path) -> None:
    central = whole.rindex(b"PK\x01\x02")
    lying = bytearray(whole)
    lying[central + 24 : central + 28] = struct.pack("<I", 0xFFFFFFF0)
    (tmp_path / "huge.ckpt").write_bytes(lying)
    with pytest.raises(DamagedCheckpointError):
        read_checkpoint(tmp_path / "huge.ckpt")


def test_a_full_disk_leaves_the_old_checkpoints_and_nothing_half_written(run: RunDirectory) -> None:
    before = {path.name: path.read_bytes() for path in run.last_checkpoint.parent.iterdir()}
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"Cannot write .*last\.ckpt"):
            write_checkpoint(run.last_checkpoint, CONTENT, previous=run.previous_checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in run.last_checkpoint.parent.iterdir()} == before


def test_a_writer_that_dies_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    sizes = (10_000_000, 20_000_000)
    write_whole(path, b"\0" * sizes[0])
    for moment in range(12):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, 0.001 * (1 + moment))
            for turn in range(100):
                write_whole(path, b"\0" * sizes[turn % 2])
            os._exit(0)
        os.waitpid(child, 0)
        assert path.stat().st_size in sizes
    remove_unfinished(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_pickle_of_plain_values_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "list.ckpt").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match=r"list\.ckpt"):
        read_checkpoint(tmp_path / "list.ckpt")
