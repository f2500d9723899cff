"""Pascal VOC as programs and people write it: lists, names of images, encodings, sizes and flags."""

import codecs
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_jax.config import DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.data.sources.checks import ErrorHandler

XML = (
    "{head}<annotation><filename>{filename}</filename>{size}<object><name>{name}</name>{flag}"
    "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>12.0</xmax><ymax>20</ymax></bndbox></object></annotation>"
)
SIZE = "<size><width>32</width><height>24</height></size>"


def xml(filename: str = "", *, size: str = SIZE, name: str = "cat", head: str = "", flag: str = "") -> str:
    return XML.format(filename=filename, size=size, name=name, head=head, flag=flag)


def write(root: Path, stem: str, content: str | bytes | None = None, *, images: Sequence[str] | None = None) -> None:
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    content = xml(f"{stem}.jpg") if content is None else content
    data = content.encode() if isinstance(content, str) else content
    (root / "Annotations" / f"{stem}.xml").write_bytes(data)
    for name in [f"{stem}.jpg"] if images is None else images:
        encoded = cv2.imencode(".png", np.zeros((24, 32, 3), np.uint8))[1]
        (root / "JPEGImages" / name).write_bytes(encoded.tobytes())


def write_list(root: Path, content: str | bytes) -> None:
    (root / "ImageSets/Main/train.txt").write_bytes(content.encode() if isinstance(content, str) else content)


def read(root: Path, errors: ErrorHandler | None = None) -> Dataset:
    config = DatasetConfig(format="voc", images=str(root))
    return open_dataset(config, "train", errors=errors or ErrorHandler())


def stems(root: Path) -> list[str]:
    return [record.path.stem for record in read(root).records]


@pytest.mark.parametrize(
    ("line", "stem"),
    [
        ("IMG 0001", "IMG 0001"),
        ("photo (2)\t ", "photo (2)"),
        ("  a\t\t-1", "a"),
        ("a  1", "a"),
        ("photo (2)  0", "photo (2)"),
        ("IMG 1", "IMG 1"),
        ("IMG 1 1", "IMG 1"),
        ("a.jpg", "a"),
        ("a.xml", "a"),
        ("a.JPG 1", "a"),
        ("JPEGImages/a.jpg", "a"),
        (r".\Annotations\photo (2).xml", "photo (2)"),
        ("./JPEGImages/a.jpg ./Annotations/a.xml", "a"),
        ("v1.0", "v1.0"),
        ("v1.0.png", "v1.0"),
    ],
)
def test_a_line_of_a_list_is_a_name_however_it_is_written(tmp_path: Path, line: str, stem: str) -> None:
    for name in ("IMG 0001", "photo (2)", "a", "IMG 1", "v1.0"):
        write(tmp_path, name)
    write_list(tmp_path, f"{line}\n")
    assert stems(tmp_path) == [stem]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_of_any_system_are_read(tmp_path: Path, encoding: str, end: str) -> None:
    write(tmp_path, "Bild ü")
    write(tmp_path, "b")
    write_list(tmp_path, end.join(["Bild ü", "", " b ", "", ""]).encode(encoding))
    assert stems(tmp_path) == ["Bild ü", "b"]


def test_a_number_after_a_name_is_a_column_or_part_of_it_only_if_that_is_certain(tmp_path: Path) -> None:
    for name in ("IMG", "IMG 1", "b"):
        write(tmp_path, name)
    write_list(tmp_path, "IMG 1\nb 0\n")
    with pytest.raises(
        DataError, match=r"train\.txt: line 1 is 'IMG 1', which is the image 'IMG 1', or the image 'IMG'"
    ):
        read(tmp_path)
    write_list(tmp_path, "IMG 1\nIMG\n")
    assert stems(tmp_path) == ["IMG 1", "IMG"]


def test_a_list_in_another_encoding_is_named(tmp_path: Path) -> None:
    write(tmp_path, "ü")
    write_list(tmp_path, "\nü".encode("latin-1"))
    message = r"train\.txt: line 2 is not UTF-8 text, and no annotation file has its name\. Save the list as UTF-8"
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_list_of_files_whose_names_are_not_utf8_is_read(tmp_path: Path) -> None:
    stem = os.fsdecode("ü".encode("latin-1"))
    write(tmp_path, stem, xml())
    write_list(tmp_path, os.fsencode(stem))
    assert stems(tmp_path) == [stem]


def test_unknown_and_repeated_names_are_named_with_their_spaces(tmp_path: Path) -> None:
    write(tmp_path, "a b")
    write_list(tmp_path, "a b\nc d\na b.jpg\n")
    errors = ErrorHandler(collect=True)
    read(tmp_path, errors)
    texts = [text for error in errors.collected for text in error.each]
    assert any("lists a b more than once" in text for text in texts)
    assert any("lists 'c d', but" in text for text in texts)


