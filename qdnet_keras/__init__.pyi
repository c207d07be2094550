from .api import enhance as enhance
from .api import explain as explain
from .api import load as load
from .api import score as score
from .api import tonemap as tonemap
from .client import AsyncClient as AsyncClient
from .client import Client as Client
from .errors import ConfigError as ConfigError
from .errors import DataError as DataError
from .errors import ImageError as ImageError
from .errors import MissingPackageError as MissingPackageError
from .errors import OutputError as OutputError
from .errors import PresetError as PresetError
from .errors import QDNetError as QDNetError
from .errors import ServerError as ServerError
from .errors import ServerUnreachableError as ServerUnreachableError
from .model.qdnet import QDNet as QDNet
from .outcomes import Candidate as Candidate
from .outcomes import Effect as Effect
from .outcomes import Enhanced as Enhanced
from .outcomes import Explanation as Explanation
from .outcomes import Score as Score
from .outcomes import Tonemapped as Tonemapped
from .outcomes import Trial as Trial

__version__: str
