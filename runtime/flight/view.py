"""Makes of a source's frames what the networks were trained to see."""

from __future__ import annotations

from dataclasses import replace

from gearshift.runtime.cameras.rectifier import Rectifier, View, make_rectifier
from gearshift.runtime.types import Camera, Frame


class Viewer:
    """Rectifies frames; the maps are made with the first frame, whose size nobody knows before.

    camera: intrinsics of the source, None where they are unknown or each frame says its own.
    """

    def __init__(self, view: View, camera: Camera | None) -> None:
        self._view = view
        self._camera = camera
        self._rectifier: Rectifier | None = None
        self._made_for: Camera | None = None

    def __call__(self, frame: Frame) -> Frame:
        """The frame as the networks' camera would have seen it.

        Raises FrameError for a frame of another size than the first, ConfigurationError when the
        intrinsics do not fit it, and MissingExtraError when OpenCV is needed and not there.
        """
        camera = self._camera or frame.camera
        rectifier = self._rectifier
        if rectifier is None or camera is not self._made_for:
            height, width = frame.image.shape
            rectifier = make_rectifier(camera, (width, height), self._view)
            self._rectifier, self._made_for = rectifier, camera
        image = rectifier.apply(frame.image)
        seen_by = self._view.camera or camera
        if image is frame.image and frame.camera is seen_by:
            return frame
        return replace(frame, image=image, camera=seen_by)
