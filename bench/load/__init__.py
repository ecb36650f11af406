"""Load tests with Locust: the plan, the sessions and the processes of a run, and the user whose
tasks are sessions.
"""

from bench.base import memory
from bench.base.installation import refuse_windows

refuse_windows()
memory.prepare()
