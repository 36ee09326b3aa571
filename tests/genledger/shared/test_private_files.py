from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from genledger.shared.private_files import close_to_others, make_directory, make_file, share_like

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.usefixtures("umask")
def test_directories_are_made_for_their_owner_only_and_so_are_those_above(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b" / "c")
    make_directory(tmp_path / "a" / "b" / "c")
    assert [mode(tmp_path / made) for made in ("a", "a/b", "a/b/c")] == [0o700] * 3


@pytest.mark.usefixtures("umask")
def test_a_directory_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o755)
    make_directory(tmp_path / "there" / "below")
    assert mode(tmp_path / "there") == 0o755


def test_a_file_in_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_directory(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        make_directory(tmp_path / "file" / "below")


@pytest.mark.usefixtures("umask")
def test_a_file_is_made_for_its_owner_only_and_is_left_alone_when_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    make_file(path)
    assert mode(path) == 0o600
    path.write_text("content")
    path.chmod(0o640)
    make_file(path)
    assert (path.read_text(), mode(path)) == ("content", 0o640)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (0o600, 0o600),
        (0o640, 0o640),  # an operator lets a group read it
        (0o660, 0o660),
        (0o644, 0o600),  # a umask let everyone read it
        (0o664, 0o660),
        (0o666, 0o600),
        (0o604, 0o600),
        (0o755, 0o700),
    ],
)
def test_a_file_is_closed_to_everyone_but_to_a_group_that_was_let_in(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(before)
    close_to_others(path)
    assert mode(path) == after


@pytest.mark.parametrize("change", [close_to_others, lambda path: share_like(path, path)])
def test_a_file_that_is_missing_is_nothing_to_do(tmp_path: Path, change: Callable[[Path], None]) -> None:
    change(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_a_file_beside_another_gets_its_permissions(tmp_path: Path) -> None:
    for name, permissions in (("one", 0o660), ("two", 0o600)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(permissions)
    share_like(tmp_path / "two", tmp_path / "one")
    assert mode(tmp_path / "two") == 0o660
