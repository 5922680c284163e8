"""Settings, folders, data and device placement that all stages share."""

from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from abaw_jax.pipeline.windows import Windows
from abaw_jax.store.reader import Store
from abaw_jax.training.sharding import Shardings


@dataclass(frozen=True)
class Run:
    """The settings of a run and the folders it fills.

    Attributes:
      config: as in ``configs/base.py``.
      workdir: gets one folder per network and the results.
      inputs: gets what comes before training, encoders and features; runs that differ
        in training alone may share it.
      store: the packed data.
      shardings: placement of the arrays on the devices.
    """

    config: ConfigDict
    workdir: Path
    inputs: Path
    store: Store
    shardings: Shardings

    @property
    def trains_networks(self) -> bool:
        """True if the run goes on after encoders and features."""
        return self.config.until not in ("encoders", "features")

    @property
    def data_name(self) -> str:
        """Data of a table's scores, for its caption."""
        data = self.config.data
        source = data.store or data.release
        return Path(source).absolute().name if source else "the synthetic release"

    @property
    def windows(self) -> Windows:
        """The configured rule of image and sound windows."""
        return Windows(**self.config.windows)
