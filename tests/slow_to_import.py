"""What a child of `Confined` imports in tests: it takes longer than anybody waits."""

import time

time.sleep(60)
