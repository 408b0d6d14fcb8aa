"""Makes `import harness` work in the benchmark files."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
