"""NWB files of what was shown, and when (extra `nwb`)."""

from __future__ import annotations

import datetime
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stimopt import __version__, expect
from stimopt.export.formats import AGAIN, Format, Shown, Trial, plain_levels
from stimopt.export.light import Levels
from stimopt.export.view import Rig
from stimopt.storage.files import reading

_PRESENTED, _STIMULUS = "presented_frames", "stimulus"
_PIXELS = "Levels of the display's pixels; rows from the top, columns from the left."
_UNITS = {
    "u": "Axial coordinate of the column.",
    "v": "Other axial coordinate of the column.",
    "azimuth_deg": "Azimuth it looks at, degrees, positive to the right.",
    "elevation_deg": "Elevation it looks at, degrees, positive upward.",
    "pixel_row": "Row of its pixel in the frames, from 0 at the top; NaN for none.",
    "pixel_column": "Column of that pixel, from 0 at the left; NaN for none.",
}


class Nwb(Format):
    """One file for the session: distinct frames, which was shown at each refresh, and trials.

    A series of frames as such would be longer along its pixels than in time, which the inspector
    of NWB files calls critical. What the file says of the experiment can be edited later.

    Args:
        start: of the session, with a time zone, such as 2026-05-24T10:00:00+02:00; None is now.
        subject: id of the fly.
        sex: F, M, U (unknown) or O.
        age: of the fly, as a duration of ISO 8601.
        experimenter: "Last, First".
        institution: where it was done.

    Raises:
        ValueError: for an invalid sex, age or moment, or if pynwb is not installed.
    """

    name = "nwb"
    levels = (256, 2, 16, 65536)

    def __init__(
        self,
        start: str | None = None,
        subject: str = "fly-001",
        sex: str = "U",
        age: str = "P3D",
        experimenter: str = "Unknown, Unknown",
        institution: str = "unknown",
    ) -> None:
        expect.one_of("sex", sex, ("F", "M", "U", "O"))
        duration = re.fullmatch(r"P[0-9T][0-9YMWDTHS./P]*", age)
        expect.that(duration, "age as a duration of ISO 8601", repr(age), "write it as P3D")
        self.moment, self.pynwb = _moment(start), _import("pynwb")
        self.subject = {"subject_id": subject, "sex": sex, "age": age, "description": "The fly."}
        self.about = {"experimenter": [experimenter], "institution": institution}

    def options(self) -> dict[str, Any]:
        """Those that were chosen, for the sidecars."""
        return {"start": self.moment.isoformat(), **self.subject, **self.about}

    def write(self, shown: Shown, folder: Path) -> Path:
        """Nothing yet: `finish` writes the one file."""
        return folder / "session.nwb"

    def finish(self, folder: Path, shown: Sequence[Shown], trials: Sequence[Trial]) -> list[Path]:
        """Write the file."""
        image, path = importlib.import_module("pynwb.image"), folder / "session.nwb"
        numbers: dict[bytes, int] = {}
        played: dict[str, list[int]] = {}
        images: list[Any] = []
        for each in shown:
            for frame in each.levels():
                number = numbers.setdefault(frame.tobytes(), len(images))
                if number == len(images):
                    name = f"frame_{number:05d}"
                    data = np.array(frame)
                    images.append(image.GrayscaleImage(name=name, data=data, description=_PIXELS))
                played.setdefault(each.stimulus.name, []).append(number)
        frames = self._frames(images, shown[0].rig)
        file = self._file()
        file.add_stimulus_template(frames)
        file.add_stimulus(
            image.IndexSeries(
                name=_PRESENTED,
                data=np.concatenate([played[trial.stimulus] for trial in trials]).astype(np.uint32),
                unit="N/A",
                indexed_images=frames,
                rate=float(shown[0].plan.rate),
                starting_time=0.0,
                description="Number of the frame shown at every refresh of the display.",
            )
        )
        file.add_trial_column(_STIMULUS, "Name of the stimulus shown.")
        file.add_trial_column("kind", "Kind of optimum, or of control.")
        kinds = {each.stimulus.name: each.stimulus.kind for each in shown}
        for trial in trials:
            file.add_trial(
                start_time=trial.start,
                stop_time=trial.start + trial.duration,
                stimulus=trial.stimulus,
                kind=kinds[trial.stimulus],
            )
        # Stimuli for cells of one column share their view of the display.
        places = {id(each.view): each for each in reversed(shown)}
        for each in places.values():
            name = "columns" if len(places) == 1 else f"columns_{each.stimulus.name}"
            file.add_analysis(_columns(each, name))
        with self.pynwb.NWBHDF5IO(str(path), "w") as io:
            io.write(file)
        return [path]

    def read(self, path: Path, name: str) -> Levels:
        """Frames of the first trial of that stimulus."""
        with (
            reading(path, "an NWB file", AGAIN),
            self.pynwb.NWBHDF5IO(str(path), "r", load_namespaces=True) as io,
        ):
            file = io.read()
            series, trials = file.stimulus[_PRESENTED], file.trials.to_dataframe()
            trial = trials[trials[_STIMULUS] == name].iloc[0]
            first, last = (round(trial[key] * series.rate) for key in ("start_time", "stop_time"))
            order = series.indexed_images.order_of_images.data
            frames = [np.asarray(order[int(number)].data) for number in series.data[first:last]]
            return plain_levels(np.stack(frames), path)

    def _frames(self, images: Sequence[Any], rig: Rig) -> Any:
        base = importlib.import_module("pynwb.base")
        return base.Images(
            name="frames",
            images=images,
            order_of_images=base.ImageReferences(name="order_of_images", data=images),
            description=f"Every distinct frame. Display: {rig.display.to_dict()}. "
            f"Light: {rig.light.describe()}.",
        )

    def _file(self) -> Any:
        file = importlib.import_module("pynwb.file")
        return self.pynwb.NWBFile(
            session_description="Stimuli on a display before a fly.",
            identifier=f"{self.subject['subject_id']}-{self.moment.isoformat()}",
            session_start_time=self.moment,
            experiment_description="Optimal stimuli of a model of the visual system.",
            keywords=["vision", "optimal stimulus", "Drosophila"],
            source_script=f"stimopt {__version__}",
            source_script_file_name="stimopt",
            subject=file.Subject(species="Drosophila melanogaster", **self.subject),
            **self.about,
        )


def _columns(shown: Shown, name: str) -> Any:
    """Where the columns look when a stimulus is shown."""
    common, directions = importlib.import_module("hdmf.common"), shown.directions()
    return common.DynamicTable(
        name=name,
        description="Columns of the model's eye and where they look. Straight ahead is 0, 0.",
        columns=[
            common.VectorData(name=of, description=text, data=directions[of])
            for of, text in _UNITS.items()
        ],
    )


def _moment(text: str | None) -> datetime.datetime:
    if text is None:
        return datetime.datetime.now(datetime.timezone.utc)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.datetime.min
    advice = "write it as 2026-05-24T10:00:00+02:00"
    ok = moment.tzinfo is not None and moment.year >= 1980
    expect.that(ok, "a moment after 1980 with its time zone", repr(text), advice)
    return moment


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"expected {name} for NWB files, got none; pip install 'stimopt[nwb]'"
        ) from error
