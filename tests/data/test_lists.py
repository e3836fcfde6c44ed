"""Lists of images as people and tools write them: separators, headers, encodings, and paths of other machines."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from lewel.data.images import is_divided, open_images
from lewel.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


NAMES = ["cat/1.png", "dog/1.png", "cat/2.png"]


def opened(folder: Path, text: str | bytes, name: str = "list.csv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_images(folder / name)


def table(rows: str) -> str:
    return rows.replace("CAT1", NAMES[0]).replace("DOG1", NAMES[1]).replace("CAT2", NAMES[2])


ROWS = "CAT1,cat\nDOG1,dog\nCAT2,cat\n"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("path,label\n" + ROWS, ""),
        (
            "path, label\nCAT1, cat\nDOG1 , dog\nCAT2,\tcat\n",
            "its paths are read with no spaces around them, as for dog",
        ),
        ("path;label\n" + ROWS.replace(",", ";"), "separated by semicolons"),
        (ROWS.replace(",", "\t"), "separated by tabs"),
        (ROWS.replace(",", "|"), "separated by bars"),
        ("sep=;\r\npath;label\r\n" + ROWS.replace(",", ";").replace("\n", "\r\n"), "separated by semicolons"),
        (("path,label\n" + ROWS).replace("\n", "\r"), ""),
        ("\n path,label\n\n" + ROWS.replace("\n", "\n , \n"), ""),
        ('path,label\n"CAT1", "cat"\n"DOG1", "dog"\n"CAT2", "cat"\n', ""),
        ("path,label,\nCAT1,cat,\nDOG1,dog,\nCAT2,cat,\n", ""),
        ("filename,species\n" + ROWS, "the column filename as path, the column species as label"),
        (
            "Image_Path,Class,width\nCAT1,cat,4\nDOG1,dog,4\nCAT2,cat,4\n",
            "image_path as path, the column class as label",
        ),
        (
            "id,file,category_id,category\n0,CAT1,7,cat\n1,DOG1,8,dog\n2,CAT2,7,cat\n",
            "file as path, the column category",
        ),
        (",path,label\n0,CAT1,cat\n1,DOG1,dog\n2,CAT2,cat\n", "pandas' index, is left out"),
        ("0,CAT1,cat\n1,DOG1,dog\n2,CAT2,cat\n", "its first column, of numbers, is left out"),
    ],
)
def test_a_csv_is_read_as_it_is_meant(folder: Path, text: str, note: str) -> None:
    images = opened(folder, table(text))
    assert list(images.names) == NAMES
    assert images.classes == ["cat", "dog"] and images.labels.tolist() == [0, 1, 0]
    assert note in " ".join(images.notes) and bool(images.notes) == bool(note)


def test_backslashes_of_windows(folder: Path) -> None:
    images = opened(folder, "path,label\ncat\\1.png,a\ndog\\1.png,b\n")
    assert list(images.names) == ["cat/1.png", "dog/1.png"]
    assert "slashes for backslashes, as for cat\\1.png" in images.notes[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_that_say_what_they_are(folder: Path, encoding: str) -> None:
    text = table("path,label\nCAT1,Kätzchen\nDOG1,犬\n")
    assert opened(folder, text.encode(encoding)).classes == ["Kätzchen", "犬"]
    assert list(opened(folder, "cat/1.png\r\ndog/1.png\r\n".encode(encoding), "l.txt").names) == NAMES[:2]


def test_quoted_line_ends_stay(folder: Path) -> None:
    name = "cat/two\nlines, and a comma.png"
    Image.new("RGB", (4, 4)).save(folder / name)
    images = opened(folder, f'path,label\n"{name}",a\n"cat/1.png","b\nc"\n')
    assert list(images.names) == [name, "cat/1.png"] and images.classes == ["a", "b\nc"]
    assert images.read(0).size == (4, 4)


@pytest.mark.parametrize(("encoding", "name"), [("cp1252", "Müller.png"), ("cp932", "写真.png"), ("cp1251", "кот.png")])
def test_other_encodings_are_taken_where_the_files_prove_them(folder: Path, encoding: str, name: str) -> None:
    Image.new("RGB", (4, 4)).save(folder / name)
    images = opened(folder, f"cat/1.png,a\n{name},ü\n".encode(encoding, "replace"))
    assert list(images.names) == ["cat/1.png", name]
    assert f"it is not UTF-8: read as {encoding}, in which its files are there" in images.notes[0]


def test_labels_of_an_unknown_encoding_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"is not UTF-8, first in the line dog/1.png,K\\xe4fer; save it as UTF-8"):
        opened(folder, "cat/1.png,cat\ndog/1.png,Käfer\n".encode("latin-1"))


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_names_that_are_not_utf8_are_taken_byte_for_byte(folder: Path) -> None:
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.png"), "wb") as file:
        Image.new("RGB", (2, 3)).save(file, "PNG")
    images = opened(folder, b"path,label\ncaf\xe9.png,caf\xe9\ncat/1.png,b\n")
    assert images.read(0).size == (2, 3) and images.classes == ["b", "caf\udce9"]
    assert "taken byte for byte" in images.notes[0]


@pytest.mark.parametrize(("on_disk", "listed"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_unicode_forms_of_another_system(folder: Path, on_disk, listed) -> None:
    there, named = (unicodedata.normalize(form, "Zoë/é 한.png") for form in (on_disk, listed))
    (folder / there).parent.mkdir()
    Image.new("RGB", (4, 4)).save(folder / there)
    images = opened(folder, f"{named}\ncat/1.png\n", "list.txt")
    assert list(images.names) == [there, "cat/1.png"] and images.read(0).size == (4, 4)
    assert ("1 path is in another Unicode form on the disk" in " ".join(images.notes)) == (on_disk != listed)


@pytest.mark.parametrize(
    ("names", "taken", "said"),
    [
        ("train valid valid", "valid", ""),
        ("Train VAL test", "VAL", "VAL is measured on; test is not used"),
        ("training testing testing", "testing", "testing is measured on, as there is no val"),
    ],
)
def test_parts_by_any_name(folder: Path, names: str, taken: str, said: str) -> None:
    rows = [f"{path},{path[:3]},{part}" for path, part in zip(NAMES, names.split(), strict=True)]
    (folder / "list.csv").write_text("\n".join(["file,class,Subset", *rows]))
    assert is_divided(folder / "list.csv")
    images = open_images(folder / "list.csv", "val")
    expected = [path for path, part in zip(NAMES, names.split(), strict=True) if part == taken]
    assert list(images.names) == expected and (said in " ".join(images.notes) or not said)
    assert len(open_images(folder / "list.csv", "train")) == 1


def test_rows_that_repeat_a_file_are_told(folder: Path) -> None:
    images = opened(folder, table("CAT1,cat\nDOG1,dog\nCAT1,cat\n"))
    assert len(images) == 3 and images.labels.tolist() == [0, 1, 0]
    assert "1 file is named by several rows, and count as often: cat/1.png" in images.notes[0]
    images = opened(folder, table("CAT1,cat\nDOG1,dog\nCAT1,dog\n"))
    assert (
        images.labels is None and images.unlabelled == "no labels: 1 files have several: cat/1.png; give each file one"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wo,was\nCAT1,cat\n", r"its columns are wo, was; name that of the files path \(it is column 1\)"),
        ("cat,CAT1\n", "its files are in column 2; give it a first line"),
        ("path,label\nC:\\photos\\1.png,cat\n", "a path on a Windows machine"),
        ("path,label\n1.png,cat\n", "cat/1.png is: write the folder too"),
        ("path,label\ncat/1,cat\n", "the names lack their ending"),
        ("path,label\nCAT1,cat\n,dog\n", "1 rows have no path"),
        ("path,label,split\nCAT1,a,train\nDOG1,b,val\nCAT2,a,valid\n", "val and valid are all names of the part for"),
        (b"PK\x03\x04rest", "is a ZIP or Excel file, not text"),
        (b"path,label\ncat/1.png,a\0b\n", "NUL characters"),
    ],
)
def test_what_is_not_understood_is_refused_with_a_hint(folder: Path, text: str | bytes, said: str) -> None:
    (folder / "list.csv").write_bytes(text if isinstance(text, bytes) else table(text).encode())
    with pytest.raises(UserError, match=said) as caught:
        open_images(folder / "list.csv", "val" if "split" in str(text) else None)
    assert "\n" not in str(caught.value)


def test_a_text_list_with_labels_is_refused_with_a_hint(folder: Path) -> None:
    with pytest.raises(UserError, match=r"give a \.csv of path,label for labels"):
        opened(folder, "cat/1.png 0\ndog/1.png 1\n", "list.txt")


def test_columns_that_are_no_classes(folder: Path) -> None:
    assert (
        opened(folder, table("CAT1,train\nDOG1,val\n")).unlabelled
        == "train and val are parts of a data set, not classes"
    )
    images = opened(folder, table("path,class,species\nCAT1,a,x\nDOG1,b,x\n"))
    assert images.labels is None and "class and species could be the column of the classes" in images.unlabelled
