"""The container's copy of an image that a call has shown is found by its size, one copy for each image."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.uncited_files import copies_of_shown_images

sizes = st.integers(1, 4)
listed_files = st.lists(st.tuples(st.sampled_from(["png", "csv"]), sizes), max_size=6).map(
    lambda files: [
        {"id": f"cfile_{number}", "path": f"/mnt/data/cfile_{number}.{extension}", "bytes": size}
        for number, (extension, size) in enumerate(files)
    ]
)
shown_images = st.lists(sizes, max_size=4).map(
    lambda all_sizes: {f"file_{n}": size for n, size in enumerate(all_sizes)}
)


@given(listed_files, shown_images)
def test_each_copy_is_of_one_image_of_its_size(files: list[dict[str, object]], shown: dict[str, int]) -> None:
    """A copy is an image with the size of what was shown; no copy is used twice, and none is left while one fits."""
    copies = copies_of_shown_images(files, shown)
    used = [copy["id"] for copy in copies.values()]
    assert len(used) == len(set(used))
    assert all(copy["bytes"] == shown[id_] and copy["path"].endswith(".png") for id_, copy in copies.items())
    missing = [size for id_, size in shown.items() if id_ not in copies]
    unused = [file for file in files if file["id"] not in used and str(file["path"]).endswith(".png")]
    assert not [file for file in unused if file["bytes"] in missing]
