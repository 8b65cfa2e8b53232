"""Images that are built from one commit of a repository each, and carry it as a label."""

from mapadmin.images.build import build_image
from mapadmin.images.image import Image, find_image
from mapadmin.images.repository import Commit, resolve

__all__ = ["Commit", "Image", "build_image", "find_image", "resolve"]