def test_files_that_systems_leave_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "a")
    for name in ("Annotations/._a.xml", "JPEGImages/._a.jpg", "ImageSets/Main/._train.txt", "Annotations/.DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "JPEGImages/Thumbs.db").touch()
    write_list(tmp_path, "._a\n.DS_Store\na\n./._a.jpg\nThumbs.db\n")
    assert stems(tmp_path) == ["a"]


def test_accents_as_a_mac_stores_them_match_those_that_are_typed(tmp_path: Path) -> None:
    write(tmp_path, unicodedata.normalize("NFD", "é"), xml(), images=["é.png"])
    write_list(tmp_path, "é\n")
    assert len(read(tmp_path).records[0].boxes) == 1


def test_names_that_differ_in_case_are_the_same_if_only_one_can_be_meant(tmp_path: Path) -> None:
    write(tmp_path, "Img_1", images=["IMG_1.JPG"])
    write_list(tmp_path, "img_1\n")
    dataset = read(tmp_path)
    assert dataset.records[0].path.name == "IMG_1.JPG"
    assert [warning for warning in dataset.warnings if "another spelling: 2" in warning]
    write(tmp_path, "IMG_1", images=[])
    with pytest.raises(DataError, match="without an annotation file in .*: img_1"):
        read(tmp_path)
    write_list(tmp_path, "Img_1\n")
    with pytest.raises(DataError, match=r"do not exist: .*Img_1\.\*"):  # the image belongs to IMG_1.xml
        read(tmp_path)


@pytest.mark.parametrize("ending", [".bmp", ".webp", ".tif", ".TIFF", ".Jpeg", ".JPG", ".jfif", ".pgm"])
def test_images_may_have_any_suffix(tmp_path: Path, ending: str) -> None:
    write(tmp_path, "a", images=[f"a{ending}"])
    (tmp_path / "Annotations/a.xml").rename(tmp_path / "Annotations/a.XML")
    write_list(tmp_path, "a\n")
    assert read(tmp_path).records[0].path.name == f"a{ending}"


def test_of_two_images_of_one_name_the_xml_decides_or_both_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a", xml("a.png"), images=["a.jpg", "a.png"])
    write_list(tmp_path, "a\n")
    assert read(tmp_path).records[0].path.name == "a.png"
    write(tmp_path, "a", xml("a.bmp"), images=[])
    with pytest.raises(DataError, match=r"a\.xml could belong to a\.jpg or a\.png .*<filename> is 'a\.bmp'"):
        read(tmp_path)


@pytest.mark.parametrize("filename", ["scan.png", r"C:\data\scan.png", "scan"])
def test_an_image_of_another_name_is_found_by_filename(tmp_path: Path, filename: str) -> None:
    write(tmp_path, "a", xml(filename), images=["scan.png"])
    write_list(tmp_path, "a\n")
    dataset = read(tmp_path)
    assert dataset.records[0].path.name == "scan.png"
    assert any("images found by <filename>: 1" in warning for warning in dataset.warnings)


def test_an_image_with_annotations_of_its_own_is_not_taken_for_another(tmp_path: Path) -> None:
    write(tmp_path, "a", xml("b.jpg"), images=[])
    write(tmp_path, "b")
    write_list(tmp_path, "a\n")
    with pytest.raises(DataError, match=r"1 of 1 image files that do not exist: .*a\.\* \(a\.xml\)"):
        read(tmp_path)


def test_an_image_that_two_files_give_belongs_to_neither(tmp_path: Path) -> None:
    write(tmp_path, "a", xml("image.jpg"), images=["image.jpg"])
    write(tmp_path, "b", xml("image.jpg"), images=[])
    write_list(tmp_path, "a\nb\n")
    with pytest.raises(DataError, match="2 of 2 image files that do not exist"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [
        ("gb2312", "gb2312", "猫"),
        ("GB2312", "gbk", "龍"),  # not in gb2312
        ("gbk", "gbk", "猫"),
        ("big5", "big5", "貓"),
        ("Shift_JIS", "shift_jis", "ネコ"),
        ("euc-kr", "euc_kr", "고양이"),
        ("windows-1252", "cp1252", "chat é"),
        ("iso-8859-1", "latin-1", "chat é"),
        ("utf-8", "utf-8-sig", "猫"),
        ("utf-16", "utf-16", "猫"),
        ("utf-16", "utf-8", "猫"),  # as .NET writes
        ("gb2312", "utf-8-sig", "猫狗"),  # two characters in UTF-8 are three in gb2312
    ],
)
def test_xml_is_read_in_the_encoding_that_it_declares(tmp_path: Path, declared: str, codec: str, name: str) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>\n'
    write(tmp_path, "a", xml(name=name, head=head).encode(codec))
    write_list(tmp_path, "a\n")
    assert read(tmp_path).class_names == (name,)


@pytest.mark.parametrize(
    ("head", "codec", "message"),
    [
        ('<?xml version="1.0" encoding="utf-8"?>\n', "gbk", "declares utf-8, but line 2 is not utf-8"),
        ("", "latin-1", "declares no encoding, which means UTF-8, but line 1 is not utf-8"),
        ('<?xml version="1.0" encoding="big5"?>\n', "utf-8", "declares big5, but line 2 is not big5"),
        ('<?xml version="1.0" encoding="klingon"?>\n', "utf-8", "declares the unknown encoding 'klingon'"),
        ('<?xml version="1.0" encoding="hex"?>\n', "utf-8", "declares the unknown encoding 'hex'"),
    ],
)
def test_xml_in_another_encoding_than_declared_is_to_be_saved_as_utf8(
    tmp_path: Path, head: str, codec: str, message: str
) -> None:
    write(tmp_path, "a", xml(name="é" if codec == "latin-1" else "狗", head=head).encode(codec))
    write_list(tmp_path, "a\n")
    with pytest.raises(DataError, match=rf"a\.xml {message}.*Save it as UTF-8"):
        read(tmp_path)


def test_utf8_that_is_declared_as_another_encoding_is_not_read_as_other_letters(tmp_path: Path) -> None:
    head = '<?xml version="1.0" encoding="gb2312"?>\n'
    write(tmp_path, "a", xml(name="猫狗", head=head))
    write_list(tmp_path, "a\n")
    with pytest.raises(DataError, match=r"a\.xml declares gb2312, but is UTF-8\. Correct or remove its first line"):
        read(tmp_path)


@pytest.mark.parametrize(
    "size",
    [
        "<size><width>0</width><height>0</height></size>",
        "<size><width></width><height/></size>",
        "<size><width>32</width></size>",
        "",
    ],
)
def test_a_size_that_is_missing_or_0_is_read_from_the_image(tmp_path: Path, size: str) -> None:
    write(tmp_path, "a", xml(size=size))
    write(tmp_path, "b")
    write_list(tmp_path, "a\nb\n")
    dataset = read(tmp_path)
    assert (dataset.records[0].height, dataset.records[0].width) == (24, 32)
    assert dataset.records[0].boxes.tolist() == [[1, 2, 12, 20]]
    assert [warning for warning in dataset.warnings if "without the size of the image: 1 (first: a.xml" in warning]


def test_a_size_of_hundreds_of_digits_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", xml(size=SIZE.replace("32", "9" * 300)))
    write_list(tmp_path, "a")
    with pytest.raises(DataError, match=r"a\.xml: size must be the width and height .* got 1e\+300 and 24"):
        read(tmp_path)


def test_an_unreadable_image_without_a_size_is_kept_without_boxes(tmp_path: Path) -> None:
    write(tmp_path, "a", xml(size=""))
    write(tmp_path, "b")
    write_list(tmp_path, "a\nb\n")
    (tmp_path / "JPEGImages/a.jpg").write_bytes(b"no image")
    dataset = read(tmp_path)
    assert [len(record.boxes) for record in dataset.records] == [0, 1]
    assert any("ignored the boxes of 1 image that cannot be read" in warning for warning in dataset.warnings)


@pytest.mark.parametrize(
    ("text", "difficult", "remarked"),
    [
        ("1", 1, False),
        ("0", 0, False),
        (" 1\n", 1, False),
        ("True", 1, True),
        ("no", 0, True),
        ("Unspecified", 0, True),
    ],
)
def test_difficult_may_be_a_word(tmp_path: Path, text: str, difficult: int, remarked: bool) -> None:
    write(tmp_path, "a", xml(flag=f"<difficult>{text}</difficult>"))
    write(tmp_path, "b")
    write_list(tmp_path, "a\nb\n")
    dataset = open_dataset(DatasetConfig(format="voc", images=str(tmp_path), difficult="ignore"), "train")
    assert len(dataset.records[0].boxes) == 1 - difficult
    assert any("difficult written as a word: 1" in warning for warning in dataset.warnings) == remarked


@pytest.mark.parametrize("text", ["2", "maybe"])
def test_difficult_that_means_nothing_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, "a", xml(flag=f"<difficult>{text}</difficult>"))
    write_list(tmp_path, "a\n")
    with pytest.raises(DataError, match=rf"a\.xml: object 0: difficult must be 0 or 1; got '{text}'"):
        read(tmp_path)


def test_names_of_classes_lose_the_blanks_around_them(tmp_path: Path) -> None:
    write(tmp_path, "a", xml(name="\n  traffic light "))
    write_list(tmp_path, codecs.BOM_UTF8 + b"a")
    assert read(tmp_path).class_names == ("traffic light",)


@pytest.mark.parametrize("prefix", ["", "v:"])
def test_a_namespace_is_ignored_with_a_warning(tmp_path: Path, prefix: str) -> None:
    declaration = f'xmlns{":" if prefix else ""}{prefix.rstrip(":")}="http://example.com/voc"'
    content = xml("a.jpg").replace("</", f"<_/{prefix}").replace("<", f"<{prefix}").replace(f"<{prefix}_/", "</")
    write(tmp_path, "a", content.replace("annotation>", f"annotation {declaration}>", 1))
    write_list(tmp_path, "a")
    dataset = read(tmp_path)
    assert dataset.records[0].boxes.tolist() == [[1, 2, 12, 20]]
    assert dataset.class_names == ("cat",)
    (warning,) = dataset.warnings
    assert f"XML files with a namespace: 1 (first: {tmp_path}/Annotations/a.xml: <annotation>)" in warning
