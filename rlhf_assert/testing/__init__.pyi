# The public names. `rlhf_assert/testing/__init__.py` loads each on first use, from where this file says it is.

from .battery import DetectorFlawed as DetectorFlawed
from .battery import Finds as Finds
from .battery import Flaw as Flaw
from .battery import check_detector as check_detector
from .synthetic import Anomalous as Anomalous
from .synthetic import Change as Change
from .synthetic import Corruption as Corruption
from .synthetic import Curve as Curve
from .synthetic import Log as Log
from .synthetic import Noise as Noise
from .synthetic import Planted as Planted
from .synthetic import RewardBatch as RewardBatch
from .synthetic import RewardFault as RewardFault
from .synthetic import SyntheticCheckpoint as SyntheticCheckpoint
from .synthetic import Training as Training
from .synthetic import plant as plant
